//! Unpacked packages on disk, named by the content of their zip, shared by every function with equal code.
//!
//! A package is laid out beside its final name and renamed, and loses that name before anything of it is removed, so
//! a folder that is there is whole. It is removed when nothing names it and no instance has it mounted; so are the joined layers of functions with several
//! (`layers`), whose names begin with `set-`, and container images (`images`), `image-`. The zip itself, or the layers of
//! the image, are kept in the blob store; a folder that is missing after a restart is made again from there.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use updraft_store::Store;
use updraft_types::function::Code;

use crate::{images, package};

/// What the name of a folder ends in that is not whole, or no longer.
const PARTIAL: &str = ".partial";

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The zip is not acceptable.
    #[error(transparent)]
    Package(package::Error),
    /// The disk is full.
    #[error("the disk is full")]
    StorageFull,
    /// The platform failed; for the operator.
    #[error("{0}")]
    Internal(String),
}

impl From<package::Error> for Error {
    fn from(error: package::Error) -> Self {
        match error {
            package::Error::StorageFull => Error::StorageFull,
            package::Error::Io(error) => Error::Internal(error.to_string()),
            error => Error::Package(error),
        }
    }
}

/// An unpacked package. While one is held, its folder stays.
#[derive(Debug)]
pub(crate) struct Package {
    /// The folder to mount.
    pub(crate) folder: Arc<Path>,
}

/// What came of removing a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is gone, or was not there.
    Done,
    /// An instance still has it mounted.
    StillHeld,
}

/// The folder of unpacked packages.
pub(crate) struct Packages {
    folder: PathBuf,
    pub(crate) store: Store,
    pub(crate) image_limits: updraft_image::unpack::Limits,
    /// Held while an image is unpacked.
    pub(crate) unpacking: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<HashMap<String, Weak<Package>>>,
}

/// The identity of a zip's content.
pub(crate) fn code_of(zip: &[u8]) -> Code {
    Code { sha256: BASE64.encode(Sha256::digest(zip)), size_bytes: zip.len() as u64, image: None }
}

