//! Runs functions as sandboxed processes: `python3.x`, `nodejsX.x`, `provided.*`, `web`, and container images.
//!
//! All but `web` ask the Lambda Runtime API for their events, which each instance is served from inside its
//! own sandbox (`instance`, `runtime_api`); `web` is any HTTP server (`web`). Python and Node.js run a small
//! runtime of ours on an interpreter of the host (`discover`, `runtime_files`); interpreters run ahead of need
//! (`prewarm`), and packages are compiled when they are deployed (`bytecode`).
//!
//! Refuses to know about queues, limits on concurrency, billing or doors. Invariant: a guest reaches the
//! platform through its own Runtime API or its own output, and nothing it sends there harms another instance.

mod bytecode;
pub mod discover;
pub mod egress;
mod ending;
mod environment;
mod extensions;
mod freezing;
mod guest;
mod image;
mod instance;
mod launch;
mod mounts;
mod output;
mod prewarm;
mod runtime_api;
mod runtime_files;
mod snapshots;
mod telemetry;
#[cfg(test)]
mod testing;
mod web;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use updraft_executor::{Executor, Instance, Milestone, Rejected, Snapshot, Start, Support, Unsupported};
use updraft_sandbox::{Mount, Sandbox, Spawner, Spec};
use updraft_types::{Fault, Function, Region, Runtime, VersionId, function::Configuration};

use self::{
    bytecode::Bytecode,
    discover::{Policy, Search},
    environment::{LAYERS_ROOT, TASK_ROOT},
    guest::Process,
    instance::RuntimeInstance,
    prewarm::{Origin, Prewarm},
    runtime_api::{About, RuntimeApi},
    runtime_files::RuntimeFiles,
    snapshots::{Original, Snapshots},
    telemetry::{Source, Tapped, Telemetry},
    web::WebInstance,
};
pub use self::{discover::Interpreter, prewarm::Prewarmed, snapshots::Snapshotted};

/// Requests that one `web` instance takes at once.
const WEB_CONCURRENCY: u32 = 50;

/// How functions run as processes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The region functions are told they run in.
    pub region: Region,
    /// A directory of this crate's own, below the data directory; it holds our runtimes' files.
    pub directory: PathBuf,
    /// Where interpreters are looked for; see [`Search::of_host`].
    pub search: Search,
    /// What to do about a Python or Node.js version that is not there.
    pub versions: Policy,
    /// AWS credentials that guests find in their environment, for SDKs that refuse to start without any.
    /// `None` leaves them unset.
    pub credentials: Option<Credentials>,
    /// Where functions may connect to.
    pub egress: egress::Config,
    /// The platform's own services, for functions to call; `None`: they reach none.
    pub endpoint: Option<egress::Endpoint>,
    /// The least processor time an instance may use, in thousandths of one core. Above it the quota follows
    /// memory as Lambda's does: 1,769 MB are one core. Lambda gives every function a whole core while it
    /// starts; a quota stays for life, and below one core it would stall cold starts and the short bursts that
    /// most handlers are, for up to 0.1 s at a time. So a whole core is the default.
    pub cpu_millis_min: u32,
    /// How long an instance goes on running after its last call. Then it is frozen until the next one, where the host
    /// can do that. Thawing costs that call a write of 0.03 ms and a wake-up of the guest, together about 0.3 ms on
    /// two busy cores (`examples/measure.rs`).
    pub freeze_after: Duration,
    /// Most interpreters of one kind that run without a function, ready for the next cold start; 0 for none. Each
    /// takes some ten megabytes (Python) to fifty (Node.js), which count against what the node may hold. There are none before a function of their kind has been
    /// started, and none of a kind that has not been for five minutes. As many copies of one version with SnapStart are kept
    /// without an instance, under the same rules.
    pub prewarmed_max: u32,
}

/// The default of [`Config::freeze_after`]: longer than a runtime takes to ask for its next event, and than the gaps
/// within a burst of calls.
const FREEZE_AFTER: Duration = Duration::from_millis(50);

/// What [`Config::new`] takes for [`Config::prewarmed_max`].
pub const PREWARMED_MAX_DEFAULT: u32 = 4;

/// AWS credentials for guests.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let token = self.session_token.iter().map(|token| ("AWS_SESSION_TOKEN", token));
        [("AWS_ACCESS_KEY_ID", &self.access_key_id), ("AWS_SECRET_ACCESS_KEY", &self.secret_access_key)]
            .into_iter()
            .chain(token)
            .map(|(name, value)| (name.to_owned(), value.clone()))
    }
}

