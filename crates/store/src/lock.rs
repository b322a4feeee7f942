//! Keeps a second process out of a data directory.
//!
//! An advisory lock (flock) on a file that stays: the kernel releases it when the process ends, however it ends, so
//! there is no stale lock to clean up. The file's text, the holder's process id, is only for people.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
};

use crate::open::Error;

/// A held lock; dropping it frees the directory.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `directory`, which must exist, or says who has it.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("lock");
        let failed = |error| Error::io(&path, error);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse { directory: directory.to_owned(), process: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        // Only people read it, and a full disk must not keep the platform from starting to delete things.
        if let Err(error) = write!(file, "{}", std::process::id()) {
            tracing::warn!(path = %path.display(), %error, "could not note the process id in the lock file");
        }
        Ok(Self { _file: file })
    }
}

/// The process id in a lock file, if it can be read.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
