//! The node's clerk: grants room to those who wait for it, in the order `engine::fair` decides, and evicts idle
//! instances for them, the least valuable first.
//!
//! One task, so that no two decisions are made from the same room. It sleeps until something changes; while anybody
//! waits it also looks up at short intervals, since patience and grace pass without anything else happening.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use updraft_engine::eviction::{Clock, Worth};

use crate::{
    capacity::Claim,
    pool::Pool,
    pools::{Pools, Shared},
};

/// Time between two looks while somebody waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What the clerk keeps.
#[derive(Default)]
pub(crate) struct Desk {
    /// `engine::eviction`'s clock, as bits.
    clock: AtomicU64,
    /// Pools that are held back for a moment, by the processors or by their speed of growth.
    held_back: Mutex<Vec<Weak<Pool>>>,
    /// Instances evicted so far.
    pub(crate) evictions: AtomicU64,
}

impl Desk {
    /// Where the clock of evictions stands.
    pub(crate) fn clock(&self) -> Clock {
        Clock::from_bits(self.clock.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Has a pool look again in a moment.
    pub(crate) fn hold_back(&self, pool: Weak<Pool>) {
        let mut held_back = self.desk.held_back.lock();
        held_back.push(pool);
        // With others in the list it looks up in a moment anyway.
        if held_back.len() == 1 {
            self.capacity.changed.notify_one();
        }
    }

    /// Serves those who wait, for ever.
    pub(crate) async fn run_clerk(self: Arc<Self>) {
        let mut looked_at = Instant::now();
        loop {
            let is_needed = self.capacity.has_claims() || !self.desk.held_back.lock().is_empty();
            if is_needed {
                // An error means that nothing came before the next look was due.
                let _ = tokio::time::timeout(LOOK_INTERVAL, self.capacity.changed.notified()).await;
            } else {
                self.capacity.changed.notified().await;
            }
            self.settle();
            if looked_at.elapsed() >= LOOK_INTERVAL {
                looked_at = Instant::now();
                let held_back = std::mem::take(&mut *self.desk.held_back.lock());
                held_back.iter().filter_map(Weak::upgrade).for_each(|pool| pool.look_again());
            }
            // Being woken is never out of budget: without this a storm of changes would be one long turn.
            tokio::task::yield_now().await;
        }
    }

    /// Grants all that can be granted, and has evicted what has to be.
    fn settle(&self) {
        // Room must not be gathered for callers that have gone.
        for pool in self.capacity.waiting().into_iter().filter(|pool| !pool.wants_room()) {
            self.capacity.withdraw(&pool);
            pool.look_again();
        }
        while let Some((pool, reservation)) = self.capacity.grant() {
            // A pool that has gone, or needs it no more, lets the reservation go.
            if let Some(pool) = pool.upgrade() {
                pool.granted(reservation);
            }
        }
        let Some(pools) = self.pools.upgrade() else { return };
        let mut without = 0;
        // Each eviction changes what is still uncovered; small instances may have to make room for a large one.
        while let Some(claim) = self.capacity.uncovered().get(without) {
            if !self.evict(&pools, claim) {
                without += 1;
            }
        }
    }

    /// Ends the least valuable instance that the claim may have; false if there is none.
    fn evict(&self, pools: &Pools, claim: &Claim) -> bool {
        let now = Instant::now();
        let candidates = pools.snapshot();
        let may_go = |pool: &Pool, idle: Duration| self.capacity.may_evict(&pool.request(), idle, claim);
        let least = candidates
            .iter()
            .filter_map(|pool| {
                Some((pool.least_valuable(|since| may_go(pool, now.saturating_duration_since(since)))?, pool))
            })
            .min_by(|(one, _), (other, _)| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
        let Some((worth, pool)): Option<(Worth, _)> = least else { return false };
        let is_evicted = pool.evict(|since| may_go(pool, now.saturating_duration_since(since)));
        if is_evicted {
            self.desk.clock.store(self.desk.clock().after(worth).to_bits(), Ordering::Relaxed);
            self.desk.evictions.fetch_add(1, Ordering::Relaxed);
        }
        is_evicted
    }
}
