//! Conformance: blobs.

use bytes::Bytes;
use updraft_store::blobs::{Error, KEY_BYTES_MAX};

use crate::fixture::Fixture;

#[tokio::test]
async fn a_blob_is_read_back_listed_and_deleted() {
    let mut fixture = Fixture::open().await;
    let large = Bytes::from(vec![7_u8; 3 << 20]);
    fixture.store.blobs().put("large.zip", large.clone()).await.unwrap();
    fixture.store.blobs().put("empty", Bytes::new()).await.unwrap();
    fixture.reopen().await;
    let blobs = fixture.store.blobs();
    assert_eq!(blobs.get("large.zip").await.unwrap(), Some(large));
    assert_eq!(blobs.get("empty").await.unwrap(), Some(Bytes::new()));
    assert_eq!(blobs.get("other").await.unwrap(), None);
    assert_eq!(blobs.list().await.unwrap(), ["empty", "large.zip"]);
    blobs.delete("empty").await.unwrap();
    blobs.delete("empty").await.unwrap();
    assert_eq!(blobs.list().await.unwrap(), ["large.zip"]);
}

#[tokio::test]
async fn putting_the_same_blob_many_times_at_once_is_harmless() {
    let fixture = Fixture::open().await;
    let bytes = Bytes::from(vec![1_u8; 100_000]);
    let puts = (0..16).map(|_| fixture.store.blobs().put("same", bytes.clone()));
    for outcome in futures_util::future::join_all(puts).await {
        outcome.unwrap();
    }
    assert_eq!(fixture.store.blobs().get("same").await.unwrap(), Some(bytes));
    assert_eq!(fixture.store.blobs().list().await.unwrap(), ["same"]);
}

#[tokio::test]
async fn keys_that_are_not_plain_names_are_refused() {
    let fixture = Fixture::open().await;
    let blobs = fixture.store.blobs();
    let longest = "k".repeat(KEY_BYTES_MAX);
    blobs.put(&longest, Bytes::from_static(b"x")).await.unwrap();
    let too_long = "k".repeat(KEY_BYTES_MAX + 1);
    for key in [
        "",
        ".",
        "..",
        "../up",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a b",
        "a\0b",
        "a#1",
        "%2e%2e",
        ".hidden",
        "ü",
        &too_long,
    ] {
        assert!(matches!(blobs.put(key, Bytes::new()).await, Err(Error::InvalidKey(_))), "put {key:?}");
        assert!(matches!(blobs.get(key).await, Err(Error::InvalidKey(_))), "get {key:?}");
        assert!(matches!(blobs.delete(key).await, Err(Error::InvalidKey(_))), "delete {key:?}");
    }
    assert_eq!(blobs.list().await.unwrap(), [longest]);
}
