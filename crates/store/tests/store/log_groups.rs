//! Conformance: log groups, their streams, and reading them page by page.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use updraft_store::{
    Store,
    logs::{Change, Direction, Entry, Order, Pattern, Place, Query, Retention, Streams, Sweep},
};
use updraft_types::{LogGroupId, Timestamp};

use crate::fixture::{Fixture, entry, id};

const DAY_MS: u64 = 86_400_000;

fn group(name: &str) -> LogGroupId {
    LogGroupId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
}

fn elsewhere(name: &str) -> LogGroupId {
    LogGroupId { account: "111111111111".parse().unwrap(), name: name.parse().unwrap() }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn query(group: LogGroupId, direction: Direction, limit: usize) -> Query {
    Query { group, streams: Streams::All, from: Place::default(), until: Place::END, direction, limit, filter: None }
}

fn put(group: &LogGroupId, stream: &str, lines: &[(u64, &str)]) -> Entry {
    Entry { group: group.clone(), ..entry("f", stream, lines) }
}

async fn names(store: &Store, pattern: Pattern, after: Option<&str>, limit: usize) -> Vec<String> {
    let account = "000000000000".parse().unwrap();
    let groups = store.logs().groups(account, pattern, after.map(str::to_owned), limit).await.unwrap();
    groups.into_iter().map(|group| group.name).collect()
}

#[tokio::test]
async fn all_groups_of_an_account_go_at_once_and_no_others() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    logs.append(vec![entry("hello", "s", &[(9, "x")]), put(&group("/more"), "s", &[(9, "x")])]).await.unwrap();
    for group in [group("/mine"), elsewhere("/mine")] {
        assert_eq!(logs.create_group(group, tags(&[]), at(5)).await.unwrap(), Change::Done);
    }
    logs.delete_all(group("/mine").account).await.unwrap();
    assert_eq!(names(&fixture.store, Pattern::Prefix(String::new()), None, 10).await, [""; 0]);
    assert!(logs.read(group("/more"), at(0), 10).await.unwrap().is_empty());
    assert!(logs.group(elsewhere("/mine")).await.unwrap().is_some());
}

#[tokio::test]
async fn groups_are_made_listed_changed_and_deleted_for_each_account_alone() {
    let mut fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    let mine = group("/mine");
    assert_eq!(logs.create_group(mine.clone(), tags(&[("a", "1")]), at(5)).await.unwrap(), Change::Done);
    assert_eq!(logs.create_group(mine.clone(), tags(&[]), at(6)).await.unwrap(), Change::Exists);
    assert_eq!(logs.create_group(elsewhere("/mine"), tags(&[]), at(7)).await.unwrap(), Change::Done);
    logs.append(vec![entry("hello", "s", &[(9, "x")])]).await.unwrap();
    assert_eq!(logs.create_group(group("/aws/lambda/hello"), tags(&[]), at(6)).await.unwrap(), Change::Exists);
    assert_eq!(logs.set_retention(mine.clone(), Some(3)).await.unwrap(), Change::Done);
    assert_eq!(logs.set_retention(group("/none"), Some(3)).await.unwrap(), Change::NoGroup);
    assert_eq!(logs.set_tags(group("/none"), tags(&[])).await.unwrap(), Change::NoGroup);
    fixture.reopen().await;
    let logs = fixture.store.logs();
    let found = logs.group(mine.clone()).await.unwrap().unwrap();
    assert_eq!((found.created_at, found.retention_days, found.size_bytes), (at(5), Some(3), 0));
    assert_eq!(found.tags, tags(&[("a", "1")]));
    assert_eq!(logs.group(elsewhere("/mine")).await.unwrap().unwrap().retention_days, None);

    let store = &fixture.store;
    let all = ["/aws/lambda/hello", "/mine"];
    assert_eq!(names(store, Pattern::Prefix(String::new()), None, 10).await, all);
    assert_eq!(names(store, Pattern::Prefix(String::new()), None, 1).await, all[..1]);
    assert_eq!(names(store, Pattern::Prefix(String::new()), Some(all[0]), 10).await, all[1..]);
    assert_eq!(names(store, Pattern::Prefix("/aws/".into()), None, 10).await, all[..1]);
    assert_eq!(names(store, Pattern::Part("MINE".into()), None, 10).await, all[1..]);
    assert_eq!(names(store, Pattern::Prefix("/%".into()), None, 10).await, [""; 0]);

    assert!(logs.delete(mine.clone()).await.unwrap());
    assert!(!logs.delete(mine.clone()).await.unwrap());
    assert!(logs.group(mine).await.unwrap().is_none());
    assert!(logs.group(elsewhere("/mine")).await.unwrap().is_some());
}

