//! Remembers large bytes by key: code packages, and layers of container images.
//!
//! Keys are named by content: two puts of one key carry the same bytes, so doing it twice is harmless and there is
//! nothing to compare. Works on any `object_store`; locally a folder of files, each written aside, synced and renamed
//! into place, so a reader sees a blob whole or not at all.
//!
//! Refuses keys that are not plain file names: there are no folders, and so nothing to climb out of.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem};
use tokio::io::AsyncReadExt;

use crate::{failure, open};

/// Longest key, bytes. File systems take 255, and a name being written has a few more at its end.
pub const KEY_BYTES_MAX: usize = 200;

/// What of a file is held at once on its way in, bytes. S3 takes no smaller parts but the last.
const PART_BYTES: usize = 8 << 20;

/// The blobs.
#[derive(Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
}

/// Why a blob could not be stored, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is not 1 to [`KEY_BYTES_MAX`] of `[a-zA-Z0-9._-]`, the first of them not a dot.
    #[error("{0:?} is not a blob key: expected 1 to 200 letters, digits, dots, hyphens and underscores")]
    InvalidKey(String),
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("blob storage failed: {0}")]
    Internal(String),
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        if failure::is_full(&error) { Error::Full } else { Error::Internal(error.to_string()) }
    }
}

impl Blobs {
    /// Blobs in any object store that is durable when a put returns.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// Blobs as files in `directory`'s folder `blobs`. The caller holds the directory's lock.
    pub(crate) fn open_local(directory: &Path) -> Result<Self, open::Error> {
        let path = directory.join("blobs");
        let failed = |error| open::Error::io(&path, error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        open::sync_directory(directory)?;
        remove_unfinished(&path).map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&path).map_err(|error| failed(std::io::Error::other(error)))?;
        // Off by default: with it, a put syncs the file, renames it and syncs the folder before it returns. All
        // blobs lie in the one folder, which is synced above, so no folder in between can be missing after a crash.
        Ok(Self::new(Arc::new(objects.with_fsync(true))))
    }

    /// Stores a blob. It is on disk when this returns. A key that is there already is written again.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.objects.put(&parse(key)?, bytes.into()).await?;
        Ok(())
    }

    /// A blob, or `None` if there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        match self.objects.get(&parse(key)?).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many bytes a blob has, or `None` if there is none.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.objects.head(&parse(key)?).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a file's content as a blob, without holding it in memory. It is on disk when this returns.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<(), Error> {
        let internal = |error: std::io::Error| Error::Internal(error.to_string());
        let mut file = tokio::fs::File::open(file).await.map_err(internal)?;
        let mut upload = self.objects.put_multipart(&parse(key)?).await?;
        loop {
            let mut part = BytesMut::with_capacity(PART_BYTES);
            while part.len() < PART_BYTES {
                let left = PART_BYTES - part.len();
                if file.read_buf(&mut (&mut part).limit(left)).await.map_err(internal)? == 0 {
                    break;
                }
            }
            if part.is_empty() {
                break;
            }
            upload.put_part(part.freeze().into()).await?;
        }
        // Dropped before, it leaves nothing.
        upload.complete().await?;
        Ok(())
    }

    /// A blob piece by piece, or `None` if there is none.
    pub async fn stream(&self, key: &str) -> Result<Option<BoxStream<'static, Result<Bytes, Error>>>, Error> {
        match self.objects.get(&parse(key)?).await {
            Ok(found) => Ok(Some(found.into_stream().map_err(Error::from).boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a blob, if it is there. The machine stopping shortly after may bring it back.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.objects.delete(&parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The keys of all blobs, in order.
    pub async fn list(&self) -> Result<Vec<String>, Error> {
        let objects: Vec<_> = self.objects.list(None).try_collect().await?;
        let mut keys: Vec<_> = objects.into_iter().map(|object| object.location.to_string()).collect();
        keys.sort_unstable();
        Ok(keys)
    }
}

fn parse(key: &str) -> Result<object_store::path::Path, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.starts_with('.') && key.bytes().all(plain) {
        Ok(object_store::path::Path::from(key))
    } else {
        Err(Error::InvalidKey(key.chars().take(KEY_BYTES_MAX).collect()))
    }
}

/// Removes what puts cut short by a crash left. `object_store` writes to the name followed by `#` and a number, which
/// no key contains, and never looks at such a file again.
fn remove_unfinished(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains('#') {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
