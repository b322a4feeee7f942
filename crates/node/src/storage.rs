//! How much code an account keeps: the packages of its functions and of their versions, and its layers.
//!
//! Each is counted by itself, as Lambda does, also where several share a package on disk. A change is refused that would
//! take an account over its limit; changes that are made at the same moment may go over it together, by no more than they
//! bring.

use updraft_types::AccountId;

use crate::{Handle, control::Error};

/// What an account keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeUsage {
    /// How many functions.
    pub functions: u64,
    /// Zips of functions, versions and layers, bytes.
    pub bytes: u64,
}

impl Handle {
    /// What an account keeps now.
    pub async fn code_usage(&self, account: &AccountId) -> Result<CodeUsage, Error> {
        let layers = self.inner.store.layers().bytes(account.clone()).await?;
        let CodeUsage { functions, bytes } = self.catalog().code_usage(account);
        Ok(CodeUsage { functions, bytes: bytes.saturating_add(layers) })
    }

    /// Refuses what would add so many bytes to what an account keeps, if that would be too much.
    pub(crate) async fn check_code_room(&self, account: &AccountId, bytes: u64) -> Result<(), Error> {
        let used = self.code_usage(account).await?.bytes;
        let is_enough = used.saturating_add(bytes) <= self.inner.config.admission.code_bytes_max;
        if is_enough { Ok(()) } else { Err(Error::CodeStorage) }
    }
}
