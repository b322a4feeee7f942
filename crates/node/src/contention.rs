//! Watches the processors, and holds back the calls of a function that keeps them from the others, as
//! `engine::contention` decides.
//!
//! Looks at nothing but a counter for each pool while no function has more calls than there are processors.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use updraft_engine::{contention::Sample, placement::Processors};
use updraft_types::Runtime;

use crate::{
    pool::Pool,
    pools::{Pools, Shared},
};

/// Time between two looks while a function has many calls.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The same while none has.
const IDLE_INTERVAL: Duration = Duration::from_millis(250);

impl Pools {
    /// Watches, for ever.
    pub(crate) async fn run_contention(self: Arc<Self>, shared: Arc<Shared>) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores_max = u32::try_from(cores).unwrap_or(u32::MAX);
        let mut looked_at = Instant::now();
        loop {
            let pools = self.snapshot();
            // A component runs on the platform's own threads, in turns with all others.
            let is_process = |pool: &Pool| pool.function.configuration.runtime != Runtime::Wasm;
            let has_many = |pool: &Pool| pool.quota.in_flight() > cores_max || pool.allowance().is_some();
            let floods: Vec<_> = pools.iter().filter(|pool| has_many(pool) && is_process(pool)).collect();
            let is_needed = !floods.is_empty();
            if is_needed {
                let elapsed = looked_at.elapsed();
                let is_busy = shared.processors.look() == Processors::Busy;
                for pool in floods {
                    let used = pool.processor_time_since_last_look();
                    let sample = Sample {
                        is_busy,
                        has_company: shared.has_company(pool),
                        share: used.as_secs_f64() / (elapsed.as_secs_f64() * cores as f64),
                        running: pool.calls(),
                    };
                    pool.look(sample);
                }
            }
            looked_at = Instant::now();
            drop(pools);
            tokio::time::sleep(if is_needed { LOOK_INTERVAL } else { IDLE_INTERVAL }).await;
        }
    }
}
