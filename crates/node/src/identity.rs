//! Accounts, users, groups, roles, policies and access keys, as requests and functions use them.
//!
//! [`Identity`] holds an immutable [`Snapshot`], swapped on every change after the store has it; looking a key or a role
//! up costs one `Arc` and a hash. Changes take turns, each on a task of its own, so that a caller that goes away leaves
//! no half of one. Session credentials ([`sessions`]) are sealed into their own token and kept nowhere.
//!
//! Invariant: a snapshot is what the store holds at some moment, documents compiled. Whether something is allowed,
//! `engine::policy` decides.

mod authorize;
mod bind;
mod changes;
pub mod credential;
pub mod document;
mod ids;
pub mod managed;
pub mod sessions;
mod snapshot;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex as TurnMutex;
pub use updraft_store::identity::{ChangeError, Noun, Quota, Refusal};
use updraft_store::{Store, identity as stored};
use updraft_types::{AccountId, iam::Account};

use self::sessions::Sessions;
pub use self::{
    authorize::{Ask, Denied, Explanation},
    changes::{Draft, RoleChange, Tagged, Tags},
    ids::account_of,
    snapshot::{GroupEntry, Members, Named, PolicyEntry, RoleEntry, Snapshot, UserEntry},
};

/// Why a change was not made. Everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is there does not allow it, or the store failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A policy document is none.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// The account has functions, or calls of such that were deleted go on.
    #[error("the account has functions")]
    HasFunctions,
    /// The task that made the change ended early; the text is for the operator.
    #[error("a change was broken off: {0}")]
    Internal(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::Change(ChangeError::Refused(refusal))
    }
}

/// The identities of every account. Clones share them.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    snapshot: ArcSwap<Snapshot>,
    /// Held from the check in the store until the snapshot has the change.
    turn: TurnMutex<()>,
    sessions: Sessions,
}

impl Identity {
    /// Reads everything there is. Documents that cannot be read any more deny everything, and the log names them.
    pub(crate) async fn open(store: Store) -> Result<Self, stored::Error> {
        let all = store.identity().all().await?;
        let unbound = all.roles.iter().filter(|role| role.trusted.is_none()).cloned().collect();
        let snapshot = ArcSwap::from_pointee(Snapshot::new(all));
        let sessions = Sessions::new(store.seal("sessions"));
        let identity = Self { inner: Arc::new(Inner { snapshot, turn: TurnMutex::default(), sessions, store }) };
        identity.bind_trust(unbound).await?;
        Ok(identity)
    }

    /// What there is now; it never changes.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Accounts that were made, in order of id; the platform's own is not among them.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.snapshot().accounts().cloned().collect()
    }

    /// Whether there is an account of that id.
    pub fn has_account(&self, id: &AccountId) -> bool {
        self.snapshot().account(id).is_some()
    }
}
