//! Gives up events that have become too old while they waited: for room, for a worker, or for their next try.
//!
//! No call and no worker is needed for that. Invariant: an event that is too old and that nobody is just trying is given up
//! soon, whatever its function and the others do; one that is being tried is, unless it succeeds then.

use std::time::Duration;

use tokio::task::JoinSet;
use updraft_engine::events;
use updraft_store::events::{Ages, Error, Pick};
use updraft_types::{Function, FunctionId, Timestamp};

use super::{STORE_REST, attempt::rules};
use crate::Handle;

/// How often ages are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Most events, and about the most bytes of them, given up in one step.
const STEP_EVENTS: u32 = 64;
const STEP_BYTES: u64 = 8 << 20;
/// An event that is just being accepted may be on the board and not yet in the store for so long.
const ACCEPTING: Duration = Duration::from_secs(10);

/// What may be left to give up after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Some,
}

impl Handle {
    /// Looks at ages until it is aborted. Gives nothing up once the node is stopping.
    pub(crate) async fn run_ages(self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            // A step of each function at a time: one with very many keeps no other waiting.
            while !self.is_stopping() && self.give_up_some().await == Rest::Some {}
        }
    }

    async fn give_up_some(&self) -> Rest {
        let mut rest = Rest::Nothing;
        for (function, oldest) in self.inner.board.oldest() {
            match self.give_up_of(&function, oldest).await {
                Ok(Rest::Nothing) => {}
                Ok(Rest::Some) => rest = Rest::Some,
                Err(error) => {
                    tracing::error!(%error, %function, "leasing events that are too old; they stay pending");
                    tokio::time::sleep(STORE_REST).await;
                }
            }
        }
        rest
    }

    async fn give_up_of(&self, id: &FunctionId, oldest: Timestamp) -> Result<Rest, Error> {
        let now = Timestamp::now();
        let Some(ages) = self.catalog().get(id).map(|latest| self.ages(latest, now)) else {
            return Ok(Rest::Nothing);
        };
        if oldest >= ages.latest() {
            return Ok(Rest::Nothing);
        }
        let (pick, until) = (Pick { function: id.clone(), count: STEP_EVENTS }, self.lease_end(now));
        let aged = self.inner.store.events().lease_aged(pick, ages, now, until, STEP_BYTES).await?;
        if !aged.leased.is_empty() {
            // Those that die on the way are due when their leases end.
            self.inner.board.due(id, until);
        }
        let mut ends = JoinSet::new();
        for leased in aged.leased {
            ends.spawn(self.clone().give_up(leased));
        }
        while ends.join_next().await.is_some() {}
        let Some(oldest) = aged.oldest else { return Ok(Rest::Some) };
        self.inner.board.set_oldest(id, oldest.min(now.minus(ACCEPTING)));
        Ok(Rest::Nothing)
    }

    /// Before when a function's events were accepted that are too old now, as it is configured now.
    fn ages(&self, latest: &Function, now: Timestamp) -> Ages {
        let policy = self.inner.config.events.policy;
        let named = latest.settings.event_invoke.iter();
        Ages {
            named: named
                .map(|(name, config)| (name.clone(), events::too_old(rules(Some(config), policy), now)))
                .collect(),
            others: events::too_old(rules(None, policy), now),
        }
    }
}
