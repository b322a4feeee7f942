//! All pools of the node: finding one, ending what is idle for too long, making room.

use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::AtomicU32},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use updraft_engine::placement;
use updraft_executor::Executor;
use updraft_types::{AccountId, Fault, Function, FunctionId, Runtime};

use crate::{
    capacity::Capacity,
    habits::Habits,
    logs,
    packages::{Error as PackageError, Package, Packages},
    pool::Pool,
};

/// Who runs which runtime.
#[derive(Clone)]
pub struct Executors {
    /// Python, Node.js, provided and web.
    pub process: Arc<dyn Executor>,
    /// Components.
    pub wasm: Arc<dyn Executor>,
}

impl Executors {
    /// The executor of a runtime.
    pub(crate) fn of(&self, runtime: Runtime) -> &Arc<dyn Executor> {
        match runtime {
            Runtime::Wasm => &self.wasm,
            Runtime::Python { .. } | Runtime::Nodejs { .. } | Runtime::Provided { .. } | Runtime::Web => &self.process,
        }
    }
}

/// What every pool needs of the node.
pub(crate) struct Shared {
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) placement: placement::Limits,
    /// Longest a caller waits for an instance.
    pub(crate) wait_max: Duration,
    pub(crate) habits: Habits,
    pub(crate) logs: logs::Handle,
    pub(crate) packages: Packages,
    pub(crate) pools: Weak<Pools>,
}

impl Shared {
    /// The function's package, laid out and prepared: at once if that was done before.
    pub(crate) async fn ready_package(
        &self,
        function: &Function,
        executor: &dyn Executor,
    ) -> Result<Arc<Package>, Fault> {
        let package = self.packages.get(&function.code).await.map_err(|error| match error {
            PackageError::Package(error) => Fault::Entrypoint { reason: error.to_string() },
            error => Fault::Platform { reason: error.to_string() },
        })?;
        let prepared = executor.prepare(function, &package.folder).await;
        prepared.map_err(|rejected| Fault::Entrypoint { reason: rejected.to_string() })?;
        Ok(package)
    }

    /// Whether any instance on the node is idle.
    pub(crate) fn has_idle(&self) -> bool {
        self.pools.upgrade().is_some_and(|pools| pools.snapshot().iter().any(|pool| pool.idle_since().is_some()))
    }

    /// Ends the instance that has been idle longest, whoever's it is; false if none is idle.
    pub(crate) fn reclaim_one(&self) -> bool {
        let Some(pools) = self.pools.upgrade() else { return false };
        let pools = pools.snapshot();
        let oldest = pools.iter().filter_map(|pool| Some((pool.idle_since()?, pool))).min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(_, pool)| pool.reclaim())
    }
}

/// All pools.
pub(crate) struct Pools {
    shared: Arc<Shared>,
    executors: Executors,
    by_function: RwLock<HashMap<FunctionId, Arc<Pool>>>,
    accounts: Mutex<HashMap<AccountId, Arc<AtomicU32>>>,
}

impl Pools {
    pub(crate) fn new(shared: Arc<Shared>, executors: Executors) -> Self {
        Self { shared, executors, by_function: RwLock::default(), accounts: Mutex::default() }
    }

    /// The function's pool, if it has one.
    pub(crate) fn find(&self, id: &FunctionId) -> Option<Arc<Pool>> {
        self.by_function.read().get(id).cloned()
    }

    /// The function's pool, made if it has none.
    pub(crate) fn find_or_open(&self, function: &Arc<Function>) -> Arc<Pool> {
        let mut pools = self.by_function.write();
        if let Some(pool) = pools.get(&function.id) {
            return pool.clone();
        }
        let executor = self.executors.of(function.configuration.runtime).clone();
        let in_flight = self.accounts.lock().entry(function.id.account.clone()).or_default().clone();
        let pool = Arc::new(Pool::new(function.clone(), executor, in_flight, self.shared.clone()));
        pools.insert(function.id.clone(), pool.clone());
        pool
    }

    /// Closes the function's pool: the next invocation opens one for the function as it is then.
    pub(crate) fn close(&self, id: &FunctionId) {
        let closed = {
            let mut pools = self.by_function.write();
            let closed = pools.remove(id);
            // Before anyone can open the next pool, which takes the habit up.
            closed.inspect(|pool| self.rest_habit(id, pool, Instant::now()))
        };
        if let Some(pool) = closed {
            pool.close();
        }
    }

    /// Closes the pool of a function that is no more.
    pub(crate) fn forget(&self, id: &FunctionId) {
        self.close(id);
        self.shared.habits.forget(id);
    }

    fn rest_habit(&self, id: &FunctionId, pool: &Pool, now: Instant) {
        if let Some(habit) = pool.take_habit() {
            self.shared.habits.rest(id.clone(), habit, now);
        }
    }

    /// Closes every pool.
    pub(crate) fn close_all(&self) {
        let closed = std::mem::take(&mut *self.by_function.write());
        for pool in closed.values() {
            pool.close();
        }
    }

    /// How many instances run or start on the node.
    pub(crate) fn instances(&self) -> u32 {
        self.snapshot().iter().map(|pool| pool.instances()).map(|(running, starting)| running + starting).sum()
    }

    /// Ends idle instances by the keep-alive policy, and pools that have nothing left.
    pub(crate) fn reap(&self, now: Instant) {
        for pool in self.snapshot() {
            pool.reap(now);
        }
        self.by_function.write().retain(|id, pool| {
            let is_closed = pool.close_if_empty();
            if is_closed {
                self.rest_habit(id, pool, now);
            }
            !is_closed
        });
    }

    /// Starts at most `limit` instances that are expected to be needed soon. `runnable` finds a function that
    /// could run now.
    pub(crate) fn start_ahead(
        &self,
        now: Instant,
        limit: usize,
        runnable: impl Fn(&FunctionId) -> Option<Arc<Function>>,
    ) {
        let memory_mb = |id: &FunctionId| Some(runnable(id)?.configuration.memory_mb);
        for id in self.shared.habits.due(now, limit, memory_mb) {
            if let Some(function) = runnable(&id) {
                self.find_or_open(&function).start_ahead();
            }
        }
    }

    /// How many instances are being started.
    pub(crate) fn starting(&self) -> u32 {
        self.snapshot().iter().map(|pool| pool.instances().1).sum()
    }

    fn snapshot(&self) -> Vec<Arc<Pool>> {
        self.by_function.read().values().cloned().collect()
    }
}
