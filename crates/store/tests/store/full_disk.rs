//! A full disk: its own error everywhere, nothing half-made, and work goes on once there is room.
//!
//! Uses a small file system in memory, which only root may mount. Without it these tests are skipped, saying so; the
//! crate's unit tests fill a database by a limit on its pages everywhere.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use tempfile::TempDir;
use updraft_store::{blobs, functions::CreateError, logs, open};

use crate::fixture::{entry, function, open};

/// A mounted file system of a few megabytes.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(test: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("SKIPPED {test}: mounting a small file system takes root");
        }
        mounted.then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Leaves no room at all; removing the answer's file makes some.
fn fill(disk: &Path) -> std::path::PathBuf {
    let filler = disk.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    filler
}

#[tokio::test]
async fn a_full_disk_is_told_leaves_nothing_half_made_and_is_recovered_from() {
    let Some(disk) = SmallDisk::mount("a_full_disk_is_told_leaves_nothing_half_made_and_is_recovered_from") else {
        return;
    };
    let directory = disk.path().join("data");
    let store = open(&directory).await.unwrap();
    store.functions().create(function("before", 1)).await.unwrap();
    let filler = fill(disk.path());

    // The write-ahead log may have a little room left in its last page, so the first change may still fit.
    let mut stored = BTreeSet::from(["before".to_owned()]);
    let mut refused = None;
    for number in 0..200 {
        let name = format!("f{number}");
        match store.functions().create(function(&name, number)).await {
            Ok(()) => assert!(stored.insert(name)),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(CreateError::Full)), "{refused:?}");

    let error = store.blobs().put("blob", Bytes::from(vec![1; 1 << 20])).await.unwrap_err();
    assert!(matches!(error, blobs::Error::Full), "{error}");
    assert_eq!(store.blobs().get("blob").await.unwrap(), None);
    assert_eq!(fs::read_dir(directory.join("blobs")).unwrap().count(), 0);

    let error = store.logs().append(vec![entry("f", "s", &[(1, &"x".repeat(1 << 20))])]).await.unwrap_err();
    assert!(matches!(error, logs::Error::Full), "{error}");
    assert_eq!(store.logs().read(&function("f", 1).id, Default::default(), 10).await.unwrap(), []);

    fs::remove_file(filler).unwrap();
    store.functions().create(function("after", 1)).await.unwrap();
    stored.insert("after".into());
    store.blobs().put("blob", Bytes::from(vec![1; 100_000])).await.unwrap();
    store.logs().append(vec![entry("f", "s", &[(1, "line")])]).await.unwrap();
    store.close().await;

    let store = open(&directory).await.unwrap();
    let found: BTreeSet<_> =
        store.functions().all().await.unwrap().iter().map(|function| function.id.name.to_string()).collect();
    assert_eq!(found, stored);
    store.close().await;
}

#[tokio::test]
async fn opening_on_a_full_disk_says_so() {
    let Some(disk) = SmallDisk::mount("opening_on_a_full_disk_says_so") else { return };
    let directory = disk.path().join("data");
    fs::create_dir(&directory).unwrap();
    let filler = fill(disk.path());
    let error = open(&directory).await.err().unwrap();
    assert!(matches!(error, open::Error::Full { .. }), "{error}");
    fs::remove_file(filler).unwrap();
    open(&directory).await.unwrap().close().await;
}
