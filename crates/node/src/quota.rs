//! Counts invocations in the platform against the limits of their account and function.
//!
//! Performs what `engine::admission` decides. A [`Function`] lives as long as its function, over changes of code, so
//! that calls on old and new instances count alike. A [`Version`] is what is set aside for one of its versions.
//! Admission takes no lock. Whoever found no room is woken once something is given back: see [`Watch`].
//! Invariant: what was counted is given back exactly once, by dropping [`Admitted`].

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};

use tokio::sync::Notify;
use updraft_engine::admission::{self, Verdict, View};

/// No reservation: no function can have this many.
const NONE: u32 = u32::MAX;

/// Wakes whoever wants to know that there may be room again, once. While nobody does, it costs a look.
///
/// The one sets it and then looks at the counts, the other changes a count and then looks whether it is set. All four are
/// in one order (`SeqCst`), so that one of them sees what the other did.
#[derive(Debug)]
struct Watch {
    is_set: AtomicBool,
    wakes: Arc<Notify>,
}

impl Watch {
    fn new(wakes: Arc<Notify>) -> Self {
        Self { is_set: AtomicBool::new(false), wakes }
    }

    fn set(&self) {
        self.is_set.store(true, SeqCst);
    }

    fn freed(&self) {
        if self.is_set.load(SeqCst) && self.is_set.swap(false, SeqCst) {
            self.wakes.notify_one();
        }
    }
}

/// One account's share of the platform.
#[derive(Debug)]
pub(crate) struct Account {
    /// Invocations that nothing was set aside for.
    in_flight: AtomicU32,
    /// What reservations and provisioned concurrency leave.
    unreserved: AtomicU32,
    watch: Watch,
}

impl Account {
    /// `wakes` is told of room in the account and in its functions.
    pub(crate) fn new(unreserved: u32, wakes: Arc<Notify>) -> Self {
        Self { in_flight: AtomicU32::new(0), unreserved: AtomicU32::new(unreserved), watch: Watch::new(wakes) }
    }

    /// Sets what the account's promises leave; it counts for invocations that arrive from now on.
    pub(crate) fn set_unreserved(&self, unreserved: u32) {
        self.unreserved.store(unreserved, SeqCst);
        self.watch.freed();
    }

    /// How many more invocations that nothing was set aside for would be admitted now.
    pub(crate) fn room(&self) -> u32 {
        let (in_flight, unreserved) = (self.in_flight.load(SeqCst), self.unreserved.load(SeqCst));
        admission::room(View::Unreserved { in_flight, unreserved })
    }

    /// Wakes whoever hands out work once there may be more room than there is from now on.
    pub(crate) fn watch(&self) {
        self.watch.set();
    }
}

/// What is provisioned of one version.
#[derive(Debug, Default)]
pub(crate) struct Version {
    /// Its invocations that this was used for.
    in_flight: AtomicU32,
    provisioned: AtomicU32,
}

impl Version {
    /// Sets what is provisioned; it counts for invocations that arrive from now on.
    pub(crate) fn set_provisioned(&self, provisioned: u32) {
        self.provisioned.store(provisioned, SeqCst);
    }

    /// How many more of its invocations what is provisioned would do for now.
    pub(crate) fn room(&self) -> u32 {
        let (in_flight, provisioned) = (self.in_flight.load(SeqCst), self.provisioned.load(SeqCst));
        admission::room(View::Provisioned { in_flight, provisioned })
    }

    /// Uses some of what is provisioned; false, and nothing counted, if there is no more.
    fn take(&self) -> bool {
        let provisioned = self.provisioned.load(Relaxed);
        // Most versions have none, and are spared the counting.
        if provisioned == 0 {
            return false;
        }
        let in_flight = self.in_flight.fetch_add(1, Relaxed);
        let is_taken = admission::decide(View::Provisioned { in_flight, provisioned }) == Verdict::Admit;
        if !is_taken {
            self.in_flight.fetch_sub(1, Relaxed);
        }
        is_taken
    }
}