impl Config {
    /// The defaults for a directory: the host's interpreters, exact versions, no credentials, whole cores, frozen
    /// after 50 ms.
    pub fn new(directory: PathBuf, region: Region) -> Self {
        let search = Search::of_host(Vec::new());
        Self {
            region,
            directory,
            search,
            versions: Policy::Exact,
            credentials: None,
            egress: egress::Config::default(),
            endpoint: None,
            cpu_millis_min: 1000,
            freeze_after: FREEZE_AFTER,
            prewarmed_max: PREWARMED_MAX_DEFAULT,
        }
    }
}

/// Why an executor cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the runtimes' files to {directory}: {source}")]
pub struct NewError {
    /// [`Config::directory`]
    directory: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Runs functions as sandboxed processes.
pub struct ProcessExecutor {
    config: Config,
    spawner: Spawner,
    files: RuntimeFiles,
    gate: egress::Gate,
    interpreters: Arc<OnceLock<Vec<Interpreter>>>,
    /// The mounts that all sandboxes have.
    mounts: Vec<Mount>,
    prewarm: Prewarm,
    snapshots: Snapshots,
    bytecode: Bytecode,
}

/// A sandbox whose command executes; what is left of its listeners are those for its egress.
struct Begun {
    sandbox: Sandbox,
    /// Of its Runtime API, where it has one.
    listener: Option<TcpListener>,
    /// To its Runtime API, where the guest has made it already.
    connection: Option<TcpStream>,
}

impl Begun {
    /// Takes the listener of the Runtime API, if it has one, out of `own` that come first.
    fn of(mut sandbox: Sandbox, own: usize) -> Result<Self, Fault> {
        let outward = sandbox.listeners.split_off(own);
        let listener = sandbox.listeners.pop().map(TcpListener::from_std).transpose();
        let listener = listener
            .map_err(|error| Fault::Platform { reason: format!("cannot use the Runtime API's listener: {error}") })?;
        sandbox.listeners = outward;
        Ok(Self { sandbox, listener, connection: None })
    }
}

impl ProcessExecutor {
    /// Writes the runtimes' files and begins to look for interpreters, in the background.
    pub fn new(config: Config, spawner: Spawner) -> Result<Self, NewError> {
        let files = RuntimeFiles::write(&config.directory)
            .map_err(|source| NewError { directory: config.directory.clone(), source })?;
        let mounts = mounts::shared(files.directory(), files.no_package());
        let gate = egress::Gate::new(&config.egress, config.endpoint.clone());
        let prewarm = Prewarm::new(spawner.clone(), updraft_engine::prewarm::Policy::new(config.prewarmed_max));
        let bytecode = Bytecode::new(spawner.clone(), mounts.clone());
        let (interpreters, snapshots) = (Arc::default(), Snapshots::default());
        let executor = Self { config, spawner, files, gate, interpreters, mounts, prewarm, snapshots, bytecode };
        let (interpreters, search) = (executor.interpreters.clone(), executor.config.search.clone());
        // Whoever needs the answer before this thread has it looks for itself or waits for it.
        std::thread::spawn(move || interpreters.get_or_init(|| discover::discover(&search)).len());
        Ok(executor)
    }

    /// The interpreters of this host, by runtime. The first call may wait for discovery to end.
    pub fn interpreters(&self) -> &[Interpreter] {
        self.interpreters.get_or_init(|| discover::discover(&self.config.search))
    }

    /// How prewarming goes.
    pub fn prewarmed(&self) -> Prewarmed {
        self.prewarm.counts()
    }

    /// How copying goes.
    pub fn snapshotted(&self) -> Snapshotted {
        self.snapshots.counts()
    }

    /// Whether an interpreter is ready that this start would be given.
    pub async fn is_prewarmed(&self, start: &Start) -> bool {
        let plan = self.egress(start);
        let Ok(spec) = self.spec(start, &plan).await else { return false };
        self.parts(start, &spec, &plan).is_some_and(|parts| self.prewarm.is_ready(&parts))
    }

    /// Starts a sandbox; once more, if it was lost before its command executed, for then nothing has happened yet.
    async fn spawn(&self, spec: Spec) -> Result<Sandbox, updraft_sandbox::Error> {
        match self.spawner.spawn(spec.clone()).await {
            Err(updraft_sandbox::Error::HelperGone | updraft_sandbox::Error::Setup { .. }) => {
                self.spawner.spawn(spec).await
            }
            other => other,
        }
    }

    /// The parts of a sandbox that may be prewarmed.
    fn parts(&self, start: &Start, spec: &Spec, plan: &egress::Plan) -> Option<prewarm::Parts> {
        let runtime = start.function.configuration.runtime;
        if plan.is_common() { prewarm::divide(spec, runtime, self.files.no_package()) } else { None }
    }