#[tokio::test]
async fn streams_come_with_lines_or_by_hand_and_lines_are_put_only_where_there_is_one() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    let mine = group("/mine");
    assert_eq!(logs.create_stream(mine.clone(), "s".into(), at(1)).await.unwrap(), Change::NoGroup);
    assert_eq!(logs.put(put(&mine, "s", &[(1, "x")])).await.unwrap(), Change::NoGroup);
    assert_eq!(logs.create_group(mine.clone(), tags(&[]), at(1)).await.unwrap(), Change::Done);
    assert_eq!(logs.put(put(&mine, "s", &[(1, "x")])).await.unwrap(), Change::NoStream);
    for (name, made_at) in [("b", 2), ("a", 3), ("c", 4)] {
        assert_eq!(logs.create_stream(mine.clone(), name.into(), at(made_at)).await.unwrap(), Change::Done);
    }
    assert_eq!(logs.create_stream(mine.clone(), "a".into(), at(9)).await.unwrap(), Change::Exists);
    assert_eq!(logs.put(put(&mine, "a", &[(10, "x"), (20, "y")])).await.unwrap(), Change::Done);
    assert_eq!(logs.put(put(&mine, "b", &[(30, "z")])).await.unwrap(), Change::Done);

    let list = async |prefix: &str, by_last_line, descending, limit| {
        let order = Order { by_last_line, descending };
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = logs.streams(mine.clone(), prefix.to_owned(), order, after, limit).await.unwrap().unwrap();
            names.extend(page.iter().map(|stream| stream.name.clone()));
            match page.last() {
                Some(last) if page.len() == limit => after = Some(last.cursor()),
                _ => return names.concat(),
            }
        }
    };
    for limit in [1, 2, 10] {
        assert_eq!(list("", false, false, limit).await, "abc");
        assert_eq!(list("", false, true, limit).await, "cba");
        assert_eq!(list("", true, false, limit).await, "cab");
        assert_eq!(list("", true, true, limit).await, "bac");
        assert_eq!(list("b", true, true, limit).await, "b");
    }
    let order = Order { by_last_line: false, descending: false };
    let streams = logs.streams(mine.clone(), String::new(), order, None, 10).await.unwrap().unwrap();
    assert_eq!(streams[0].lines, Some([at(10), at(20), at(20)]));
    assert_eq!((streams[2].lines, streams[2].created_at), (None, at(4)));
    assert_eq!(logs.streams(group("/none"), String::new(), order, None, 10).await.unwrap(), None);
}

