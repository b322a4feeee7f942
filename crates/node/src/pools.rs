//! All pools of the node: finding one, ending what is idle for too long, making room.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use updraft_engine::{admission, burst, events::Load, placement};
use updraft_executor::Executor;
use updraft_types::{AccountId, Fault, Function, FunctionId, Runtime, Version, VersionId, function::State};

use crate::{
    Catalog, Refusal,
    capacity::Capacity,
    clerk::Desk,
    figures::{Figures, Instances, Row},
    habits::Habits,
    identity::Identity,
    logs,
    packages::{Error as PackageError, Package, Packages},
    pool::{self, Pool},
    processors, quota,
    tally::{Tallies, Tally},
};

/// Who runs which runtime.
#[derive(Clone)]
pub struct Executors {
    /// Python, Node.js, provided, web and container images.
    pub process: Arc<dyn Executor>,
    /// Components.
    pub wasm: Arc<dyn Executor>,
}

impl Executors {
    /// The executor of a runtime.
    pub(crate) fn of(&self, runtime: Runtime) -> &Arc<dyn Executor> {
        match runtime {
            Runtime::Wasm => &self.wasm,
            Runtime::Python { .. }
            | Runtime::Nodejs { .. }
            | Runtime::Provided { .. }
            | Runtime::Web
            | Runtime::Image => &self.process,
        }
    }
}

/// What every pool needs of the node.
pub(crate) struct Shared {
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) placement: placement::Limits,
    pub(crate) admission: admission::Limits,
    /// Longest a caller waits for an instance.
    pub(crate) wait_max: Duration,
    pub(crate) burst: burst::Limits,
    /// Callers that wait on the whole node.
    pub(crate) waiting: Waiting,
    pub(crate) desk: Desk,
    pub(crate) processors: processors::Watch,
    /// Where the clock of growth begins.
    pub(crate) began: Instant,
    pub(crate) habits: Habits,
    pub(crate) logs: logs::Handle,
    pub(crate) identity: Identity,
    pub(crate) packages: Packages,
    /// Told of room for calls that somebody waits for.
    pub(crate) freed: Arc<Notify>,
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
}

/// A function is active for this long after a call.
const ACTIVE_FOR: Duration = Duration::from_secs(2);

impl Shared {
    /// Whether any other function is active.
    pub(crate) fn has_company(&self, pool: &Pool) -> bool {
        let Some(pools) = self.pools.upgrade() else { return false };
        pools.snapshot().iter().any(|other| !std::ptr::eq(&**other, pool) && other.is_active(ACTIVE_FOR))
    }
}

/// Counts callers that wait for an instance.
#[derive(Default)]
pub(crate) struct Waiting(AtomicU32);

/// One of them, for as long as it waits.
pub(crate) struct Counted<'a> {
    waiting: &'a Waiting,
    /// How many waited when it came.
    pub(crate) others: u32,
}

impl Waiting {
    pub(crate) fn enter(&self) -> Counted<'_> {
        Counted { waiting: self, others: self.0.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.waiting.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether somebody is to be woken when there is more room than now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Nobody is.
    No,
    /// Whoever hands out work is.
    WhenFreed,
}

/// All pools.
pub(crate) struct Pools {
    shared: Arc<Shared>,
    executors: Executors,
    by_version: RwLock<HashMap<VersionId, Arc<Pool>>>,
    /// Changed only under the lock of the pools: none is opened after they were all closed.
    is_closed: AtomicBool,
    quotas: Mutex<Quotas>,
    /// Wakes the provisioner: a function changed.
    pub(crate) changed: Notify,
}

/// What is counted of accounts and functions that have been invoked, until the function is deleted.
#[derive(Default)]
struct Quotas {
    tallies: Tallies,
    accounts: HashMap<AccountId, Arc<quota::Account>>,
    functions: HashMap<FunctionId, Arc<quota::Function>>,
}

impl Quotas {
    fn of(
        &mut self,
        id: &FunctionId,
        unreserved: u32,
        reserved: Option<u32>,
        freed: &Arc<Notify>,
    ) -> Arc<quota::Function> {
        if let Some(quota) = self.functions.get(id) {
            return quota.clone();
        }
        let account = self.accounts.entry(id.account.clone());
        let account = account.or_insert_with(|| Arc::new(quota::Account::new(unreserved, freed.clone()))).clone();
        let quota = Arc::new(quota::Function::new(account, reserved));
        self.functions.insert(id.clone(), quota.clone());
        quota
    }
}

impl Pools {
    pub(crate) fn new(shared: Arc<Shared>, executors: Executors) -> Self {
        Self {
            shared,
            executors,
            by_version: RwLock::default(),
            is_closed: AtomicBool::new(false),
            quotas: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The version's pool, if it has one.
    pub(crate) fn find(&self, id: &VersionId) -> Option<Arc<Pool>> {
        self.by_version.read().get(id).cloned()
    }

    /// The version's pool, made if it has none for the version as the catalog has it.
    pub(crate) fn find_or_open(&self, id: &VersionId, catalog: &ArcSwap<Catalog>) -> Result<Arc<Pool>, Refusal> {
        let mut pools = self.by_version.write();
        if let Some(pool) = pools.get(id) {
            return Ok(pool.clone());
        }
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Refusal::Stopping);
        }
        // Looked up under the lock: a change is either seen here or finds this pool to close.
        let catalog = catalog.load();
        let function = catalog.version(id).ok_or(Refusal::NotFound)?;
        let bounds = catalog.scaling(id).ok_or(Refusal::NotFound)?;
        match &function.state {
            State::Active => {}
            State::Pending => return Err(Refusal::Pending),
            State::Failed { reason } => return Err(Refusal::Failed(reason.clone())),
        }
        let executor = self.executors.of(function.configuration.runtime).clone();
        let counted = {
            let mut quotas = self.quotas.lock();
            let unreserved = self.unreserved(&catalog, &id.function.account);
            let reserved = bounds.scaling.reserved_concurrency;
            let quota = quotas.of(&id.function, unreserved, reserved, &self.shared.freed);
            (quota, quotas.tallies.of(&id.function))
        };
        let pool = Arc::new(Pool::new(function.clone(), bounds, executor, counted, self.shared.clone()));
        pools.insert(id.clone(), pool.clone());
        Ok(pool)
    }

