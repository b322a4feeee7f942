//! Blobs of images on their way in: files of their own until an image names them, in one folder an account.
//!
//! A blob comes in parts, each at the place where the one before ended, so an upload that broke off goes on there; it
//! is whole when its bytes have its digest. What no image has named for a day is removed, and so is what a killed
//! platform left of layers from registries. Invariants: an account sees what it uploaded itself, never another's; what it
//! has waiting and what it has on its way from registries are within one bound; nothing begins for which the disk has no
//! room.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use nix::sys::statvfs::statvfs;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use updraft_image::{Digest, digest::Digesting};
use updraft_types::AccountId;

use super::{
    Error,
    accounts::{Account, Accounts, Place},
};
use crate::{Handle, control};

/// Most blobs of one account that wait for their image: more than an image has.
const WAITING_MAX: usize = 256;
/// How long they wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often they are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// What of the disk is left to the platform itself, bytes.
const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// What a pulled layer takes of the disk, as a multiple of its size: as it comes, as a blob, and at least as much unpacked.
const PULLED_COPIES: u64 = 3;

/// How the name of a blob that is not whole yet ends.
const PARTIAL: &str = "part";
/// How the name of a layer from a registry begins.
const PULLED: &str = "pull-";

/// The folder of uploads.
pub(crate) struct Uploads {
    folder: PathBuf,
    bytes_max: u64,
}

/// How far a blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub received: u64,
    /// Whether it is whole.
    pub is_complete: bool,
}

/// What an account has waiting.
struct Room {
    blobs: usize,
    bytes: u64,
}

impl Uploads {
    /// Opens the folder, removing what nobody will go on with. `bytes_max` bounds what one account has waiting.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let uploads = Self { folder: folder.to_owned(), bytes_max };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match account_of(&entry) {
                Some(account) => {
                    uploads.expire(&account, |name| name.starts_with(PULLED))?;
                }
                // As earlier versions had them.
                None if !entry.file_type()?.is_dir() => fs::remove_file(entry.path())?,
                None => {}
            }
        }
        Ok(uploads)
    }

    fn folder_of(&self, account: &AccountId) -> PathBuf {
        self.folder.join(account.as_str())
    }

    /// Where a whole blob lies.
    pub(crate) fn whole(&self, account: &AccountId, digest: &Digest) -> PathBuf {
        self.folder_of(account).join(digest.hex())
    }

    /// A new file for a layer from a registry.
    pub(crate) fn fresh(&self, account: &AccountId) -> io::Result<PathBuf> {
        let folder = self.folder_of(account);
        fs::create_dir_all(&folder)?;
        Ok(folder.join(format!("{PULLED}{}", uuid::Uuid::new_v4().simple())))
    }

    /// How far a blob has come.
    pub(crate) fn progress(&self, account: &AccountId, digest: &Digest) -> Result<Progress, Error> {
        let whole = self.whole(account, digest);
        if let Some(received) = size_of(&whole)? {
            return Ok(Progress { received, is_complete: true });
        }
        Ok(Progress { received: size_of(&whole.with_extension(PARTIAL))?.unwrap_or(0), is_complete: false })
    }

    /// Adds a part of a blob of `size_bytes` at `offset`, which has to be where the last one ended. Others of the account
    /// wait meanwhile, and nobody else.
    pub(crate) async fn add(
        &self,
        accounts: &Accounts,
        id: &AccountId,
        digest: &Digest,
        size_bytes: u64,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Progress, Error> {
        let account = accounts.of(id);
        let _turn = account.writing.lock().await;
        let before = self.progress(id, digest)?;
        if before.is_complete {
            return Ok(before);
        }
        let after = offset.saturating_add(bytes.len() as u64);
        if offset != before.received || after > size_bytes {
            return Err(Error::Offset { received: before.received });
        }
        // Of one that has begun only what is there is counted, so each of its parts has to find room too.
        match before.received {
            0 => self.find_room(id, &account, size_bytes, 1)?,
            _ => self.find_room(id, &account, bytes.len() as u64, 0)?,
        }
        self.find_disk_room(size_bytes - before.received)?;
        fs::create_dir_all(self.folder_of(id))?;
        let whole = self.whole(id, digest);
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

    /// Finds room for layers of `bytes` from a registry, which `place` holds from then on.
    pub(super) async fn make_place(&self, id: &AccountId, place: &mut Place, bytes: u64) -> Result<(), Error> {
        let account = place.account();
        let _turn = account.writing.lock().await;
        self.find_room(id, &account, bytes, 0)?;
        self.find_disk_room(bytes.saturating_mul(PULLED_COPIES))?;
        place.occupy(bytes);
        Ok(())
    }

    /// Removes what an account has uploaded.
    pub(crate) async fn forget(&self, accounts: &Accounts, id: &AccountId) -> io::Result<()> {
        let account = accounts.of(id);
        let _turn = account.writing.lock().await;
        match fs::remove_dir_all(self.folder_of(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what has waited too long, whosever it is. An account that pushes at this moment keeps what it has.
    pub(crate) async fn sweep(&self, accounts: &Accounts) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let Some(id) = account_of(&entry?) else { continue };
            let account = accounts.of(&id);
            if let Ok(_pushing) = account.pushing.try_lock() {
                let _turn = account.writing.lock().await;
                // Whoever begins to pull now finds its place after this, and makes the folder then.
                if self.expire(&id, |_| false)? == 0 && !account.is_pulling() {
                    fs::remove_dir(self.folder_of(&id))?;
                }
            }
        }
        Ok(())
    }

    /// Removes an account's files that are too old or `is_gone` names; answers how many are left. Files from registries
    /// are for whoever pulls them to remove.
    fn expire(&self, account: &AccountId, is_gone: impl Fn(&str) -> bool) -> io::Result<usize> {
        let (folder, mut left) = (self.folder_of(account), 0);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_old =
                || -> io::Result<bool> { Ok(entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > WAIT_MAX)) };
            if is_gone(&name) || (!name.starts_with(PULLED) && is_old()?) {
                fs::remove_file(entry.path())?;
            } else {
                left += 1;
            }
        }
        Ok(left)
    }

    /// Refuses further bytes, or another blob, where the account has too much waiting or on its way.
    fn find_room(&self, id: &AccountId, account: &Account, bytes: u64, blobs: usize) -> Result<(), Error> {
        let there = self.waiting(id)?;
        let all = there.bytes.saturating_add(account.pulled_bytes()).saturating_add(bytes);
        if there.blobs + blobs > WAITING_MAX || all > self.bytes_max {
            return Err(Error::Image(format!(
                "Too much has been uploaded that no image names, or is on its way from registries: at most {WAITING_MAX} \
                 blobs and {} bytes may wait",
                self.bytes_max
            )));
        }
        Ok(())
    }

    /// What an account has uploaded that no image names.
    fn waiting(&self, id: &AccountId) -> io::Result<Room> {
        let mut room = Room { blobs: 0, bytes: 0 };
        let entries = match fs::read_dir(self.folder_of(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(room),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(PULLED) {
                room.blobs += 1;
                room.bytes += entry.metadata()?.len();
            }
        }
        Ok(room)
    }

    fn find_disk_room(&self, bytes: u64) -> Result<(), Error> {
        if free_bytes(&self.folder)? < bytes {
            return Err(Error::Change(control::Error::StorageFull));
        }
        Ok(())
    }
}

/// How much there is room for on a folder's disk, beside what is the platform's own.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()).saturating_sub(DISK_RESERVE_BYTES))
}

