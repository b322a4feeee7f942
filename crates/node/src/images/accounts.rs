//! What goes on with the images of each account at this moment: whose turn it is, and what is on its way from registries.
//!
//! Turns are an account's own, so that one that is slow keeps nobody else waiting. An account is known here while
//! something of it goes on, so there are at most as many as requests. Whoever takes several takes them in this order:
//! the place of a pull, the turn of a function, the turn to push, the gate of packages, the turn to write.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use updraft_types::AccountId;

use super::Error;

/// Images that the node has from registries at once.
const PULLS_MAX: usize = 8;
/// The same of one account.
const PULLS_OF_ACCOUNT_MAX: usize = 2;
/// How many more of one account may wait for that.
const WAITING_PULLS_MAX: usize = 32;

/// The accounts with which something goes on.
pub(crate) struct Accounts {
    going_on: Mutex<HashMap<AccountId, Weak<Account>>>,
    pulls: Arc<Semaphore>,
}

/// What goes on with one account.
pub(crate) struct Account {
    /// Held while its uploads are written or removed: what is there and what is added would else have to be settled
    /// for each blob.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Held from looking for an image's layers until a name has it. Whoever pushes the same layers meanwhile would find
    /// them neither uploaded nor an image's.
    pub(super) pushing: tokio::sync::Mutex<()>,
    pulls: Arc<Semaphore>,
    waiting_pulls: AtomicUsize,
    pulled_bytes: AtomicU64,
}

impl Accounts {
    pub(super) fn new() -> Self {
        Self { going_on: Mutex::default(), pulls: Arc::new(Semaphore::new(PULLS_MAX)) }
    }

    pub(super) fn of(&self, id: &AccountId) -> Arc<Account> {
        let mut going_on = self.going_on.lock();
        if let Some(account) = going_on.get(id).and_then(Weak::upgrade) {
            return account;
        }
        going_on.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Account {
            writing: Default::default(),
            pushing: Default::default(),
            pulls: Arc::new(Semaphore::new(PULLS_OF_ACCOUNT_MAX)),
            waiting_pulls: AtomicUsize::new(0),
            pulled_bytes: AtomicU64::new(0),
        });
        going_on.insert(id.clone(), Arc::downgrade(&account));
        account
    }

    /// A place among the pulls of the account, and then of the node; waits for both.
    pub(super) async fn begin_pull(&self, id: &AccountId) -> Result<Place, Error> {
        let account = self.of(id);
        let waiting = Waiting::begin(account.clone())?;
        let own = account.pulls.clone().acquire_owned().await.expect("the semaphore is never closed");
        let node = self.pulls.clone().acquire_owned().await.expect("the semaphore is never closed");
        drop(waiting);
        Ok(Place { account, bytes: 0, _permits: [own, node] })
    }
}

impl Account {
    /// Whether something of it is being had from a registry.
    pub(super) fn is_pulling(&self) -> bool {
        self.pulls.available_permits() < PULLS_OF_ACCOUNT_MAX
    }

    /// Bytes on their way from registries, and those that have come and are no blobs yet.
    pub(super) fn pulled_bytes(&self) -> u64 {
        self.pulled_bytes.load(Ordering::Relaxed)
    }
}

/// One pull that waits for its place.
struct Waiting(Arc<Account>);

impl Waiting {
    fn begin(account: Arc<Account>) -> Result<Self, Error> {
        let waiting = Self(account);
        // Those that have their place do not count.
        if waiting.0.waiting_pulls.fetch_add(1, Ordering::Relaxed)
            >= WAITING_PULLS_MAX + waiting.0.pulls.available_permits()
        {
            return Err(Error::Image(
                "The account has too many images on their way from registries; try again later".into(),
            ));
        }
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting_pulls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the pulls, and the room that what comes has in its account.
pub(super) struct Place {
    account: Arc<Account>,
    bytes: u64,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Place {
    pub(super) fn account(&self) -> Arc<Account> {
        self.account.clone()
    }

    /// Notes so many bytes as on their way, until this is dropped. The caller has found room for them, and holds the
    /// account's turn to write.
    pub(super) fn occupy(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.account.pulled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.account.pulled_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn account(number: u64) -> AccountId {
        format!("{number:012}").parse().unwrap()
    }

    #[tokio::test]
    async fn an_account_has_few_places_and_keeps_nobody_else_from_theirs() {
        let accounts = Accounts::new();
        let begin = |number| accounts.begin_pull(&account(number)).now_or_never();
        let mut held: Vec<Place> = Vec::new();
        for _ in 0..PULLS_OF_ACCOUNT_MAX {
            held.push(begin(1).unwrap().unwrap());
        }
        let (first, mut waiting) = (account(1), Vec::new());
        for _ in 0..WAITING_PULLS_MAX {
            let mut begun = Box::pin(accounts.begin_pull(&first));
            assert!(begun.as_mut().now_or_never().is_none(), "it has to wait");
            waiting.push(begun);
        }
        assert!(matches!(begin(1), Some(Err(Error::Image(_)))), "no more may wait");
        for number in 2..=(PULLS_MAX / PULLS_OF_ACCOUNT_MAX) as u64 {
            for _ in 0..PULLS_OF_ACCOUNT_MAX {
                held.push(begin(number).unwrap().unwrap());
            }
        }
        assert!(begin(100).is_none(), "the node has as many as it may");
        held.remove(0);
        let next = waiting.remove(0).now_or_never();
        held.push(next.expect("a place is free").unwrap());
        drop((held, waiting));
        assert!(begin(100).unwrap().is_ok());
        assert!(accounts.going_on.lock().len() <= PULLS_MAX + 1);
        drop(accounts.of(&account(7)));
        assert_eq!(accounts.going_on.lock().len(), 1, "those with which nothing goes on are forgotten");
    }

    #[tokio::test]
    async fn what_is_on_its_way_counts_until_it_is_there() {
        let accounts = Accounts::new();
        let mut place = accounts.begin_pull(&account(1)).await.unwrap();
        place.occupy(7);
        place.occupy(3);
        assert_eq!(accounts.of(&account(1)).pulled_bytes(), 10);
        assert_eq!(accounts.of(&account(2)).pulled_bytes(), 0);
        let kept = accounts.of(&account(1));
        drop(place);
        assert_eq!(kept.pulled_bytes(), 0);
    }
}