    /// Takes a prewarmed sandbox, or else starts one.
    async fn begin(&self, start: &Start, spec: Spec, plan: &egress::Plan) -> Result<Begun, Fault> {
        if let Some(parts) = self.parts(start, &spec, plan)
            && let Some(begun) = self.prewarm.take(Origin::Interpreter(parts.blank), parts.assignment).await
        {
            return Ok(begun);
        }
        let own_listeners = spec.listen.len();
        let sandbox = self.spawn(spec).await.map_err(|error| launch::fault_of(error, start))?;
        Begun::of(sandbox, own_listeners)
    }

    /// What runtimes and extensions are told of a function.
    fn about(&self, start: &Start) -> About {
        let function = &start.function;
        About {
            function_arn: function.id.arn(&self.config.region),
            function_name: function.id.name.to_string(),
            function_version: function.version.to_string(),
            handler: function.configuration.handler.clone(),
            account: function.id.account.to_string(),
            logging: function.configuration.logging,
            tracing: function.configuration.tracing,
            instance: start.id.to_string(),
            memory_bytes_max: u64::from(function.configuration.memory_mb) << 20,
        }
    }

    fn interpreter(&self, runtime: Runtime) -> Result<(&Interpreter, Support), Unsupported> {
        discover::choose(self.interpreters(), runtime, self.config.versions)
    }
}

/// Whether any of these directories has what a `provided` runtime starts.
fn find_bootstrap(directories: &[&Path]) -> Result<(), Rejected> {
    if directories.iter().any(|directory| directory.join(launch::BOOTSTRAP).is_file()) {
        return Ok(());
    }
    let place = if directories.len() > 1 { "neither the package nor a layer holds a" } else { "the package holds no" };
    Err(Rejected(format!("{place} file named bootstrap at its top; that is what a provided runtime starts")))
}

#[async_trait]
impl Executor for ProcessExecutor {
    fn check(&self, configuration: &Configuration) -> Result<Support, Unsupported> {
        let runtime = configuration.runtime;
        let has_nul = |text: &str| text.contains('\0');
        if configuration.environment.iter().any(|(name, value)| has_nul(name) || has_nul(value)) {
            return Err(Unsupported("an environment variable holds a NUL character".into()));
        }
        let handler = configuration.handler.trim();
        match runtime {
            Runtime::Provided { .. } | Runtime::Image => Ok(Support::Exact),
            Runtime::Wasm => Err(Unsupported("wasm functions do not run as processes".into())),
            _ if has_nul(handler) => Err(Unsupported("the handler holds a NUL character".into())),
            Runtime::Web if handler.is_empty() => Err(Unsupported(
                "the handler of a web function is the command that starts its server; it is empty".into(),
            )),
            Runtime::Web => Ok(Support::Exact),
            Runtime::Python { .. } | Runtime::Nodejs { .. } if handler.is_empty() => Err(Unsupported(
                "the handler is empty; it names a file and a function in it, such as app.handler".into(),
            )),
            Runtime::Python { .. } | Runtime::Nodejs { .. } => self.interpreter(runtime).map(|(_, support)| support),
        }
    }

    fn concurrency(&self, configuration: &Configuration) -> u32 {
        if configuration.runtime == Runtime::Web { WEB_CONCURRENCY } else { 1 }
    }

    fn watch_room(&self, free_mb: watch::Receiver<u64>) {
        self.prewarm.watch_room(free_mb);
    }

    fn spare_memory_mb(&self) -> u64 {
        self.prewarm.memory_mb()
    }

