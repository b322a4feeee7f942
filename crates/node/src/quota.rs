//! Counts invocations in the platform against the limits of their account and function.
//!
//! Performs what `engine::admission` decides. A [`Function`] lives as long as its function, over changes of code, so
//! that calls on old and new instances count alike. Admission takes no lock.
//! Invariant: what was counted is given back exactly once, by dropping [`Admitted`].

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use updraft_engine::admission::{self, Verdict, View};

/// No reservation: no function can have this many.
const NONE: u32 = u32::MAX;

/// One account's share of the platform.
#[derive(Debug)]
pub(crate) struct Account {
    /// Invocations of functions that have no reservation.
    in_flight: AtomicU32,
    /// What the reservations leave.
    unreserved: AtomicU32,
}

impl Account {
    pub(crate) fn new(unreserved: u32) -> Self {
        Self { in_flight: AtomicU32::new(0), unreserved: AtomicU32::new(unreserved) }
    }

    /// Sets what the account's reservations leave; it counts for invocations that arrive from now on.
    pub(crate) fn set_unreserved(&self, unreserved: u32) {
        self.unreserved.store(unreserved, Relaxed);
    }
}

/// One function's share of the platform.
#[derive(Debug)]
pub(crate) struct Function {
    account: Arc<Account>,
    in_flight: AtomicU32,
    reserved: AtomicU32,
}

impl Function {
    pub(crate) fn new(account: Arc<Account>, reserved: Option<u32>) -> Self {
        let quota = Self { account, in_flight: AtomicU32::new(0), reserved: AtomicU32::new(NONE) };
        quota.set_reserved(reserved);
        quota
    }

    /// Sets the reservation; it counts for invocations that arrive from now on.
    pub(crate) fn set_reserved(&self, reserved: Option<u32>) {
        self.reserved.store(reserved.map_or(NONE, |reserved| reserved.min(NONE - 1)), Relaxed);
    }

    /// Invocations in the platform.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// How many more invocations would be admitted now.
    pub(crate) fn room(&self) -> u32 {
        match self.reserved.load(Relaxed) {
            NONE => self.account.unreserved.load(Relaxed).saturating_sub(self.account.in_flight.load(Relaxed)),
            reserved => reserved.saturating_sub(self.in_flight()),
        }
    }

    /// Counts one more invocation, or says which limit is reached.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admitted, Verdict> {
        let in_flight = self.in_flight.fetch_add(1, Relaxed);
        let reserved = self.reserved.load(Relaxed);
        // From here on dropping it gives back what was counted, also where it is refused.
        let admitted = Admitted { function: self.clone(), is_reserved: reserved != NONE };
        let view = if admitted.is_reserved {
            View::Reserved { in_flight, reserved }
        } else {
            let in_flight = self.account.in_flight.fetch_add(1, Relaxed);
            View::Unreserved { in_flight, unreserved: self.account.unreserved.load(Relaxed) }
        };
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
    is_reserved: bool,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.function.in_flight.fetch_sub(1, Relaxed);
        if !self.is_reserved {
            self.function.account.in_flight.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_invocations_are_not_counted() {
        let account = Arc::new(Account::new(1));
        let function = Arc::new(Function::new(account.clone(), None));
        let other = Arc::new(Function::new(account.clone(), None));
        let first = function.admit().unwrap();
        assert_eq!(other.admit().unwrap_err(), Verdict::ThrottleAccount);
        assert_eq!((other.in_flight(), account.in_flight.load(Relaxed)), (0, 1));
        drop(first);
        assert_eq!((function.in_flight(), account.in_flight.load(Relaxed)), (0, 0));
    }

    #[test]
    fn a_reservation_that_changes_meanwhile_leaves_no_wrong_count() {
        let account = Arc::new(Account::new(10));
        let function = Arc::new(Function::new(account.clone(), None));
        let shared = function.admit().unwrap();
        function.set_reserved(Some(2));
        let reserved = function.admit().unwrap();
        assert_eq!(function.admit().unwrap_err(), Verdict::ThrottleFunction, "the one from before counts");
        function.set_reserved(None);
        drop(shared);
        drop(reserved);
        assert_eq!((function.in_flight(), account.in_flight.load(Relaxed)), (0, 0));
    }
}
