//! The node's room for instances: memory and number. What does not fit waits here for something to end.
//!
//! Invariant: reservations never exceed the limits; a pool that was told there is no room is woken by the next
//! reservation that ends.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::pool::Pool;

/// What one node may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sum of the memory sizes of all instances, MB.
    pub memory_mb_max: u64,
    /// Instances at once.
    pub instances_max: u32,
}

impl Default for Limits {
    /// The host's memory, and 1,000 instances.
    fn default() -> Self {
        let total_kb = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        Self { memory_mb_max: total_kb.map_or(4_096, |kb| kb / 1024), instances_max: 1_000 }
    }
}

/// The node's room.
pub(crate) struct Capacity {
    limits: Limits,
    state: Mutex<State>,
    blocked: AtomicUsize,
}

struct State {
    memory_mb_free: u64,
    instances_free: u32,
    blocked: VecDeque<Weak<Pool>>,
}

/// Room taken by one instance; dropping it gives the room back and wakes who waits for it.
pub(crate) struct Reservation {
    capacity: Arc<Capacity>,
    memory_mb: u64,
}

impl Capacity {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            memory_mb_free: limits.memory_mb_max,
            instances_free: limits.instances_max,
            blocked: VecDeque::new(),
        };
        Self { limits, state: Mutex::new(state), blocked: AtomicUsize::new(0) }
    }

    /// Whether nothing is reserved.
    pub(crate) fn is_unused(&self) -> bool {
        self.state.lock().instances_free == self.limits.instances_max
    }

    /// Whether one more instance of this size fits now.
    pub(crate) fn fits(&self, memory_mb: u32) -> bool {
        let state = self.state.lock();
        state.instances_free > 0 && state.memory_mb_free >= u64::from(memory_mb)
    }

    /// Takes room for one instance, if there is any.
    pub(crate) fn reserve(self: &Arc<Self>, memory_mb: u32) -> Option<Reservation> {
        let memory_mb = u64::from(memory_mb);
        let mut state = self.state.lock();
        if state.instances_free == 0 || state.memory_mb_free < memory_mb {
            return None;
        }
        state.instances_free -= 1;
        state.memory_mb_free -= memory_mb;
        Some(Reservation { capacity: self.clone(), memory_mb })
    }

    /// Queues a pool that found no room. A pool queues itself at most once at a time.
    pub(crate) fn block(&self, pool: Weak<Pool>) {
        let mut state = self.state.lock();
        state.blocked.push_back(pool);
        self.blocked.store(state.blocked.len(), Ordering::Release);
    }

    /// Whether any pool waits for room. Cheap enough for every release.
    pub(crate) fn has_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire) > 0
    }

    /// Lets every pool that waits look again; those that still find no room queue themselves anew, in order.
    pub(crate) fn wake(&self) {
        let blocked = {
            let mut state = self.state.lock();
            self.blocked.store(0, Ordering::Release);
            std::mem::take(&mut state.blocked)
        };
        for pool in blocked.iter().filter_map(Weak::upgrade) {
            pool.unblock();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let has_blocked = {
            let mut state = self.capacity.state.lock();
            state.instances_free += 1;
            state.memory_mb_free += self.memory_mb;
            !state.blocked.is_empty()
        };
        if has_blocked {
            self.capacity.wake();
        }
    }
}
