//! What can go wrong below a verb, sorted by what a caller can do about it.
//!
//! Internal to the crate: each verb's public error takes from it what its callers act on, and the rest becomes
//! text for the operator. A full disk is recognised here and nowhere else.

use std::{error::Error, io};

use rusqlite::{ErrorCode, ffi};

/// A storage failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// No room, or no quota, on the disk.
    #[error("the disk is full")]
    Full,
    /// The file's contents are not a sound database.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// [`crate::Store::close`] was called.
    #[error("the store is closed")]
    Closed,
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error() else { return Failure::Internal(error.to_string()) };
        match code.code {
            ErrorCode::DiskFull => Failure::Full,
            // The shared-memory file of the write-ahead log could not grow: SQLite writes to it in advance to meet
            // a full disk here rather than as a bus error, and reports that as an I/O error of its own.
            ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Failure::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Failure::Damaged(error.to_string()),
            _ => Failure::Internal(error.to_string()),
        }
    }
}

/// Whether an error, or any it was caused by, is the operating system saying that there is no room.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    })
}

/// Lets verbs whose error has `Full` and `Internal(String)` pass failures outward with `?`.
macro_rules! passes_outward {
    ($($error:ty),+) => {
        $(impl From<crate::failure::Failure> for $error {
            fn from(failure: crate::failure::Failure) -> Self {
                match failure {
                    crate::failure::Failure::Full => Self::Full,
                    other => Self::Internal(other.to_string()),
                }
            }
        })+
    };
}
pub(crate) use passes_outward;
