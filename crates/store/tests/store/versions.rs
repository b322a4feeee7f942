//! Conformance: published versions and aliases.

use futures_util::future::join_all;
use updraft_store::functions::ReplaceError;
use updraft_types::{Function, Version, VersionId};

use crate::fixture::{Fixture, function, id, revision};

fn number(function: &Function) -> u64 {
    match function.version {
        Version::Number(number) => number,
        Version::Latest => panic!("a version has a number"),
    }
}

#[tokio::test]
async fn a_number_is_given_once_also_after_its_version_and_its_function_are_deleted() {
    let mut fixture = Fixture::open().await;
    let functions = fixture.store.functions().clone();
    let first = functions.create_published(function("a", 1), function("a", 2)).await.unwrap();
    let second = functions.replace_published(function("a", 3), revision(1), function("a", 4)).await.unwrap();
    assert_eq!((number(&first), number(&second)), (1, 2));
    let second = VersionId { function: id("a"), version: Version::Number(2) };
    fixture.store.versions().delete(second).await.unwrap();
    let third = functions.replace_published(function("a", 5), revision(3), function("a", 6)).await.unwrap();
    assert_eq!(number(&third), 3);
    functions.delete(id("a")).await.unwrap();
    assert_eq!(fixture.store.versions().all().await.unwrap(), []);
    fixture.crash().await;
    let again = fixture.store.functions().create_published(function("a", 7), function("a", 8)).await.unwrap();
    assert_eq!(number(&again), 4);
}

#[tokio::test]
async fn what_is_refused_takes_no_number() {
    let fixture = Fixture::open().await;
    let functions = fixture.store.functions();
    functions.create(function("a", 1)).await.unwrap();
    assert!(functions.create_published(function("a", 2), function("a", 3)).await.is_err());
    let stale = functions.replace_published(function("a", 2), revision(9), function("a", 3)).await;
    assert!(matches!(stale, Err(ReplaceError::Stale)));
    assert_eq!(fixture.store.versions().all().await.unwrap(), []);
    let outcomes =
        (2..34).map(|next| functions.replace_published(function("a", next), revision(1), function("a", next)));
    let published: Vec<Function> = join_all(outcomes).await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(published.iter().map(number).collect::<Vec<_>>(), [1], "one of many wins");
    assert_eq!(fixture.store.versions().all().await.unwrap(), published);
}