    /// Brings limits in force that a new catalog changes for this function and its account.
    pub(crate) fn apply_limits(&self, id: &FunctionId, catalog: &Catalog) {
        self.changed.notify_one();
        let pools = self.by_version.write();
        let mut quotas = self.quotas.lock();
        if let Some(account) = quotas.accounts.get(&id.account) {
            account.set_unreserved(self.unreserved(catalog, &id.account));
        }
        match catalog.get(id) {
            Some(function) => {
                if let Some(quota) = quotas.functions.get(id) {
                    quota.set_reserved(function.scaling.reserved_concurrency);
                }
                let numbered = catalog.versions(id).map(|function| function.version);
                for version in std::iter::once(Version::Latest).chain(numbered) {
                    let id = VersionId { function: id.clone(), version };
                    if let (Some(pool), Some(bounds)) = (pools.get(&id), catalog.scaling(&id)) {
                        pool.set_bounds(bounds);
                    }
                }
            }
            None => {
                quotas.functions.remove(id);
                quotas.tallies.close(id);
            }
        }
    }

    fn unreserved(&self, catalog: &Catalog, account: &AccountId) -> u32 {
        admission::unreserved(self.shared.admission, catalog.committed(account))
    }

    /// Closes the version's pool: the next invocation opens one for the version as it is then.
    pub(crate) fn close(&self, id: &VersionId) {
        let closed = {
            let mut pools = self.by_version.write();
            let closed = pools.remove(id);
            // Before anyone can open the next pool, which takes the habit up.
            closed.inspect(|pool| self.rest_habit(id, pool, Instant::now()))
        };
        if let Some(pool) = closed {
            pool.close();
        }
    }

    /// Closes the pools of all versions of a function.
    pub(crate) fn close_function(&self, id: &FunctionId) {
        let all: Vec<VersionId> = self.by_version.read().keys().filter(|open| open.function == *id).cloned().collect();
        all.iter().for_each(|id| self.close(id));
    }

    /// Closes the pools of a function that is no more.
    pub(crate) fn forget_function(&self, id: &FunctionId) {
        self.close_function(id);
        self.shared.habits.forget(|resting| resting.function == *id);
    }

    /// Closes the pool of a version that is no more.
    pub(crate) fn forget(&self, id: &VersionId) {
        self.close(id);
        self.shared.habits.forget(|resting| resting == id);
    }

    fn rest_habit(&self, id: &VersionId, pool: &Pool, now: Instant) {
        if let Some(habit) = pool.take_habit() {
            self.shared.habits.rest(id.clone(), habit, now);
        }
    }

    /// Closes every pool, for good.
    pub(crate) fn close_all(&self) {
        let closed = {
            let mut pools = self.by_version.write();
            self.is_closed.store(true, Ordering::Relaxed);
            std::mem::take(&mut *pools)
        };
        for (id, pool) in &closed {
            self.rest_habit(id, pool, Instant::now());
            pool.close();
        }
    }

    /// How many instances run or start on the node.
    pub(crate) fn instances(&self) -> u32 {
        self.snapshot().iter().map(|pool| pool.instances()).map(|(running, starting)| running + starting).sum()
    }