/// One function's share of the platform.
#[derive(Debug)]
pub(crate) struct Function {
    account: Arc<Account>,
    in_flight: AtomicU32,
    reserved: AtomicU32,
    watch: Watch,
}

impl Function {
    pub(crate) fn new(account: Arc<Account>, reserved: Option<u32>) -> Self {
        let watch = Watch::new(account.watch.wakes.clone());
        let quota = Self { account, in_flight: AtomicU32::new(0), reserved: AtomicU32::new(NONE), watch };
        quota.set_reserved(reserved);
        quota
    }

    /// Sets the reservation; it counts for invocations that arrive from now on.
    pub(crate) fn set_reserved(&self, reserved: Option<u32>) {
        self.reserved.store(reserved.map_or(NONE, |reserved| reserved.min(NONE - 1)), SeqCst);
        self.watch.freed();
    }

    /// Invocations in the platform.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(SeqCst)
    }

    /// Whether nothing is let in at all.
    pub(crate) fn is_stopped(&self) -> bool {
        self.reserved.load(Relaxed) == 0
    }

    /// How many more invocations would be admitted now, with the places that are `set_aside` for its versions and free. Not
    /// all of them need be for the version that is asked for.
    pub(crate) fn room(&self, set_aside: u32) -> u32 {
        match self.reserved.load(SeqCst) {
            NONE => self.account.room().saturating_add(set_aside),
            reserved => admission::room(View::Reserved { in_flight: self.in_flight(), reserved }),
        }
    }

    /// The same, be it the function's or the account's.
    pub(crate) fn watch(&self) {
        self.watch.set();
        self.account.watch();
    }

    /// Something else than a count here has changed, so that there may be more room.
    pub(crate) fn freed(&self) {
        self.watch.freed();
    }

    /// Counts one more invocation of a version, or says which limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, version: &Arc<Version>) -> Result<Admitted, Verdict> {
        let in_flight = self.in_flight.fetch_add(1, Relaxed);
        let reserved = self.reserved.load(Relaxed);
        let (against, view) = if reserved != NONE {
            (Against::Function, View::Reserved { in_flight, reserved })
        } else if version.take() {
            return Ok(Admitted { function: self.clone(), against: Against::Version(version.clone()) });
        } else {
            let in_flight = self.account.in_flight.fetch_add(1, Relaxed);
            (Against::Account, View::Unreserved { in_flight, unreserved: self.account.unreserved.load(Relaxed) })
        };
        // Dropping it gives back what was counted, also where it is refused.
        let admitted = Admitted { function: self.clone(), against };
        match admission::decide(view) {
            Verdict::Admit => Ok(admitted),
            refused => Err(refused),
        }
    }
}

/// One invocation counted for as long as it is in the platform.
#[derive(Debug)]
pub(crate) struct Admitted {
    function: Arc<Function>,
    against: Against,
}

/// What an invocation was counted against, beside its function.
#[derive(Debug)]
enum Against {
    /// Nothing: the reservation is the function's.
    Function,
    /// What is provisioned of its version.
    Version(Arc<Version>),
    /// What the account shares.
    Account,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let account = &self.function.account;
        match &self.against {
            Against::Function => {}
            Against::Version(version) => drop(version.in_flight.fetch_sub(1, SeqCst)),
            Against::Account => {
                account.in_flight.fetch_sub(1, SeqCst);
                account.watch.freed();
            }
        }
        self.function.in_flight.fetch_sub(1, SeqCst);
        self.function.watch.freed();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn account(unreserved: u32) -> Arc<Account> {
        Arc::new(Account::new(unreserved, Arc::default()))
    }

