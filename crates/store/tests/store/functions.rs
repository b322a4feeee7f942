//! Conformance: functions.

use futures_util::future::join_all;
use updraft_store::functions::{CreateError, DeleteError, ReplaceError};

use crate::fixture::{Fixture, function, id, revision};

#[tokio::test]
async fn a_created_function_is_read_back_as_it_was_also_after_reopening() {
    let mut fixture = Fixture::open().await;
    assert_eq!(fixture.store.functions().all().await.unwrap(), []);
    fixture.store.functions().create(function("b", 1)).await.unwrap();
    fixture.store.functions().create(function("a", 2)).await.unwrap();
    let expected = [function("a", 2), function("b", 1)];
    assert_eq!(fixture.store.functions().all().await.unwrap(), expected);
    fixture.reopen().await;
    assert_eq!(fixture.store.functions().all().await.unwrap(), expected);
}

#[tokio::test]
async fn a_name_is_taken_once_an_account() {
    let fixture = Fixture::open().await;
    let functions = fixture.store.functions();
    functions.create(function("a", 1)).await.unwrap();
    assert!(matches!(functions.create(function("a", 2)).await, Err(CreateError::Exists)));
    let mut elsewhere = function("a", 3);
    elsewhere.id.account = "111111111111".parse().unwrap();
    functions.create(elsewhere.clone()).await.unwrap();
    assert_eq!(functions.all().await.unwrap(), [function("a", 1), elsewhere]);
}

#[tokio::test]
async fn replace_needs_the_present_revision() {
    let fixture = Fixture::open().await;
    let functions = fixture.store.functions();
    assert!(matches!(functions.replace(function("a", 2), revision(1)).await, Err(ReplaceError::NotFound)));
    functions.create(function("a", 1)).await.unwrap();
    functions.replace(function("a", 2), revision(1)).await.unwrap();
    assert!(matches!(functions.replace(function("a", 3), revision(1)).await, Err(ReplaceError::Stale)));
    assert_eq!(functions.all().await.unwrap(), [function("a", 2)]);
}

#[tokio::test]
async fn of_many_replacing_one_revision_exactly_one_wins() {
    let fixture = Fixture::open().await;
    let functions = fixture.store.functions();
    functions.create(function("a", 1)).await.unwrap();
    let outcomes = join_all((2..34).map(|number| functions.replace(function("a", number), revision(1)))).await;
    let winners: Vec<u64> =
        (2..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(number, _)| number).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(functions.all().await.unwrap(), [function("a", winners[0])]);
}

#[tokio::test]
async fn a_deleted_function_is_gone_and_its_name_free() {
    let mut fixture = Fixture::open().await;
    assert!(matches!(fixture.store.functions().delete(id("a")).await, Err(DeleteError::NotFound)));
    fixture.store.functions().create(function("a", 1)).await.unwrap();
    fixture.store.functions().delete(id("a")).await.unwrap();
    fixture.reopen().await;
    assert_eq!(fixture.store.functions().all().await.unwrap(), []);
    fixture.store.functions().create(function("a", 2)).await.unwrap();
}

#[tokio::test]
async fn concurrent_changes_share_commits_and_a_refused_one_fails_alone() {
    let fixture = Fixture::open().await;
    let functions = fixture.store.functions();
    let before = fixture.store.commits();
    let outcomes =
        join_all((0..600).map(|number| functions.create(function(&format!("f{}", number / 2), number)))).await;
    let shared = fixture.store.commits() - before;
    assert!(shared < 300, "600 creates took {shared} commits");
    for pair in outcomes.chunks(2) {
        assert!(matches!(pair, [Ok(()), Err(CreateError::Exists)] | [Err(CreateError::Exists), Ok(())]), "{pair:?}");
    }
    assert_eq!(functions.all().await.unwrap().len(), 300);
}

#[tokio::test]
async fn a_closed_store_refuses_and_closing_twice_is_harmless() {
    let fixture = Fixture::open().await;
    let queued = fixture.store.functions().create(function("a", 1));
    let (queued, ()) = tokio::join!(queued, fixture.store.close());
    queued.unwrap();
    fixture.store.close().await;
    assert!(matches!(fixture.store.functions().create(function("b", 1)).await, Err(CreateError::Internal(_))));
    assert!(fixture.store.functions().all().await.is_err());
}
