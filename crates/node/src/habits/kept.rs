//! Keeps habits in the store, so that a restarted platform goes on with what it knew.
//!
//! Off every call's way: twice a minute what has changed is written in batches, the rest of it when the platform stops.
//! One that is killed loses the last half minute of habits, which costs a cold start here and there.
//! Invariant: at most [`HABITS_MAX`] are stored, and none of a version that is no more for longer than a round.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use updraft_engine::keep_alive::Record;
use updraft_store::habits::Habit as Row;
use updraft_types::{Timestamp, VersionId};

use super::{HABITS_MAX, Habit, Habits};
use crate::{Catalog, Handle};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(30);
/// Most habits written at once, some hundred bytes each.
const BATCH_MAX: usize = 1_000;

/// What the store has.
#[derive(Default)]
pub(super) struct Kept {
    stored: HashSet<VersionId>,
    /// What it should have no more.
    gone: Vec<VersionId>,
}

impl Kept {
    /// Has the store forget versions that are no more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&VersionId) -> bool) {
        let Self { stored, gone } = self;
        gone.extend(stored.extract_if(|id| is_gone(id)));
    }

    /// Whether there is a place for one more.
    fn has_place(&self, id: &VersionId) -> bool {
        self.stored.len() < HABITS_MAX || self.stored.contains(id)
    }
}

impl Habit {
    /// As the store keeps it, if it has changed since it was last asked.
    pub(crate) fn changed(&mut self, version: &VersionId, now: Instant, clock: Timestamp) -> Option<Row> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.tell_brief();
        let at = |from: Instant| {
            let idle_ms = u64::try_from(now.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX);
            Timestamp::from_ms(clock.as_ms().saturating_sub(idle_ms))
        };
        Some(Row { version: version.clone(), idle_from: self.idle_from.map(at), record: self.record.to_bytes() })
    }

    /// As it was kept; `None` if it was another policy's. A version whose call was running is idle from now on.
    fn restored(row: &Row, habits: &Habits, now: Instant, clock: Timestamp) -> Option<Self> {
        let record = Record::from_bytes(&habits.policy, &row.record)?;
        // A clock that was set back makes it idle from now on.
        let idle_ms = row.idle_from.map_or(0, |from| clock.as_ms().saturating_sub(from.as_ms()));
        let idle_from = now.checked_sub(Duration::from_millis(idle_ms)).or(Some(now));
        Some(Self { record, busy: 0, idle_from, brief: 0, ahead_not_before: None, is_changed: false })
    }
}

impl Habits {
    /// Takes up what the store has.
    fn restore(&self, rows: Vec<Row>, catalog: &Catalog, now: Instant, clock: Timestamp) {
        let (mut resting, mut kept) = (self.resting.lock(), self.kept.lock());
        for row in rows {
            let is_there = catalog.version(&row.version).is_some();
            match Habit::restored(&row, self, now, clock).filter(|_| is_there) {
                Some(habit) => {
                    resting.insert(row.version.clone(), habit);
                    kept.stored.insert(row.version);
                }
                None => kept.gone.push(row.version),
            }
        }
    }

    /// Those at rest that have changed, `limit` at most.
    fn changed(&self, limit: usize, now: Instant, clock: Timestamp) -> Vec<Row> {
        let mut resting = self.resting.lock();
        resting.iter_mut().filter_map(|(id, habit)| habit.changed(id, now, clock)).take(limit).collect()
    }
}

impl Handle {
    /// Takes up what is known from before. Called once, before the first invocation.
    pub(crate) async fn restore_habits(&self) -> Result<(), updraft_store::functions::Error> {
        let habits = &self.inner.shared.habits;
        let rows = self.inner.store.habits().all(u32::try_from(HABITS_MAX).unwrap_or(u32::MAX)).await?;
        habits.restore(rows, &self.catalog(), Instant::now(), Timestamp::now());
        Ok(())
    }

    /// Keeps what changes, for ever.
    pub(crate) async fn run_habit_keeper(self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.keep_habits().await;
        }
    }

    /// Writes all that has changed.
    pub(crate) async fn keep_habits(&self) {
        let (now, clock) = (Instant::now(), Timestamp::now());
        let mut of_pools: Vec<Row> =
            self.inner.pools.snapshot().iter().filter_map(|pool| pool.changed_habit(now, clock)).collect();
        loop {
            let mut rows = of_pools.split_off(of_pools.len().saturating_sub(BATCH_MAX));
            rows.extend(self.inner.shared.habits.changed(BATCH_MAX - rows.len(), now, clock));
            let is_last = of_pools.is_empty() && rows.len() < BATCH_MAX;
            if let Err(error) = self.keep_some(rows).await {
                tracing::warn!(%error, "when functions are called could not be kept; a restart will have to learn it anew");
                return;
            }
            if is_last {
                return;
            }
        }
    }

    async fn keep_some(&self, mut rows: Vec<Row>) -> Result<(), updraft_store::functions::Error> {
        let habits = &self.inner.shared.habits;
        let gone = {
            let mut kept = habits.kept.lock();
            rows.retain(|row| kept.has_place(&row.version));
            std::mem::take(&mut kept.gone)
        };
        if rows.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let ids: Vec<VersionId> = rows.iter().map(|row| row.version.clone()).collect();
        let put = self.inner.store.habits().put(gone.clone(), rows).await;
        let mut kept = habits.kept.lock();
        match &put {
            Ok(()) => kept.stored.extend(ids),
            Err(_) => kept.gone.extend(gone),
        }
        put
    }
}