    #[test]
    fn whoever_found_no_room_is_woken_when_there_is_some_and_only_then() {
        let wakes = Arc::<Notify>::default();
        let is_woken = || wakes.notified().now_or_never().is_some();
        let (account, none) = (Arc::new(Account::new(1, wakes.clone())), Arc::default());
        let (function, other) = (Function::new(account.clone(), None), Function::new(account, Some(1)));
        let (function, other) = (Arc::new(function), Arc::new(other));
        let (first, reserved) = (function.admit(&none).unwrap(), other.admit(&none).unwrap());
        assert_eq!((function.room(0), other.room(0)), (0, 0));
        drop(reserved);
        assert!(!is_woken(), "nobody watches");
        function.watch();
        drop(other.admit(&none).unwrap());
        assert!(!is_woken(), "it is not the one that is watched");
        drop(first);
        assert!(is_woken());
        assert_eq!(function.room(0), 1);
        drop(function.admit(&none).unwrap());
        assert!(!is_woken(), "once");
        other.watch();
        other.set_reserved(Some(2));
        assert!(is_woken(), "a limit was raised");
        other.watch();
        drop(function.admit(&none).unwrap());
        assert!(is_woken(), "another of the account's has ended");
    }

    #[test]
    fn what_is_set_aside_and_free_is_room() {
        let (account, none) = (account(1), Arc::default());
        let function = Arc::new(Function::new(account, None));
        let version = Arc::new(Version::default());
        version.set_provisioned(2);
        let room = |function: &Function| function.room(version.room());
        assert_eq!(room(&function), 3);
        let shared = function.admit(&none).unwrap();
        let first = function.admit(&version).unwrap();
        assert_eq!(room(&function), 1);
        let second = function.admit(&version).unwrap();
        assert_eq!(room(&function), 0);
        function.admit(&version).unwrap_err();
        drop((shared, first, second));
        function.set_reserved(Some(2));
        assert_eq!(room(&function), 2, "it is part of the reservation");
    }

    #[test]
    fn refused_invocations_are_not_counted() {
        let (account, none) = (account(1), Arc::default());
        let function = Arc::new(Function::new(account.clone(), None));
        let other = Arc::new(Function::new(account.clone(), None));
        let first = function.admit(&none).unwrap();
        assert_eq!(other.admit(&none).unwrap_err(), Verdict::ThrottleAccount);
        assert_eq!((other.in_flight(), account.in_flight.load(Relaxed)), (0, 1));
        drop(first);
        assert_eq!((function.in_flight(), account.in_flight.load(Relaxed)), (0, 0));
    }

    #[test]
    fn a_reservation_that_changes_meanwhile_leaves_no_wrong_count() {
        let (account, none) = (account(10), Arc::default());
        let function = Arc::new(Function::new(account.clone(), None));
        let shared = function.admit(&none).unwrap();
        function.set_reserved(Some(2));
        let reserved = function.admit(&none).unwrap();
        assert_eq!(function.admit(&none).unwrap_err(), Verdict::ThrottleFunction, "the one from before counts");
        function.set_reserved(None);
        drop(shared);
        drop(reserved);
        assert_eq!((function.in_flight(), account.in_flight.load(Relaxed)), (0, 0));
    }

    #[test]
    fn what_is_provisioned_is_a_versions_own_and_used_first() {
        let (account, none) = (account(1), Arc::default());
        let function = Arc::new(Function::new(account.clone(), None));
        let version = Arc::new(Version::default());
        version.set_provisioned(2);
        let first = function.admit(&version).unwrap();
        let others = function.admit(&none).unwrap();
        assert_eq!(function.admit(&none).unwrap_err(), Verdict::ThrottleAccount);
        let second = function.admit(&version).unwrap();
        assert_eq!(function.admit(&version).unwrap_err(), Verdict::ThrottleAccount, "the rest is shared");
        drop(others);
        let above = function.admit(&version).unwrap();
        version.set_provisioned(0);
        drop((first, second, above));
        let left = (function.in_flight(), account.in_flight.load(Relaxed), version.in_flight.load(Relaxed));
        assert_eq!(left, (0, 0, 0));
        function.set_reserved(Some(1));
        version.set_provisioned(1);
        let _reserved = function.admit(&version).unwrap();
        assert_eq!(function.admit(&version).unwrap_err(), Verdict::ThrottleFunction, "it is part of the reservation");
    }
}
