//! Conformance: logs.

use bytes::Bytes;
use updraft_store::{
    Store,
    logs::{Entry, Retention, Sweep},
};
use updraft_types::Timestamp;

use crate::fixture::{Fixture, entry, id};

/// `stream:text` of the lines a read answers.
async fn read(store: &Store, name: &str, since: u64, limit: usize) -> Vec<String> {
    let lines = store.logs().read(&id(name), Timestamp::from_ms(since), limit).await.unwrap();
    assert!(lines.is_sorted_by_key(|line| line.at));
    lines.iter().map(|line| format!("{}:{}", line.stream, String::from_utf8_lossy(&line.text))).collect()
}

fn keep(older_than: u64, bytes_max_per_function: u64) -> Retention {
    Retention { now: Timestamp::from_ms(0), older_than: Timestamp::from_ms(older_than), bytes_max_per_function }
}

#[tokio::test]
async fn the_newest_lines_of_all_streams_come_oldest_first() {
    let mut fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    logs.append(vec![
        entry("a", "s1", &[(10, "one"), (40, "four")]),
        entry("a", "s2", &[(20, "two"), (30, "three")]),
        entry("b", "s1", &[(15, "other")]),
        entry("a", "s1", &[]),
    ])
    .await
    .unwrap();
    logs.append(vec![entry("a", "s3", &[(40, "five"), (40, "six")])]).await.unwrap();
    fixture.reopen().await;
    let store = &fixture.store;
    let all = ["s1:one", "s2:two", "s2:three", "s1:four", "s3:five", "s3:six"];
    assert_eq!(read(store, "a", 0, 100).await, all);
    for limit in 0..=all.len() {
        assert_eq!(read(store, "a", 0, limit).await, all[all.len() - limit..], "limit {limit}");
    }
    assert_eq!(read(store, "a", 30, 100).await, all[2..]);
    assert_eq!(read(store, "a", 30, 2).await, all[4..]);
    assert_eq!(read(store, "a", 41, 100).await, [""; 0]);
    assert_eq!(read(store, "b", 0, 100).await, ["s1:other"]);
    assert_eq!(read(store, "c", 0, 100).await, [""; 0]);
}

#[tokio::test]
async fn any_bytes_and_any_times_come_back() {
    let fixture = Fixture::open().await;
    let times = [0, 1, i64::MAX as u64, u64::MAX, 5];
    let lines: Vec<_> = times.iter().map(|&at| (Timestamp::from_ms(at), Bytes::from_static(b"\0\n\xff\xfe"))).collect();
    let (ingested_at, stream) = (Timestamp::from_ms(0), "2026/11/23/[$LATEST]0".into());
    let entry = Entry { group: (&id("a")).into(), stream, ingested_at, lines: lines.iter().cloned().collect() };
    fixture.store.logs().append(vec![entry]).await.unwrap();
    let mut expected = lines;
    expected.sort();
    let read = fixture.store.logs().read(&id("a"), Timestamp::from_ms(0), 10).await.unwrap();
    assert_eq!(read.into_iter().map(|line| (line.at, line.text)).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_burst_larger_than_a_chunk_is_kept_whole() {
    let fixture = Fixture::open().await;
    let lines: Vec<_> = (0..50_000_u64)
        .map(|at| (Timestamp::from_ms(at), Bytes::from(format!("line {at}: {}", "x".repeat(60)))))
        .collect();
    let (ingested_at, stream) = (Timestamp::from_ms(0), "s".into());
    let entry = Entry { group: (&id("a")).into(), stream, ingested_at, lines: lines.iter().cloned().collect() };
    fixture.store.logs().append(vec![entry]).await.unwrap();
    let read = fixture.store.logs().read(&id("a"), Timestamp::from_ms(0), usize::MAX).await.unwrap();
    assert!(read.iter().map(|line| (line.at, line.text.clone())).eq(lines));
    let newest = fixture.store.logs().read(&id("a"), Timestamp::from_ms(0), 3).await.unwrap();
    assert_eq!(newest, read[read.len() - 3..]);
}

#[tokio::test]
async fn deleting_a_functions_lines_leaves_the_others() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    for at in 0..1_200 {
        logs.append(vec![entry("a", "s", &[(at, "gone")])]).await.unwrap();
    }
    logs.append(vec![entry("b", "s", &[(1, "kept")])]).await.unwrap();
    logs.delete(&id("a")).await.unwrap();
    logs.delete(&id("never")).await.unwrap();
    assert_eq!(read(&fixture.store, "a", 0, 10).await, [""; 0]);
    assert_eq!(read(&fixture.store, "b", 0, 10).await, ["s:kept"]);
    logs.append(vec![entry("a", "s", &[(1, "again")])]).await.unwrap();
    assert_eq!(read(&fixture.store, "a", 0, 10).await, ["s:again"]);
}

#[tokio::test]
async fn retention_by_age_removes_whole_chunks_whose_last_line_is_old() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    logs.append(vec![
        entry("a", "s", &[(10, "old")]),
        entry("a", "s", &[(15, "half"), (25, "new")]),
        entry("b", "s", &[(19, "old")]),
        entry("b", "s", &[(20, "just")]),
    ])
    .await
    .unwrap();
    assert_eq!(logs.retain(keep(20, u64::MAX)).await.unwrap(), Sweep::Finished);
    assert_eq!(read(&fixture.store, "a", 0, 10).await, ["s:half", "s:new"]);
    assert_eq!(read(&fixture.store, "b", 0, 10).await, ["s:just"]);
}

#[tokio::test]
async fn retention_by_size_keeps_the_newest_of_each_function() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    let text = "x".repeat(900);
    for at in 0..20 {
        logs.append(vec![entry("a", "s", &[(at, &text)])]).await.unwrap();
    }
    logs.append(vec![entry("b", "s", &[(0, "small")])]).await.unwrap();
    assert_eq!(logs.retain(keep(0, 5_000)).await.unwrap(), Sweep::Finished);
    let left = logs.read(&id("a"), Timestamp::from_ms(0), 100).await.unwrap();
    assert!((3..=5).contains(&left.len()), "{} lines of about 1000 bytes", left.len());
    assert_eq!(left.last().map(|line| line.at), Some(Timestamp::from_ms(19)));
    assert!(left.iter().zip(&left[1..]).all(|(line, next)| next.at.as_ms() == line.at.as_ms() + 1));
    assert_eq!(read(&fixture.store, "b", 0, 10).await, ["s:small"]);
}

#[tokio::test]
async fn a_sweep_over_many_functions_is_bounded_and_can_be_continued() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    let names: Vec<String> = (0..150).map(|number| format!("f{number}")).collect();
    logs.append(names.iter().map(|name| entry(name, "s", &[(1, "old")])).collect()).await.unwrap();
    assert_eq!(logs.retain(keep(2, u64::MAX)).await.unwrap(), Sweep::Unfinished);
    while logs.retain(keep(2, u64::MAX)).await.unwrap() == Sweep::Unfinished {}
    for name in &names {
        assert_eq!(read(&fixture.store, name, 0, 10).await, [""; 0]);
    }
}
