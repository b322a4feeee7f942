//! Performs what `engine` decides: catalog, deployment, dispatch, instance pools, asynchronous events, logs.
//!
//! [`Service`] is the running part, [`Handle`] the one way in, cloneable; every door in `server` goes through it.
//! Time enters `engine` here and nowhere else. Invariants: one dispatch path, one limit check, one meter; a
//! change is acknowledged only when the store has it; nothing promised lives only in memory.

mod accounts;
pub mod aliases;
mod capacity;
pub mod catalog;
mod clerk;
mod contention;
pub mod control;
pub mod dispatch;
pub mod events;
pub mod figures;
mod habits;
pub mod identity;
pub mod images;
pub mod layers;
pub mod logs;
mod meter;
mod overlay;
mod package;
mod packages;
mod platform_lines;
mod pool;
mod pools;
mod processors;
mod provision;
pub mod provisioned;
mod quota;
mod reaper;
mod scaling;
mod snapshot;
mod start;
pub mod storage;
mod tally;
pub mod versions;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
pub use capacity::Limits as CapacityLimits;
pub use catalog::Catalog;
pub use control::{Deployed, Draft, Publish};
pub use dispatch::{Answer, Refusal};
pub use pools::Executors;
use tokio::{task::JoinSet, time::Instant};
pub use updraft_engine::policy::Context;
pub use updraft_engine::{
    admission::Limits as AdmissionLimits, burst::Limits as BurstLimits, fair::Policy as FairPolicy,
    keep_alive::Policy as KeepAlivePolicy, placement::Limits as PlacementLimits,
};
pub use updraft_executor::{Framing, Reply};
use updraft_store::Store;
/// SSM's parameters, as the store keeps them.
pub use updraft_store::parameters;
/// Random bytes from the operating system, fit for keys.
pub use updraft_store::seal::random;
/// Secrets Manager's secrets, as the store keeps them.
pub use updraft_store::secrets;
use updraft_types::{Function, FunctionId, Region, Timestamp};

use crate::{
    capacity::Capacity,
    control::Changes,
    habits::Habits,
    packages::Packages,
    pools::{Pools, Shared},
};

/// What a node needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The region in every ARN.
    pub region: Region,
    /// Where packages are unpacked. Its content can be made again from the store.
    pub packages_directory: PathBuf,
    /// Where container images come from.
    pub images: images::Config,
    /// What the node may hold.
    pub capacity: CapacityLimits,
    /// What bounds an account.
    pub admission: AdmissionLimits,
    /// What bounds a function.
    pub placement: PlacementLimits,
    /// How fast a function may grow.
    pub burst: BurstLimits,
    /// How a full node is shared.
    pub fair: FairPolicy,
    /// Longest a caller waits for an instance before it is answered 429.
    pub wait_max: Duration,
    /// How idle instances are kept, and whether some are started ahead.
    pub keep_alive: KeepAlivePolicy,
    /// How asynchronous events are treated.
    pub events: events::Config,
    /// How logs are kept.
    pub logs: logs::Config,
    /// How long running invocations may take to finish once the node is told to stop.
    pub drain_max: Duration,
}

impl Config {
    /// A node with the default of everything, which keeps what it can make again below `directory` and fetches no images.
    pub fn new(region: Region, directory: &Path) -> Self {
        Self {
            region,
            packages_directory: directory.join("packages"),
            images: images::Config::none(directory.join("images")),
            capacity: CapacityLimits::default(),
            admission: AdmissionLimits::default(),
            placement: PlacementLimits::default(),
            burst: BurstLimits::default(),
            fair: FairPolicy::default(),
            wait_max: Duration::from_secs(30),
            keep_alive: KeepAlivePolicy::default(),
            events: events::Config::default(),
            logs: logs::Config::default(),
            drain_max: Duration::from_secs(10),
        }
    }
}

/// A running node, as its doors see it. Clones are cheap.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    store: Store,
    identity: identity::Identity,
    catalog: ArcSwap<Catalog>,
    pools: Arc<Pools>,
    shared: Arc<Shared>,
    images: images::Images,
    board: events::Board,
    executors: Executors,
    changes: Changes,
    is_stopping: AtomicBool,
}

impl Handle {
    /// The region in every ARN.
    pub fn region(&self) -> &Region {
        &self.inner.config.region
    }

    fn is_stopping(&self) -> bool {
        self.inner.is_stopping.load(Ordering::Relaxed)
    }

    /// The functions as they are now; a snapshot that never changes.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// Accounts, users, roles, policies and access keys.
    pub fn identity(&self) -> &identity::Identity {
        &self.inner.identity
    }

    /// SSM's parameters.
    pub fn parameters(&self) -> &updraft_store::Parameters {
        self.inner.store.parameters()
    }

    /// Secrets Manager's secrets.
    pub fn secrets(&self) -> &updraft_store::Secrets {
        self.inner.store.secrets()
    }

    /// Log lines of functions.
    pub fn logs(&self) -> &logs::Handle {
        &self.inner.shared.logs
    }

    /// What bounds an account.
    pub fn admission_limits(&self) -> AdmissionLimits {
        self.inner.config.admission
    }

    /// What was counted of a function since the platform started, and its instances now.
    pub fn figures(&self, id: &FunctionId) -> figures::Row {
        let events = self.inner.board.now_of(id);
        figures::Row { events, ..self.inner.pools.row(id).unwrap_or_default() }
    }