/// The name a package has among the folders; a zip has it in the blob store too, with an ending.
fn key_of(code: &Code) -> String {
    if let Some(image) = &code.image {
        return images::image_key(&image.account, &code.sha256);
    }
    let digest = BASE64.decode(&code.sha256).unwrap_or_default();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Among the blobs, what has the key of a layer of an image is called so, and all else is a zip.
fn blob_of(key: &str) -> String {
    if images::is_layer(key) { key.to_owned() } else { format!("code-{key}.zip") }
}

impl Packages {
    /// Opens a folder below `parent`, clearing what an earlier run left half-made. Folders are not synced one
    /// by one: after the machine itself went down they are not trusted, but made again from their zips.
    pub(crate) fn open(parent: &Path, store: Store, image_limits: updraft_image::unpack::Limits) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let folder = parent.join(boot.trim());
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(parent)?.chain(fs::read_dir(&folder)?) {
            let path = entry?.path();
            let is_stale = path != folder && path.parent() == Some(parent);
            if is_stale || path.to_str().is_some_and(|path| path.ends_with(PARTIAL)) {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(Self { folder, store, image_limits, unpacking: Arc::default(), held: Mutex::default() })
    }

    /// Unpacks a new zip and keeps its bytes durably. Adding the same content twice is harmless.
    pub(crate) async fn add(&self, zip: Bytes, code: &Code) -> Result<Arc<Package>, Error> {
        let package = self.lay_out(zip.clone(), code).await?;
        self.store.blobs().put(&blob_of(&key_of(code)), zip).await.map_err(|error| match error {
            updraft_store::blobs::Error::Full => Error::StorageFull,
            error => Error::Internal(error.to_string()),
        })?;
        Ok(package)
    }

    /// The package of a function, made again from its zip if the folder is gone.
    pub(crate) async fn get(&self, code: &Code) -> Result<Arc<Package>, Error> {
        if let Some(package) = self.find(&key_of(code)) {
            return Ok(package);
        }
        if let Some(image) = &code.image {
            let contents = self.store.images().get(image.account.clone(), code.sha256.clone()).await;
            let contents = contents.map_err(|error| Error::Internal(error.to_string()))?;
            let contents =
                contents.ok_or_else(|| Error::Internal(format!("the image {} is missing", image.resolved)))?;
            return self.unpack_image(&image.account, &contents).await;
        }
        let zip = self.read_zip(code).await?;
        self.lay_out(zip, code).await
    }

    /// The zip of a function.
    pub(crate) async fn read_zip(&self, code: &Code) -> Result<Bytes, Error> {
        let blob = blob_of(&key_of(code));
        match self.store.blobs().get(&blob).await {
            Ok(Some(zip)) => Ok(zip),
            Ok(None) => Err(Error::Internal(format!("the blob {blob} is missing"))),
            Err(error) => Err(Error::Internal(error.to_string())),
        }
    }

    /// Removes every package that `is_used` does not claim and nobody holds. The caller sees to it that no
    /// package is being added meanwhile.
    pub(crate) async fn sweep(&self, is_used: impl Fn(&str) -> bool) -> Result<(), Error> {
        let internal = |error: String| Error::Internal(error);
        self.held.lock().retain(|_, package| package.strong_count() > 0);
        let mut keys: Vec<String> = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| internal(error.to_string()))? {
            let entry = entry.map_err(|error| internal(error.to_string()))?;
            keys.extend(entry.file_name().into_string().ok().filter(|name| !name.ends_with(PARTIAL)));
        }
        for blob in self.store.blobs().list().await.map_err(|error| internal(error.to_string()))? {
            let zip = blob.strip_prefix("code-").and_then(|rest| rest.strip_suffix(".zip"));
            keys.extend(zip.or_else(|| images::is_layer(&blob).then_some(&*blob)).map(str::to_owned));
        }
        let held = self.store.images().all().await.map_err(|error| internal(error.to_string()))?;
        keys.extend(held.iter().map(|held| images::image_key(&held.account, &held.contents.digest)));
        keys.sort_unstable();
        keys.dedup();
        for key in keys.iter().filter(|key| !is_used(key)) {
            self.remove_unheld(key).await?;
        }
        Ok(())
    }

    /// Whether somebody has it mounted.
    pub(crate) fn is_held(&self, key: &str) -> bool {
        self.held.lock().get(key).is_some_and(|package| package.strong_count() > 0)
    }

    /// Removes one package unless somebody holds it. The caller sees to it that none is being added meanwhile, and tries
    /// again after an error.
    pub(crate) async fn remove_unheld(&self, key: &str) -> Result<Removal, Error> {
        let doomed = self.folder.join(format!("{key}.removed{PARTIAL}"));
        // What an earlier try has left of it.
        remove_folder(doomed.clone()).await?;
        if self.unname(key, &doomed)? == Removal::StillHeld {
            return Ok(Removal::StillHeld);
        }
        remove_folder(doomed).await?;
        if let Some((account, digest)) = images::image_of(key) {
            let deleted = self.store.images().delete(account, digest).await;
            deleted.map_err(|error| Error::Internal(error.to_string()))?;
        } else {
            let deleted = self.store.blobs().delete(&blob_of(key)).await;
            deleted.map_err(|error| Error::Internal(error.to_string()))?;
        }
        Ok(Removal::Done)
    }

    /// Renames a package's folder, if it is there and nobody holds it; from then on nobody finds it, and who still writes
    /// there by its name does not.
    fn unname(&self, key: &str, doomed: &Path) -> Result<Removal, Error> {
        let mut held = self.held.lock();
        if held.get(key).is_some_and(|package| package.strong_count() > 0) {
            return Ok(Removal::StillHeld);
        }
        held.remove(key);
        match fs::rename(self.folder.join(key), doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Internal(error.to_string())),
            _ => Ok(Removal::Done),
        }
    }

    /// Whether `key` is the name of `code`, as handed to the predicate of [`Packages::sweep`].
    pub(crate) fn key(code: &Code) -> String {
        key_of(code)
    }

    pub(crate) fn find(&self, key: &str) -> Option<Arc<Package>> {
        let mut held = self.held.lock();
        if let Some(package) = held.get(key).and_then(Weak::upgrade) {
            return Some(package);
        }
        let folder = self.folder.join(key);
        if !folder.is_dir() {
            return None;
        }
        let package = Arc::new(Package { folder: folder.into() });
        held.insert(key.to_owned(), Arc::downgrade(&package));
        Some(package)
    }

    async fn lay_out(&self, zip: Bytes, code: &Code) -> Result<Arc<Package>, Error> {
        self.make(&key_of(code), move |folder| package::unpack(&zip, folder)).await
    }

    /// A folder as `fill` makes it of an empty one, unless it is there.
    pub(crate) async fn make(
        &self,
        key: &str,
        fill: impl FnOnce(&Path) -> Result<(), package::Error> + Send + 'static,
    ) -> Result<Arc<Package>, Error> {
        if let Some(package) = self.find(key) {
            return Ok(package);
        }
        let partial = self.folder.join(format!("{key}.{}{PARTIAL}", uuid::Uuid::new_v4().simple()));
        let whole = self.folder.join(key);
        run_blocking(move || {
            let result =
                fs::create_dir(&partial).map_err(package::Error::from).and_then(|()| fill(&partial)).and_then(|()| {
                    match fs::rename(&partial, &whole) {
                        Err(error) if !whole.is_dir() => Err(error.into()),
                        _ => Ok(()),
                    }
                });
            if partial.exists() {
                fs::remove_dir_all(&partial).map_err(package::Error::from)?;
            }
            Ok(result?)
        })
        .await?;
        self.find(key).ok_or_else(|| Error::Internal("an unpacked package vanished".into()))
    }
}

pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => Err(Error::Internal(panic.to_string())),
    }
}

async fn remove_folder(folder: PathBuf) -> Result<(), Error> {
    run_blocking(move || match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Internal(error.to_string())),
        _ => Ok(()),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Cursor, Write},
        os::fd::AsRawFd,
    };

    use super::*;

    const LIMITS: updraft_image::unpack::Limits = updraft_image::unpack::Limits { bytes_max: 0, entries_max: 0 };

    async fn packages(directory: &Path) -> Packages {
        let store = Store::open(updraft_store::Config { directory: directory.to_owned() }).await.unwrap();
        Packages::open(&directory.join("packages"), store, LIMITS).unwrap()
    }

    fn zip() -> Bytes {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("app.py", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(b"x").unwrap();
        writer.finish().unwrap().into_inner().into()
    }

    #[tokio::test]
    async fn what_is_being_removed_has_lost_its_name_before() {
        let directory = tempfile::tempdir().unwrap();
        let packages = packages(directory.path()).await;
        let (code, key) = (code_of(&zip()), key_of(&code_of(&zip())));
        let package = packages.add(zip(), &code).await.unwrap();
        assert_eq!(packages.remove_unheld(&key).await.unwrap(), Removal::StillHeld);
        let open = File::open(&package.folder).unwrap();
        drop(package);
        // What an earlier try, or whoever was killed while trying, has left is no obstacle.
        fs::create_dir_all(packages.folder.join(format!("{key}.removed.partial/lib"))).unwrap();
        assert_eq!(packages.remove_unheld(&key).await.unwrap(), Removal::Done);
        assert!(packages.find(&key).is_none() && packages.read_zip(&code).await.is_err());
        assert_eq!(fs::read_dir(&packages.folder).unwrap().count(), 0);
        let last = fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).unwrap();
        assert!(last.to_str().unwrap().contains(".removed.partial"), "{last:?}");
    }

    #[tokio::test]
    async fn what_could_not_be_removed_to_its_end_is_cleared_and_never_found() {
        let directory = tempfile::tempdir().unwrap();
        let packages = packages(directory.path()).await;
        let (code, key) = (code_of(&zip()), key_of(&code_of(&zip())));
        drop(packages.add(zip(), &code).await.unwrap());
        let remains = packages.folder.join(format!("{key}.removed.partial"));
        fs::create_dir(&remains).unwrap();
        packages.sweep(|used| used == key).await.unwrap();
        assert!(remains.is_dir() && packages.find(&key).is_some(), "what is no package was taken for one");
        let Packages { store, .. } = packages;
        let packages = Packages::open(&directory.path().join("packages"), store, LIMITS).unwrap();
        assert!(!remains.exists() && packages.find(&key).is_some());
    }
}
