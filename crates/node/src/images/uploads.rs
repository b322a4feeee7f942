//! Blobs of images on their way in: files of their own until an image names them.
//!
//! A blob comes in parts, each at the place where the one before ended, so an upload that broke off goes on there; it
//! is whole when its bytes have its digest. What no image has named for a day is removed, and so is what a killed
//! platform left of layers from registries. Invariant: an account sees what it uploaded itself, never another's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncSeekExt, AsyncWriteExt},
    sync::Mutex,
};
use updraft_image::{Digest, digest::Digesting};
use updraft_types::AccountId;

use super::Error;

/// Most blobs of one account that wait for their image: more than an image has.
const WAITING_MAX: usize = 256;
/// How long they wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How the name of a blob that is not whole yet ends.
const PARTIAL: &str = "part";

/// The folder of uploads.
pub(crate) struct Uploads {
    folder: PathBuf,
    bytes_max: u64,
    /// Parts are written one at a time: what is there and what is added would else have to be settled for each blob.
    turn: Arc<Mutex<()>>,
}

/// How far a blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub received: u64,
    /// Whether it is whole.
    pub is_complete: bool,
}

impl Uploads {
    /// Opens the folder, removing what nobody will go on with. `bytes_max` bounds what one account has waiting.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let is_old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > WAIT_MAX);
            if is_old || entry.file_name().to_string_lossy().starts_with("pull-") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder: folder.to_owned(), bytes_max, turn: Arc::default() })
    }

    /// Where a whole blob lies.
    pub(crate) fn whole(&self, account: &AccountId, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{account}-{}", digest.hex()))
    }

    /// A new file for a layer from a registry.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.folder.join(format!("pull-{}", uuid::Uuid::new_v4().simple()))
    }

    /// How far a blob has come.
    pub(crate) async fn progress(&self, account: &AccountId, digest: &Digest) -> Result<Progress, Error> {
        let whole = self.whole(account, digest);
        if let Some(received) = size_of(&whole)? {
            return Ok(Progress { received, is_complete: true });
        }
        Ok(Progress { received: size_of(&whole.with_extension(PARTIAL))?.unwrap_or(0), is_complete: false })
    }

    /// Adds a part of a blob of `size_bytes` at `offset`, which has to be where the last one ended.
    pub(crate) async fn add(
        &self,
        account: &AccountId,
        digest: &Digest,
        size_bytes: u64,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Progress, Error> {
        let _turn = self.turn.lock().await;
        let before = self.progress(account, digest).await?;
        if before.is_complete {
            return Ok(before);
        }
        let after = offset.saturating_add(bytes.len() as u64);
        if offset != before.received || after > size_bytes {
            return Err(Error::Offset { received: before.received });
        }
        // Of one that has begun only what is there is counted, so each of its parts has to find room too.
        match before.received {
            0 => self.make_room(account, size_bytes, WAITING_MAX)?,
            _ => self.make_room(account, bytes.len() as u64, WAITING_MAX + 1)?,
        }
        let whole = self.whole(account, digest);
        let partial = whole.with_extension(PARTIAL);
        let mut file = tokio::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&partial).await?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        file.write_all(&bytes).await?;
        file.flush().await?;
        if after < size_bytes {
            return Ok(Progress { received: after, is_complete: false });
        }
        // Its whole name may not be there before its bytes are.
        file.sync_all().await?;
        drop(file);
        let digest = *digest;
        crate::packages::run_blocking(move || {
            let internal = |error: io::Error| crate::packages::Error::Internal(error.to_string());
            let reader = fs::File::open(&partial).map_err(internal)?;
            let (found, found_bytes) = Digesting::new(reader).finish(size_bytes).map_err(internal)?;
            if found != digest || found_bytes != size_bytes {
                fs::remove_file(&partial).map_err(internal)?;
                return Ok(false);
            }
            fs::rename(&partial, &whole).map_err(internal)?;
            Ok(true)
        })
        .await?
        .then_some(Progress { received: size_bytes, is_complete: true })
        .ok_or(Error::Image("The blob is not what its digest says; it is thrown away".into()))
    }

    /// Refuses further bytes where the account has too much waiting, or `blobs_max` already; what waits too long goes first.
    fn make_room(&self, account: &AccountId, size_bytes: u64, blobs_max: usize) -> Result<(), Error> {
        let (mut count, mut bytes) = (0, size_bytes);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(account.as_str()) {
                continue;
            }
            let metadata = entry.metadata()?;
            if metadata.modified()?.elapsed().is_ok_and(|age| age > WAIT_MAX) {
                fs::remove_file(entry.path())?;
                continue;
            }
            count += 1;
            bytes += metadata.len();
        }
        if count >= blobs_max || bytes > self.bytes_max {
            return Err(Error::Image(format!(
                "Too much has been uploaded that no image names: at most {WAITING_MAX} blobs and {} bytes may wait",
                self.bytes_max
            )));
        }
        Ok(())
    }
}

fn size_of(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountId {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_blob_comes_in_parts_and_is_whole_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 100).unwrap();
        let (mine, others) = (account("111111111111"), account("222222222222"));
        let digest = Digest::of(b"hello world");
        let add = async |offset, bytes: &'static [u8]| uploads.add(&mine, &digest, 11, offset, bytes.into()).await;
        let progress = |received, is_complete| Progress { received, is_complete };
        assert_eq!(add(0, b"hello").await.unwrap(), progress(5, false));
        assert!(matches!(add(0, b"hello").await, Err(Error::Offset { received: 5 })));
        assert!(matches!(add(5, b" worlds").await, Err(Error::Offset { received: 5 })));
        // As after a restart.
        let uploads = Uploads::open(folder.path(), 100).unwrap();
        assert_eq!(uploads.progress(&mine, &digest).await.unwrap(), progress(5, false));
        assert_eq!(uploads.add(&mine, &digest, 11, 5, " world".into()).await.unwrap(), progress(11, true));
        assert_eq!(fs::read(uploads.whole(&mine, &digest)).unwrap(), b"hello world");
        assert_eq!(uploads.progress(&others, &digest).await.unwrap(), progress(0, false), "it is not another's");
        let wrong = uploads.add(&others, &digest, 11, 0, "hello xorld".into()).await;
        assert!(matches!(wrong, Err(Error::Image(_))));
        assert_eq!(uploads.progress(&others, &digest).await.unwrap(), progress(0, false));
        let large = uploads.add(&mine, &Digest::of(b""), 90, 0, "x".into()).await;
        assert!(matches!(large, Err(Error::Image(_))), "with what waits it is more than may: {large:?}");
    }
}