    /// What was counted of the whole node since the platform started, and what it holds now.
    pub fn node_figures(&self) -> figures::Node {
        let (mut shown, mut others, all) = self.inner.pools.rows();
        let mut events = self.inner.board.now();
        for (id, row) in &mut shown {
            row.events = events.remove(id).unwrap_or_default();
        }
        events.into_values().for_each(|of_other| others.events.add(of_other));
        let shared = &self.inner.shared;
        figures::Node {
            functions: self.catalog().all().count(),
            shown,
            others,
            all,
            memory: shared.capacity.in_use(),
            spare_memory_mb: self.inner.executors.process.spare_memory_mb(),
            evictions: shared.desk.evictions.load(Ordering::Relaxed),
        }
    }

    /// The most instances a function may have, and the calls each takes at once, by its own bounds and the node's.
    pub fn bounds(&self, function: &Function) -> (u32, u32) {
        self.inner.pools.bounds(function)
    }

    /// How many instances run or start on this node.
    pub fn instances(&self) -> u32 {
        self.inner.pools.instances()
    }
}

/// A node's background work. Made by [`Service::open`], ends when [`Service::run`] returns.
pub struct Service {
    handle: Handle,
    tasks: JoinSet<()>,
}

impl Service {
    /// Opens a node on a store: reads the catalog, finishes what a killed platform left half-done, starts the
    /// background work. The store's functions are served as soon as this returns.
    pub async fn open(config: Config, store: Store, executors: Executors) -> io::Result<(Self, Handle)> {
        let mut functions = store.functions().all().await.map_err(io::Error::other)?;
        let identity = identity::Identity::open(store.clone()).await.map_err(io::Error::other)?;
        identity.bind_policies(&mut functions).await.map_err(io::Error::other)?;
        let versions = store.versions().all().await.map_err(io::Error::other)?;
        let aliases = store.aliases().all().await.map_err(io::Error::other)?;
        // Whoever had leases is gone, with the lock on the data directory.
        let backlogs = store.events().recover(Timestamp::now()).await.map_err(io::Error::other)?;
        let packages = Packages::open(&config.packages_directory, store.clone(), config.images.limits)?;
        let logs = logs::Handle::new(config.logs, store.clone());
        let board = events::open(&config.events, backlogs);
        let mut shared = None;
        let pools = Arc::new_cyclic(|pools| {
            let made = Arc::new(Shared {
                capacity: Arc::new(Capacity::new(config.capacity, config.fair)),
                placement: config.placement,
                admission: config.admission,
                burst: config.burst,
                waiting: Default::default(),
                desk: Default::default(),
                processors: processors::Watch::new(),
                began: std::time::Instant::now(),
                wait_max: config.wait_max,
                habits: Habits::new(config.keep_alive),
                logs: logs.clone(),
                identity: identity.clone(),
                packages,
                freed: board.wakes(),
                pools: pools.clone(),
            });
            shared = Some(made.clone());
            Pools::new(made, executors.clone())
        });
        let inner = Inner {
            catalog: ArcSwap::from_pointee(Catalog::new(functions, versions, aliases)),
            pools: pools.clone(),
            shared: shared.expect("new_cyclic has run its closure"),
            images: images::Images::open(&config.images)?,
            board,
            changes: Changes::default(),
            is_stopping: AtomicBool::new(false),
            executors,
            identity,
            store,
            config,
        };
        for executor in [&inner.executors.process, &inner.executors.wasm] {
            executor.watch_room(inner.shared.capacity.watch());
        }
        let handle = Handle { inner: Arc::new(inner) };
        handle.sweep_packages().await.map_err(io::Error::other)?;
        handle.restore_habits().await.map_err(io::Error::other)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(logs.run());
        tasks.spawn(handle.clone().run_reaper());
        tasks.spawn(handle.inner.shared.clone().run_clerk());
        tasks.spawn(pools.clone().run_contention(handle.inner.shared.clone()));
        tasks.spawn(handle.clone().run_provisioner());
        tasks.spawn(handle.clone().run_habit_keeper());
        tasks.spawn(handle.clone().run_collector());
        tasks.spawn(handle.clone().run_upload_sweeper());
        tasks.spawn(handle.clone().finish_changes());
        tasks.spawn(handle.clone().run_events());
        tasks.spawn(handle.clone().run_ages());
        tasks.spawn(handle.clone().run_letters());
        Ok((Self { handle: handle.clone(), tasks }, handle))
    }

    /// Works until `shutdown`, then refuses new invocations, lets running ones finish for at most
    /// [`Config::drain_max`], ends every instance, and writes what is left to write.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        let inner = &self.handle.inner;
        inner.is_stopping.store(true, Ordering::Relaxed);
        inner.pools.close_all();
        let deadline = Instant::now() + inner.config.drain_max;
        let is_done = || inner.shared.capacity.is_unused() && self.handle.is_done_with_events();
        while !is_done() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.tasks.shutdown().await;
        inner.shared.logs.flush().await;
        self.handle.keep_habits().await;
        inner.store.close().await;
    }
}

/// What `fuzz/` drives, and nobody else.
#[doc(hidden)]
pub mod fuzzing {
    use std::path::Path;

    /// Unpacks a package into an empty folder; says whether it was one.
    pub fn unpack(zip: &[u8], folder: &Path) -> bool {
        crate::package::unpack(zip, folder).is_ok()
    }
}
