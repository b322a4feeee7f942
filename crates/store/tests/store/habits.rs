//! Conformance: what is known of functions' habits.

use updraft_store::habits::Habit;
use updraft_types::{Timestamp, Version, VersionId};

use crate::fixture::{Fixture, id};

fn habit(name: &str, version: Version, idle_from_ms: Option<u64>, record: &[u8]) -> Habit {
    let idle_from = idle_from_ms.map(Timestamp::from_ms);
    Habit { version: VersionId { function: id(name), version }, idle_from, record: record.to_vec() }
}

#[tokio::test]
async fn habits_are_replaced_removed_and_outlive_a_power_cut() {
    let mut fixture = Fixture::open().await;
    let old = habit("a", Version::Latest, Some(1), b"old");
    let one = habit("a", Version::Number(1), Some(5), b"");
    let gone = habit("b", Version::Latest, Some(9), b"x");
    fixture.store.habits().put(Vec::new(), vec![old.clone(), one.clone(), gone.clone()]).await.unwrap();
    let new = habit("a", Version::Latest, Some(7), b"new");
    fixture.store.habits().put(vec![gone.version.clone()], vec![new.clone()]).await.unwrap();
    fixture.crash().await;
    assert_eq!(fixture.store.habits().all(9).await.unwrap(), [new.clone(), one.clone()]);
    assert_eq!(fixture.store.habits().all(1).await.unwrap(), std::slice::from_ref(&new), "the latest first");
    // What is gone and there again is there.
    let running = habit("a", Version::Number(1), None, b"runs");
    fixture.store.habits().put(vec![one.version.clone()], vec![running.clone()]).await.unwrap();
    assert_eq!(fixture.store.habits().all(9).await.unwrap(), [running, new]);
}