    async fn prepare(&self, function: &Function, package: &Path) -> Result<(), Rejected> {
        match function.configuration.runtime {
            Runtime::Image => image::check(function),
            // With layers, one of them may bring it.
            Runtime::Provided { .. } if function.configuration.layers.is_empty() => find_bootstrap(&[package]),
            runtime @ Runtime::Python { .. } => {
                if let Ok((interpreter, _)) = self.interpreter(runtime) {
                    self.files.python(interpreter).await;
                    self.bytecode.prepare(interpreter, package, TASK_ROOT).await;
                }
                Ok(())
            }
            runtime @ Runtime::Nodejs { .. } => {
                if let Ok((interpreter, _)) = self.interpreter(runtime) {
                    self.bytecode.prepare(interpreter, package, TASK_ROOT).await;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn prepare_layers(&self, function: &Function, package: &Path, layers: &Path) -> Result<(), Rejected> {
        match function.configuration.runtime {
            Runtime::Provided { .. } => find_bootstrap(&[package, layers]),
            runtime @ (Runtime::Python { .. } | Runtime::Nodejs { .. }) => {
                if let Ok((interpreter, _)) = self.interpreter(runtime) {
                    self.bytecode.prepare(interpreter, layers, LAYERS_ROOT).await;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn start(&self, start: Start) -> Result<Arc<dyn Instance>, Fault> {
        let _starting = self.prewarm.starting();
        let plan = self.egress(&start);
        let spec = self.spec(&start, &plan).await?;
        if let Some((begun, original)) = self.begin_copy(&start, &spec).await? {
            let restored = self.follow(begun, plan, &start, self.config.freeze_after, Some(original));
            let limit_ms = u64::try_from(snapshots::RESTORE_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            let restored = tokio::time::timeout(snapshots::RESTORE_TIMEOUT, restored).await;
            return Ok(Arc::new(restored.unwrap_or(Err(Fault::Timeout { limit_ms }))?));
        }
        let programs = spec.companions.programs.iter().map(|program| extensions::name_of(program)).collect();
        let begun = self.begin(&start, spec, &plan).await?;
        if start.function.configuration.runtime == Runtime::Web {
            let (process, ..) = self.process_of(begun, plan, &start, self.config.freeze_after)?;
            return Ok(Arc::new(WebInstance::start(process).await?));
        }
        let role = Role { programs, ..Role::default() };
        Ok(Arc::new(self.runtime_of(begun, plan, &start, self.config.freeze_after, role).await?))
    }

    async fn snapshot(&self, start: Start) -> Result<Snapshot, Fault> {
        self.keep_original(&start).await
    }

    fn forget(&self, version: &VersionId) {
        self.snapshots.forget(version);
        self.prewarm.look_again();
    }
}

/// What a runtime's instance is beside an ordinary one.
#[derive(Default)]
struct Role {
    /// The names of its extensions.
    programs: Vec<String>,
    /// It is to be stopped and copied, and says so by asking to be restored.
    is_original: bool,
    /// What it is a copy of.
    original: Option<Arc<Original>>,
}

impl ProcessExecutor {
    /// Follows a sandbox in which a runtime is an original, or the copy of one.
    async fn follow(
        &self,
        begun: Begun,
        plan: egress::Plan,
        start: &Start,
        freeze_after: Duration,
        original: Option<Arc<Original>>,
    ) -> Result<RuntimeInstance, Fault> {
        let role = Role { programs: Vec::new(), is_original: original.is_none(), original };
        self.runtime_of(begun, plan, start, freeze_after, role).await
    }

    /// Waits until the runtime in a sandbox can take a call, or can be stopped.
    async fn runtime_of(
        &self,
        begun: Begun,
        plan: egress::Plan,
        start: &Start,
        freeze_after: Duration,
        role: Role,
    ) -> Result<RuntimeInstance, Fault> {
        let Role { programs, is_original, original } = role;
        let is_copy = original.is_some();
        let (process, listener, connection, telemetry) = self.process_of(begun, plan, start, freeze_after)?;
        let process = process.with_original(original);
        let listener =
            listener.ok_or_else(|| Fault::Platform { reason: "a sandbox came without its listener".into() })?;
        let entrypoint = |error| launch::fault_of(error, start);
        let at_once = usize::try_from(start.concurrency).unwrap_or(usize::MAX);
        let api = RuntimeApi::new(self.about(start), at_once, programs, telemetry).with_snapshot(is_original, is_copy);
        RuntimeInstance::start(process, listener, connection, api, start, entrypoint).await
    }

    /// Takes charge of a sandbox: its output and its connections to the outside.
    #[allow(clippy::type_complexity, reason = "the parts of what a sandbox came with, for its two callers")]
    fn process_of(
        &self,
        begun: Begun,
        plan: egress::Plan,
        start: &Start,
        freeze_after: Duration,
    ) -> Result<(Process, Option<TcpListener>, Option<TcpStream>, Arc<Telemetry>), Fault> {
        let Begun { mut sandbox, listener, connection } = begun;
        start.guest.reached(Milestone::Sandbox);
        let outward = std::mem::take(&mut sandbox.listeners);
        let platform = |what: &str, error| Fault::Platform { reason: format!("cannot {what}: {error}") };
        let egress = (!plan.is_empty())
            .then(|| egress::Forwarder::start(plan, outward, &self.gate, &start.function.id, start.guest.clone()))
            .transpose()
            .map_err(|error| platform("serve a sandbox's egress", error))?;
        let telemetry = Arc::new(Telemetry::new(start.function.configuration.logging.format));
        let tap = |source| {
            let (guest, telemetry) = (start.guest.clone(), telemetry.clone());
            Arc::new(Tapped { guest, telemetry, source })
        };
        let (guest, beside) = (tap(Source::Function), tap(Source::Extension));
        let process = Process::new(sandbox, guest, beside, freeze_after)
            .map_err(|error| platform("follow a sandbox's output", error))?
            .with_egress(egress);
        Ok((process, listener, connection, telemetry))
    }
}