#[tokio::test]
async fn a_groups_own_retention_goes_before_the_platforms() {
    let fixture = Fixture::open().await;
    let logs = fixture.store.logs();
    let (short, long) = (group("/short"), group("/long"));
    for (group, days) in [(&short, 1), (&long, 30)] {
        assert_eq!(logs.create_group(group.clone(), tags(&[]), at(0)).await.unwrap(), Change::Done);
        assert_eq!(logs.set_retention(group.clone(), Some(days)).await.unwrap(), Change::Done);
    }
    for day in 0..20 {
        let lines = [(day * DAY_MS, "x")];
        logs.append(vec![put(&short, "s", &lines), put(&long, "s", &lines), entry("f", "s", &lines)]).await.unwrap();
    }
    let retention = Retention { now: at(20 * DAY_MS), older_than: at(6 * DAY_MS), bytes_max_per_function: u64::MAX };
    assert_eq!(logs.retain(retention).await.unwrap(), Sweep::Finished);
    let count = async |group: LogGroupId| logs.read(group, at(0), 100).await.unwrap().len();
    assert_eq!(count(short.clone()).await, 1);
    assert_eq!(count(long).await, 20);
    assert_eq!(count((&id("f")).into()).await, 14);
    let retention = Retention { now: at(99 * DAY_MS), older_than: at(99 * DAY_MS), ..retention };
    assert_eq!(logs.retain(retention).await.unwrap(), Sweep::Finished);
    assert!(logs.group(short).await.unwrap().is_some(), "a group somebody made stays when it is empty");
    assert!(logs.group((&id("f")).into()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_page_holds_one_megabyte_at_most() {
    let fixture = Fixture::open().await;
    let text = "x".repeat(200_000);
    let lines: Vec<_> = (0..12).map(|at| (at, &text[..])).collect();
    fixture.store.logs().append(vec![entry("f", "s", &lines)]).await.unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        let page = fixture.store.logs().page(query((&id("f")).into(), direction, 100)).await.unwrap().unwrap();
        assert_eq!((page.events.len(), page.next.is_some()), (5, true));
    }
}

/// Entries as (stream, lines), and a question about them.
type Case = (Vec<(u8, Vec<u64>)>, usize, u64, u64, u8, bool);

fn cases() -> impl Strategy<Value = Case> {
    let lines = proptest::collection::vec(0..60_u64, 0..6);
    let entries = proptest::collection::vec((0..3_u8, lines), 0..12);
    (entries, 1..7_usize, 0..60_u64, 0..60_u64, 0..5_u8, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, fork: false, ..ProptestConfig::default() })]

    #[test]
    fn pages_add_up_to_what_is_there((entries, limit, from, until, streams, is_filtered) in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::open().await;
            let mut expected = Vec::new();
            for (number, (stream, times)) in entries.iter().enumerate() {
                let stream = format!("s{stream}");
                let texts: Vec<_> = (0..times.len()).map(|index| format!("{number}-{index}")).collect();
                let lines: Vec<_> = times.iter().copied().zip(texts.iter().map(String::as_str)).collect();
                fixture.store.logs().append(vec![entry("f", &stream, &lines)]).await.unwrap();
                expected.extend(lines.iter().map(|(at, text)| (*at, stream.clone(), (*text).to_owned())));
            }
            expected.sort_by_key(|line| line.0);
            let streams = match streams {
                0 => Streams::All,
                1 => Streams::One("s1".into()),
                2 => Streams::These(vec!["s0".into(), "s2".into()]),
                3 => Streams::Prefix("s".into()),
                _ => Streams::Prefix("s2".into()),
            };
            let has = |stream: &str| match &streams {
                Streams::All => true,
                Streams::One(name) => name == stream,
                Streams::These(names) => names.iter().any(|name| name == stream),
                Streams::Prefix(prefix) => stream.starts_with(&prefix[..]),
            };
            expected.retain(|(at, stream, text)| {
                (from..until).contains(at) && has(stream) && (!is_filtered || text.ends_with('1'))
            });
            for direction in [Direction::Forward, Direction::Backward] {
                let mut query = query((&id("f")).into(), direction, limit);
                query.streams = streams.clone();
                query.from = Place::before(at(from));
                query.until = Place::before(at(until));
                if is_filtered {
                    query.filter = Some(Arc::new(|text| text.ends_with(b"1")));
                }
                let mut found = Vec::new();
                loop {
                    let Some(page) = fixture.store.logs().page(query.clone()).await.unwrap() else {
                        assert!(entries.iter().all(|(_, lines)| lines.is_empty()));
                        break;
                    };
                    assert!(page.events.len() <= limit);
                    let lines: Vec<_> = page.events.iter().map(|event| {
                        (event.at.as_ms(), event.stream.to_string(), String::from_utf8_lossy(&event.text).into_owned())
                    }).collect();
                    match direction {
                        Direction::Forward => found.extend(lines),
                        Direction::Backward => drop(found.splice(0..0, lines)),
                    }
                    match (page.next, direction) {
                        (None, _) => break,
                        (Some(next), Direction::Forward) => query.from = next,
                        (Some(next), Direction::Backward) => query.until = next,
                    }
                }
                assert_eq!(found, expected, "{direction:?}");
            }
        });
    }
}
