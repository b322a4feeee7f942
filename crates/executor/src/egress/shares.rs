//! Places that all guests of a host share, of which no function has more than a part.
//!
//! Whoever waits does so for its own function's places first, and holds none of the host's meanwhile. Invariant: what one
//! function does with its places, others find places of their own. The map is bounded by how many functions have instances.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use updraft_types::FunctionId;

/// The part of all places that one function may have.
const PART: usize = 4;

/// All places.
pub struct Shares {
    host: Arc<Semaphore>,
    function_max: usize,
    functions: Mutex<HashMap<FunctionId, Weak<Semaphore>>>,
}

/// What an instance has of them. All instances of a function share that.
#[derive(Clone)]
pub struct Share {
    function: Arc<Semaphore>,
    host: Arc<Semaphore>,
}

/// A place, taken until this is dropped.
pub struct Place {
    _function: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Shares {
    /// So many places, of which a function may have a quarter.
    pub fn new(host_max: usize) -> Self {
        let function_max = (host_max / PART).max(1);
        Self { host: Arc::new(Semaphore::new(host_max)), function_max, functions: Mutex::default() }
    }

    /// The share of a function's instances.
    pub fn of(&self, function: &FunctionId) -> Share {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let own = functions.get(function).and_then(Weak::upgrade).unwrap_or_else(|| {
            functions.retain(|_, own| own.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.function_max));
            functions.insert(function.clone(), Arc::downgrade(&own));
            own
        });
        Share { function: own, host: self.host.clone() }
    }
}

impl Share {
    /// Waits for a place.
    pub async fn take(&self) -> Place {
        const OPEN: &str = "neither semaphore is ever closed";
        let function = self.function.clone().acquire_owned().await.expect(OPEN);
        Place { _function: function, _host: self.host.clone().acquire_owned().await.expect(OPEN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> FunctionId {
        FunctionId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[tokio::test]
    async fn a_function_has_a_part_whatever_the_number_of_its_instances() {
        let shares = Shares::new(8);
        let (one, another) = (shares.of(&id("a")), shares.of(&id("a")));
        let held = [one.take().await, another.take().await];
        assert_eq!((one.function.available_permits(), shares.host.available_permits()), (0, 6));
        let others = [shares.of(&id("b")).take().await, shares.of(&id("c")).take().await];
        assert_eq!(shares.host.available_permits(), 4);
        // Who still has a place is remembered, and nobody else.
        drop((one, another, others));
        shares.of(&id("d"));
        assert_eq!(shares.of(&id("a")).function.available_permits(), 0);
        drop(held);
        shares.of(&id("e"));
        assert_eq!(shares.functions.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_host_with_next_to_nothing_still_has_a_place_for_each() {
        let shares = Shares::new(1);
        let share = shares.of(&id("a"));
        drop(share.take().await);
        drop(share.take().await);
    }
}
