//! Why a data directory cannot be opened, and making one ready.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::failure::{self, Failure};

/// Why a data directory cannot be opened. Nothing in it was changed, save that what was missing may have been made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process (or another [`crate::Store`] of this one) has it open.
    #[error("the data directory {} is in use{}: stop that process or choose another directory",
        directory.display(), by(*process))]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The holder's process id, if it could be read.
        process: Option<u32>,
    },
    /// A newer version of the platform wrote it. It is left as it is.
    #[error("{} has version {found}, and this platform knows versions up to {known}: run the newer platform or \
        choose another directory", path.display())]
    NewerVersion {
        /// The database file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A database file is not a sound database.
    #[error("{} is damaged ({reason}): restore it from a backup or choose another directory", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no room on the disk.
    #[error("the disk is full: there is no room to open {}", path.display())]
    Full {
        /// The file or directory that had no room.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory's secrets were sealed with a master key that is not there.
    #[error("{} is not there, and the secrets in this data directory were sealed with it: put it back from a backup, \
        give the key in UPDRAFT_MASTER_KEY, or choose another directory", path.display())]
    MasterKeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// The directory's secrets were sealed with another master key.
    #[error("the secrets in the data directory {} were sealed with another master key than the one given: put the \
        right one back, or choose another directory", directory.display())]
    MasterKeyWrong {
        /// The data directory.
        directory: PathBuf,
    },
    /// The file holds no master key.
    #[error("{} is not a master key, which is 64 hexadecimal digits: put it back from a backup", path.display())]
    MasterKeyInvalid {
        /// The file.
        path: PathBuf,
    },
    /// SQLite refused, for a reason other than those above.
    #[error("cannot open {}: {reason}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

fn by(process: Option<u32>) -> String {
    process.map(|id| format!(" by process {id}")).unwrap_or_default()
}

impl Error {
    /// What an I/O error at `path` means.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if failure::is_full(&source) { Error::Full { path } } else { Error::Io { path, source } }
    }

    /// What a failure of the database at `path` means.
    pub(crate) fn database(path: &Path, failure: Failure) -> Self {
        let path = path.to_owned();
        match failure {
            Failure::Full => Error::Full { path },
            Failure::Damaged(reason) => Error::Damaged { path, reason },
            Failure::Closed | Failure::Internal(_) => Error::Database { path, reason: failure.to_string() },
        }
    }
}

/// Makes a data directory if it is not there, and answers its absolute path.
pub(crate) fn directory(path: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(path).map_err(|error| Error::io(path, error))?;
    let absolute = fs::canonicalize(path).map_err(|error| Error::io(path, error))?;
    if let Some(parent) = absolute.parent() {
        sync_directory(parent)?;
    }
    Ok(absolute)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| Error::io(path, error))
}