impl Handle {
    /// Removes uploads that have waited too long, for ever.
    pub(crate) async fn run_upload_sweeper(self) {
        loop {
            let images = &self.inner.images;
            if let Err(error) = images.uploads.sweep(&images.accounts).await {
                tracing::error!(%error, "removing uploads that no image names");
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }
}

fn account_of(entry: &fs::DirEntry) -> Option<AccountId> {
    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
    entry.file_name().to_str().filter(|_| is_folder)?.parse().ok()
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
    use std::time::SystemTime;

    use futures_util::FutureExt;

    use super::*;

    fn account(text: &str) -> AccountId {
        text.parse().unwrap()
    }

    /// Makes a file look as if it had been written so long ago.
    fn age(path: &Path, age: Duration) {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[tokio::test]
    async fn a_blob_comes_in_parts_and_is_whole_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (uploads, accounts) = (Uploads::open(folder.path(), 100).unwrap(), Accounts::new());
        let (mine, others) = (account("111111111111"), account("222222222222"));
        let digest = Digest::of(b"hello world");
        let add =
            async |offset, bytes: &'static [u8]| uploads.add(&accounts, &mine, &digest, 11, offset, bytes.into()).await;
        let progress = |received, is_complete| Progress { received, is_complete };
        assert_eq!(add(0, b"hello").await.unwrap(), progress(5, false));
        assert!(matches!(add(0, b"hello").await, Err(Error::Offset { received: 5 })));
        assert!(matches!(add(5, b" worlds").await, Err(Error::Offset { received: 5 })));
        // As after a restart.
        let uploads = Uploads::open(folder.path(), 100).unwrap();
        assert_eq!(uploads.progress(&mine, &digest).unwrap(), progress(5, false));
        let added = uploads.add(&accounts, &mine, &digest, 11, 5, " world".into()).await;
        assert_eq!(added.unwrap(), progress(11, true));
        assert_eq!(fs::read(uploads.whole(&mine, &digest)).unwrap(), b"hello world");
        assert_eq!(uploads.progress(&others, &digest).unwrap(), progress(0, false), "it is not another's");
        let wrong = uploads.add(&accounts, &others, &digest, 11, 0, "hello xorld".into()).await;
        assert!(matches!(wrong, Err(Error::Image(_))));
        assert_eq!(uploads.progress(&others, &digest).unwrap(), progress(0, false));
        let large = uploads.add(&accounts, &mine, &Digest::of(b""), 90, 0, "x".into()).await;
        assert!(matches!(large, Err(Error::Image(_))), "with what waits it is more than may: {large:?}");
    }

    #[tokio::test]
    async fn what_is_pulled_takes_its_place_among_what_waits() {
        let folder = tempfile::tempdir().unwrap();
        let (uploads, accounts) = (Uploads::open(folder.path(), 100).unwrap(), Accounts::new());
        let (mine, others) = (account("111111111111"), account("222222222222"));
        let add = async |id: &AccountId, size| uploads.add(&accounts, id, &Digest::of(b"x"), size, 0, "x".into()).await;
        let mut place = accounts.begin_pull(&mine).await.unwrap();
        uploads.make_place(&mine, &mut place, 60).await.unwrap();
        assert!(uploads.make_place(&mine, &mut place, 41).await.is_err());
        fs::write(uploads.fresh(&mine).unwrap(), [0; 60]).unwrap();
        assert!(add(&mine, 41).await.is_err(), "the file that has come is counted once, by its place");
        assert!(add(&others, 100).await.is_ok(), "another's room is another's");
        assert!(add(&mine, 40).await.is_ok());
        assert!(uploads.make_place(&mine, &mut place, 100).await.is_err());
        drop(place);
        let mut place = accounts.begin_pull(&mine).await.unwrap();
        uploads.make_place(&mine, &mut place, 99).await.unwrap();
        // More than any disk has.
        let uploads = Uploads::open(folder.path(), u64::MAX).unwrap();
        let full = uploads.make_place(&others, &mut accounts.begin_pull(&others).await.unwrap(), 1 << 60).await;
        assert!(matches!(full, Err(Error::Change(control::Error::StorageFull))), "{full:?}");
    }

    #[tokio::test]
    async fn an_account_that_is_slow_keeps_only_itself_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (uploads, accounts) = (Uploads::open(folder.path(), 100).unwrap(), Accounts::new());
        let (mine, others) = (account("111111111111"), account("222222222222"));
        let slow = accounts.of(&mine);
        let turn = slow.writing.lock().await;
        let digest = Digest::of(b"x");
        let mut waits = Box::pin(uploads.add(&accounts, &mine, &digest, 1, 0, "x".into()));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(uploads.add(&accounts, &others, &digest, 1, 0, "x".into()).await.unwrap().is_complete);
        drop(turn);
        assert!(waits.await.unwrap().is_complete);
    }

    #[tokio::test]
    async fn what_waits_too_long_goes_whosever_it_is_and_an_accounts_with_the_account() {
        let folder = tempfile::tempdir().unwrap();
        let (uploads, accounts) = (Uploads::open(folder.path(), 100).unwrap(), Accounts::new());
        let ids = ["111111111111", "222222222222", "333333333333"].map(account);
        let (old, new) = (Digest::of(b"x"), Digest::of(b"y"));
        for id in &ids {
            uploads.add(&accounts, id, &old, 1, 0, "x".into()).await.unwrap();
            age(&uploads.whole(id, &old), WAIT_MAX + Duration::from_secs(60));
        }
        uploads.add(&accounts, &ids[0], &new, 2, 0, "y".into()).await.unwrap();
        let pulled = uploads.fresh(&ids[0]).unwrap();
        fs::write(&pulled, "x").unwrap();
        age(&pulled, WAIT_MAX * 2);
        let there = |id: &AccountId, digest| uploads.progress(id, digest).unwrap().received;
        {
            let pushing = accounts.of(&ids[2]);
            let _turn = pushing.pushing.lock().await;
            uploads.sweep(&accounts).await.unwrap();
        }
        assert_eq!(
            [there(&ids[0], &old), there(&ids[0], &new), there(&ids[1], &old), there(&ids[2], &old)],
            [0, 1, 0, 1]
        );
        assert!(pulled.exists(), "it is for whoever pulls it to remove");
        assert!(!folder.path().join(ids[1].as_str()).exists(), "an empty folder goes too");
        uploads.forget(&accounts, &ids[0]).await.unwrap();
        uploads.forget(&accounts, &ids[1]).await.unwrap();
        assert!(!folder.path().join(ids[0].as_str()).exists());
        // What an earlier version left, and a pull that was killed.
        fs::write(folder.path().join("111111111111-abc"), "x").unwrap();
        fs::write(uploads.fresh(&ids[2]).unwrap(), "x").unwrap();
        age(&uploads.whole(&ids[2], &old), Duration::ZERO);
        Uploads::open(folder.path(), 100).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [ids[2].as_str()]);
        assert_eq!(fs::read_dir(folder.path().join(&left[0])).unwrap().count(), 1);
    }
}
