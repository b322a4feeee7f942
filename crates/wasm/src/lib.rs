//! Runs `wasi:http` 0.2 components in wasmtime: an [`Executor`] whose instances are wasm stores.
//!
//! Owns compiling ([`component`]), the compiled code on disk and in memory ([`cache`]), what a guest may reach
//! ([`host`]: its variables, its output, clocks, randomness; no files), its requests to the outside ([`outgoing`]) and calls
//! ([`instance`], [`reply`]). Refuses everything else a component could import, and any judgement of who may
//! call whom: queues, timeouts and metering are the caller's.
//!
//! Invariants: a call runs on its caller's task and nowhere else, so dropping the call, or its reply's body,
//! ends the guest there and then; a guest that computes for longer than a tick of [`ticker`] yields, so it
//! never delays another's request; a guest that trapped or was abandoned is never entered again.

pub mod cache;
mod component;
mod engine;
mod host;
mod instance;
mod outgoing;
mod reply;
mod ticker;

use std::{path::Path, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use updraft_executor::{Executor, Instance, Rejected, Start, Support, Unsupported, egress};
use updraft_types::{Fault, Function, Region, Runtime, function::Configuration};

use crate::{cache::Cache, engine::Platform, instance::WasmInstance, outgoing::Gate};

/// What the executor is given.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where compiled code is kept between restarts: a directory only we may write. Made if it is not there.
    pub cache_directory: PathBuf,
    /// Most bytes of compiled code kept on disk; the least recently loaded goes first.
    pub cache_bytes_max: u64,
    /// Most components kept loaded; the least recently started goes first and is loaded again when needed.
    pub loaded_max: usize,
    /// Most instances alive at once. Address space, not memory, is set aside for each.
    pub instances_max: u32,
    /// Largest component accepted, bytes.
    pub component_bytes_max: u64,
    /// Shown to guests as `AWS_REGION`.
    pub region: Region,
    /// Where components may connect to.
    pub egress: egress::Config,
    /// Certificate authorities they trust besides Mozilla's, DER.
    pub authorities: Vec<Vec<u8>>,
}

impl Config {
    /// The defaults: 2 GiB of compiled code, 128 loaded components, 1,000 instances, components up to 64 MiB.
    pub fn new(cache_directory: PathBuf, region: Region) -> Self {
        Self {
            cache_directory,
            cache_bytes_max: 2 << 30,
            loaded_max: 128,
            instances_max: 1_000,
            component_bytes_max: 64 << 20,
            region,
            egress: egress::Config::default(),
            authorities: Vec::new(),
        }
    }
}

/// Why the executor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache directory cannot be used.
    #[error(transparent)]
    Cache(#[from] cache::OpenError),
    /// wasmtime refused its configuration, or this host's address space is too small for it.
    #[error("the WebAssembly engine could not be started: {0}")]
    Engine(String),
    /// A certificate authority is none.
    #[error("TLS for outgoing requests could not be set up: {0}")]
    Tls(String),
}

/// Runs components. Cheap to share behind an [`Arc`].
pub struct WasmExecutor {
    platform: Arc<Platform>,
    cache: Cache,
    region: Region,
    gate: Gate,
}

impl WasmExecutor {
    /// Starts the engine and opens the cache.
    pub fn new(config: Config) -> Result<Self, Error> {
        let platform = Arc::new(Platform::new(config.instances_max).map_err(|e| Error::Engine(format!("{e:#}")))?);
        let cache = Cache::open(&config, platform.clone())?;
        let gate = Gate::new(config.egress, &config.authorities).map_err(|error| Error::Tls(error.to_string()))?;
        Ok(Self { platform, cache, region: config.region, gate })
    }
}

#[async_trait]
impl Executor for WasmExecutor {
    fn check(&self, configuration: &Configuration) -> Result<Support, Unsupported> {
        if configuration.runtime != Runtime::Wasm {
            return Err(Unsupported(format!("{} does not run as WebAssembly", configuration.runtime)));
        }
        component::file_name(&configuration.handler).map_err(|Rejected(reason)| Unsupported(reason))?;
        Ok(Support::Exact)
    }

    fn concurrency(&self, _: &Configuration) -> u32 {
        1
    }

    async fn prepare(&self, function: &Function, package: &Path) -> Result<(), Rejected> {
        self.cache.get(package, &function.configuration.handler).await.map(drop)
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn Instance>, Fault> {
        let handler = &start.function.configuration.handler;
        let component =
            self.cache.get(&start.package, handler).await.map_err(|Rejected(reason)| Fault::Entrypoint { reason })?;
        Ok(WasmInstance::start(&self.platform, component, &start, &self.region, &self.gate).await?)
    }
}
