//! Making and deleting accounts, with all that belongs to one.
//!
//! Invariant: whatever had its number before, an account begins empty. So an account is deleted with everything but functions,
//! which have to go first; and none is made while calls of a deleted one's functions go on, for they would write their lines
//! into its log.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use updraft_types::{AccountId, iam::Account};

use crate::{Handle, identity::Error, packages::Packages};

/// How long a new account waits for instances that are just ending.
const ENDING_MAX: Duration = Duration::from_secs(5);
const ENDING_PAUSE: Duration = Duration::from_millis(5);

impl Handle {
    /// Makes an account, with the id given or a random one.
    pub async fn create_account(&self, name: String, wanted: Option<AccountId>) -> Result<Account, Error> {
        if let Some(id) = &wanted {
            let deadline = Instant::now() + ENDING_MAX;
            while self.inner.shared.capacity.is_held_by(id) {
                if Instant::now() >= deadline {
                    return Err(Error::HasFunctions);
                }
                sleep(ENDING_PAUSE).await;
            }
        }
        let account = self.inner.identity.create_account(name, wanted).await?;
        self.forget_files(&account.id).await?;
        Ok(account)
    }

    /// Removes an account that has no functions, with all else that it has.
    pub async fn delete_account(&self, id: AccountId) -> Result<(), Error> {
        if self.catalog().list(&id, None).next().is_some() {
            return Err(Error::HasFunctions);
        }
        let mut keys = self.image_keys(&id).await.map_err(internal)?;
        let packages = self.inner.store.layers().packages(Some(id.clone())).await.map_err(internal)?;
        keys.extend(packages.iter().map(Packages::key));
        self.inner.identity.delete_account(id.clone()).await?;
        self.discard_keys(keys);
        self.forget_files(&id).await
    }

    /// Removes what is not in the platform's database: log lines, and blobs that wait for their image.
    async fn forget_files(&self, id: &AccountId) -> Result<(), Error> {
        self.forget_uploads(id).await.map_err(internal)?;
        self.logs().groups().await.delete_all(id.clone()).await.map_err(internal)
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}
