//! Opening a data directory: in use, of a newer version, damaged, or with something left over from a crash.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
};

use bytes::Bytes;
use updraft_store::open::Error;
use updraft_types::Timestamp;

use crate::fixture::{Fixture, entry, function, id, open};

#[tokio::test]
async fn a_directory_in_use_is_refused_until_it_is_closed() {
    let fixture = Fixture::open().await;
    match open(fixture.path()).await.err().unwrap() {
        Error::InUse { directory, process } => {
            assert_eq!(directory, fs::canonicalize(fixture.path()).unwrap());
            assert_eq!(process, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }
    let still_held = fixture.store.clone();
    fixture.store.close().await;
    open(fixture.path()).await.unwrap().close().await;
    drop(still_held);
}

#[tokio::test]
async fn a_newer_version_is_refused_and_left_as_it_is() {
    for file in ["platform.db", "logs.db"] {
        let fixture = Fixture::open().await;
        fixture.store.close().await;
        let path = fs::canonicalize(fixture.path()).unwrap().join(file);
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let before = fs::read(&path).unwrap();
        match open(fixture.path()).await.err().unwrap() {
            Error::NewerVersion { path: named, found: 99, known } => assert!(named == path && known < 99),
            other => panic!("{other}"),
        }
        assert!(fs::read(&path).unwrap() == before, "{file} was changed");
    }
}

#[tokio::test]
async fn a_damaged_platform_database_is_refused() {
    let fixture = Fixture::open().await;
    fixture.store.close().await;
    let path = fixture.path().join("platform.db");
    fs::write(&path, b"this is not a database, and longer than its header would be: ".repeat(100)).unwrap();
    let error = open(fixture.path()).await.err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_foreign_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = rusqlite::Connection::open(directory.path().join("platform.db")).unwrap();
    foreign.execute_batch("CREATE TABLE function (theirs)").unwrap();
    drop(foreign);
    let error = open(directory.path()).await.err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_log_database_that_is_no_database_is_set_aside() {
    let mut fixture = Fixture::open().await;
    fixture.store.functions().create(function("a", 1)).await.unwrap();
    fixture.store.close().await;
    let garbage = b"this is not a database, and longer than its header would be: ".repeat(100);
    fs::write(fixture.path().join("logs.db"), &garbage).unwrap();
    fixture.store = open(fixture.path()).await.unwrap();
    logs_work(&fixture).await;
    assert!(fs::read(fixture.path().join("logs.db.damaged")).unwrap() == garbage);
    assert_eq!(fixture.store.functions().all().await.unwrap(), [function("a", 1)]);
}

#[tokio::test]
async fn damage_found_only_when_reading_or_writing_sets_the_log_database_aside_too() {
    for read_first in [true, false] {
        let mut fixture = Fixture::open().await;
        fixture.store.logs().append(vec![entry("a", "s", &[(1, "before")])]).await.unwrap();
        fixture.store.close().await;
        let path = fixture.path().join("logs.db");
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&vec![0xaa; usize::try_from(length).unwrap() - 4096]).unwrap();
        drop(file);

        fixture.store = open(fixture.path()).await.unwrap();
        if read_first {
            assert_eq!(fixture.store.logs().read(&id("a"), Timestamp::from_ms(0), 10).await.unwrap(), []);
        }
        logs_work(&fixture).await;
        assert!(fixture.path().join("logs.db.damaged").exists());
        fixture.reopen().await;
        assert_eq!(fixture.store.logs().read(&id("a"), Timestamp::from_ms(0), 10).await.unwrap().len(), 1);
    }
}

async fn logs_work(fixture: &Fixture) {
    fixture.store.logs().append(vec![entry("a", "s", &[(2, "after")])]).await.unwrap();
    let lines = fixture.store.logs().read(&id("a"), Timestamp::from_ms(0), 10).await.unwrap();
    assert_eq!(lines.iter().map(|line| &line.text[..]).collect::<Vec<_>>(), [b"after"]);
}

#[tokio::test]
async fn a_put_cut_short_by_a_crash_leaves_nothing() {
    let mut fixture = Fixture::open().await;
    fixture.store.blobs().put("whole", Bytes::from_static(b"x")).await.unwrap();
    let unfinished = fixture.path().join("blobs/half#1");
    fs::write(&unfinished, b"hal").unwrap();
    fixture.reopen().await;
    assert!(!unfinished.exists());
    assert_eq!(fixture.store.blobs().list().await.unwrap(), ["whole"]);
}

#[tokio::test]
async fn what_may_hold_secrets_is_readable_by_its_owner_alone() {
    let fixture = Fixture::open().await;
    fixture.store.functions().create(function("a", 1)).await.unwrap();
    for name in ["platform.db", "platform.db-wal", "platform.db-shm", "logs.db", "blobs"] {
        let mode = fs::metadata(fixture.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[tokio::test]
async fn a_closed_store_leaves_complete_files_and_no_write_ahead_log() {
    let fixture = Fixture::open().await;
    fixture.store.functions().create(function("a", 1)).await.unwrap();
    fixture.store.functions().all().await.unwrap();
    fixture.store.close().await;
    for name in ["platform.db-wal", "logs.db-wal"] {
        let length = fs::metadata(fixture.path().join(name)).map(|file| file.len()).unwrap_or_default();
        assert_eq!(length, 0, "{name}");
    }
}