    /// The most instances a version of a function may have, and the calls each takes at once.
    pub(crate) fn bounds(&self, function: &Function) -> (u32, u32) {
        let limit = self.shared.placement.instances_max;
        let executor = self.executors.of(function.configuration.runtime);
        (
            function.scaling.instances_max.map_or(limit, |own| own.min(limit)),
            pool::concurrency(&function.configuration, &function.scaling, &**executor),
        )
    }

    /// Where what comes of a function is counted.
    pub(crate) fn tally(&self, id: &FunctionId) -> Arc<Tally> {
        self.quotas.lock().tallies.of(id)
    }

    /// What a function's calls look like, those of `$LATEST` and of its versions. With `Wake::WhenFreed` whoever hands out
    /// work is woken as soon as there may be more room than is found here.
    pub(crate) fn load(&self, function: &Function, versions: impl Iterator<Item = Version>, wake: Wake) -> Load {
        let open: Vec<Arc<Pool>> = {
            let pools = self.by_version.read();
            let id = |version| VersionId { function: function.id.clone(), version };
            std::iter::once(Version::Latest).chain(versions).filter_map(|one| pools.get(&id(one)).cloned()).collect()
        };
        let (quota, account) = {
            let quotas = self.quotas.lock();
            (quotas.functions.get(&function.id).cloned(), quotas.accounts.get(&function.id.account).cloned())
        };
        match (&quota, &account) {
            _ if wake == Wake::No => {}
            (Some(quota), _) => quota.watch(),
            (None, Some(account)) => account.watch(),
            (None, None) => {}
        }
        let set_aside = open.iter().fold(0_u32, |sum, pool| sum.saturating_add(pool.set_aside.room()));
        let admitted = match (&quota, account) {
            (Some(quota), _) => quota.room(set_aside),
            // Nothing of it has run yet.
            (None, Some(account)) if function.scaling.reserved_concurrency.is_none() => account.room(),
            (None, _) => u32::MAX,
        };
        let mut instances = Instances::default();
        open.iter().for_each(|pool| instances.add(pool.now()));
        let (instances_max, each) = self.bounds(function);
        Load {
            admitted,
            capacity: instances_max.saturating_mul(each),
            in_flight: quota.map_or(0, |quota| quota.in_flight()),
            instances: instances.running + instances.starting,
            waiting: instances.waiting,
        }
    }

    /// What was counted of a function, and what there is of it now; `None` if it has not been invoked.
    pub(crate) fn row(&self, id: &FunctionId) -> Option<Row> {
        let figures = self.quotas.lock().tallies.find(id)?.read();
        let mut instances = Instances::default();
        let pools = self.snapshot();
        pools.iter().filter(|pool| pool.function.id == *id).for_each(|pool| instances.add(pool.now()));
        Some(Row { figures, instances, ..Row::default() })
    }

    /// What was counted of all functions, and what there is of them now.
    pub(crate) fn rows(&self) -> (Vec<(FunctionId, Row)>, Row, Figures) {
        let (shown, others, all) = self.quotas.lock().tallies.read();
        let mut now: HashMap<FunctionId, Instances> = HashMap::new();
        for pool in self.snapshot() {
            now.entry(pool.function.id.clone()).or_default().add(pool.now());
        }
        let row = |(id, figures): (FunctionId, Figures)| {
            let instances = now.remove(&id).unwrap_or_default();
            (id, Row { figures, instances, ..Row::default() })
        };
        let shown = shown.into_iter().map(row).collect();
        let mut instances = Instances::default();
        now.into_values().for_each(|of_other| instances.add(of_other));
        (shown, Row { figures: others, instances, ..Row::default() }, all)
    }

    /// Ends idle instances by the keep-alive policy, and pools that have nothing left.
    pub(crate) fn reap(&self, now: Instant) {
        for pool in self.snapshot() {
            pool.reap(now);
        }
        self.by_version.write().retain(|id, pool| {
            let is_closed = pool.close_if_empty();
            if is_closed {
                self.rest_habit(id, pool, now);
            }
            !is_closed
        });
    }

    /// Starts at most `limit` instances that are expected to be needed soon.
    pub(crate) fn start_ahead(&self, now: Instant, limit: usize, catalog: &ArcSwap<Catalog>) {
        let current = catalog.load();
        let memory_mb = |id: &VersionId| {
            let function = current.version(id).filter(|function| function.state == State::Active)?;
            Some(function.configuration.memory_mb)
        };
        for id in self.shared.habits.due(now, limit, memory_mb) {
            // One that changed meanwhile has nothing to be started for.
            if let Ok(pool) = self.find_or_open(&id, catalog) {
                pool.start_ahead();
            }
        }
    }

    /// How many instances are being started.
    pub(crate) fn starting(&self) -> u32 {
        self.snapshot().iter().map(|pool| pool.instances().1).sum()
    }

    pub(crate) fn snapshot(&self) -> Vec<Arc<Pool>> {
        self.by_version.read().values().cloned().collect()
    }
}
