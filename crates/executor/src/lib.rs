//! What it means to run an instance of a function: the two traits that `wasm` and `process` implement and
//! `node` drives, and a [`fake`] for tests.
//!
//! An executor knows nothing of queues, limits, billing or HTTP doors. It is asked to prepare a package, to
//! start an instance, and to put calls through it. What a guest says on the way (log output) goes to the
//! [`Guest`] it was given; who listens there is not the executor's business.
//!
//! Invariant: dropping a call's future, or its reply's body before the end, abandons that call. An instance
//! that cannot recover from that says so through [`Instance::is_alive`] and is never called again.

pub mod credentials;
pub mod egress;
pub mod fake;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
pub use credentials::Credentials;
use tokio::sync::watch;
use updraft_types::{
    Body, Fault, Function, InstanceId, Payload, RequestId, Timestamp, VersionId, function::Configuration,
    invocation::Context,
};

/// Runs one family of runtimes.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Whether this host can run a function so configured. Called before anything is stored; must be quick.
    fn check(&self, configuration: &Configuration) -> Result<Support, Unsupported>;

    /// How many calls one instance takes at once.
    fn concurrency(&self, configuration: &Configuration) -> u32;

    /// Readies the unpacked package at `package` for starting (compiles wasm, checks entry points). Called at
    /// deploy and again after a restart; doing it twice is harmless. `package` is named by content and shared
    /// by functions with equal code.
    async fn prepare(&self, function: &Function, package: &Path) -> Result<(), Rejected>;

    /// The same for the function's layers, where it has any: `layers` is what guests will see at `/opt`, several layers
    /// joined. Called after [`Executor::prepare`].
    async fn prepare_layers(&self, _: &Function, _package: &Path, _layers: &Path) -> Result<(), Rejected> {
        Ok(())
    }

    /// Is told once, before the first start, where it reads how many MB of what the node may hold its instances leave.
    /// What an executor keeps ready without a function has to fit in there, and is given up when it no longer does.
    fn watch_room(&self, _free_mb: watch::Receiver<u64>) {}

    /// Memory of what it keeps ready without a function, MB.
    fn spare_memory_mb(&self) -> u64 {
        0
    }

    /// Makes ready what instances of a published version with SnapStart are copied from, before the first of them is
    /// started. An executor makes it again by itself when it has been lost.
    ///
    /// # Errors
    /// The function could not be initialised.
    async fn snapshot(&self, _: Start) -> Result<Snapshot, Fault> {
        Ok(Snapshot::Off("its runtime has no snapshots".to_owned()))
    }

    /// Lets go of what it holds for a version, which has been deleted.
    fn forget(&self, _: &VersionId) {}

    /// Starts an instance and waits until it can take a call. The caller bounds the time by dropping the
    /// future, which leaves nothing behind.
    async fn start(&self, start: Start) -> Result<Arc<dyn Instance>, Fault>;
}

/// Whether instances will be copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// They will.
    On,
    /// They start like any other; the text tells the author why.
    Off(String),
    /// They will once something passes that has nothing to do with the function; the text tells the operator what.
    Later(String),
}

/// A configuration that can run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// Exactly as asked.
    Exact,
    /// By a near equivalent; the text warns the author and names what runs instead.
    Nearest(String),
}

/// A configuration that cannot run here; the text names what is there instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

/// A package that can never start; the text is for the author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

/// What an executor needs to start an instance.
pub struct Start {
    /// The instance's identity, also the end of its log stream's name.
    pub id: InstanceId,
    /// The function it will serve for all its life.
    pub function: Arc<Function>,
    /// The unpacked package, as given to [`Executor::prepare`].
    pub package: Arc<Path>,
    /// The unpacked layers, which guests see at `/opt`; `None` without any. Programs in its `extensions` run beside
    /// the runtime.
    pub layers: Option<Arc<Path>>,
    /// The log stream's name, shown to the guest in its environment.
    pub log_stream: String,
    /// Where the guest's output goes.
    pub guest: Arc<dyn Guest>,
    /// How many calls it will be given at once, at most.
    pub concurrency: u32,
    /// Why it is started.
    pub initialization: Initialization,
    /// What the guest acts by towards the platform's services; `None` if its role gives it nothing.
    pub credentials: Option<Credentials>,
}

/// Why an instance is started, as guests are told in `AWS_LAMBDA_INITIALIZATION_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialization {
    /// For a call, or for one that is expected.
    OnDemand,
    /// It is one of those that are provisioned of its version.
    Provisioned,
}

impl Initialization {
    /// Lambda's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Provisioned => "provisioned-concurrency",
        }
    }
}

/// What a running guest may ask of the platform.
pub trait Guest: Send + Sync + 'static {
    /// Takes output as it comes, in pieces of any size. Never blocks; a guest that floods loses output, and
    /// the log says how much.
    fn log(&self, output: &[u8]);

    /// Is told how far the start has come, as far as an executor can tell; a start that returns has passed them all.
    fn reached(&self, _milestone: Milestone) {}
}

/// What a start passes on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// Its sandbox is made and its process runs.
    Sandbox,
    /// Its process is a copy of one that has been initialised before.
    Copy,
    /// Its runtime runs and has first spoken to the platform.
    Runtime,
}

/// One running instance. Calls may overlap up to [`Executor::concurrency`].
#[async_trait]
pub trait Instance: Send + Sync + 'static {
    /// Puts one call through. Whatever the guest wrote before the reply's end has been handed to
    /// [`Guest::log`] by then. A failure after the reply began ends its body with the [`Fault`] as the error.
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault>;

    /// Whether it may be called again. False after an exit, an abandoned call it cannot recover from, or stop.
    fn is_alive(&self) -> bool;

    /// Whether nothing of the calls that have been answered is still being worked on.
    fn is_settled(&self) -> bool {
        true
    }

    /// Waits until that is so, or the instance is no longer alive; at most until the last call's deadline. An instance
    /// is not idle before.
    async fn settled(&self) {}

    /// The most memory the instance has held so far, bytes; 0 where that cannot be measured.
    fn memory_bytes_max(&self) -> u64;

    /// Processor time it has used so far; `None` where that cannot be measured, or is not spent in processes of its own.
    fn processor_time(&self) -> Option<Duration> {
        None
    }

    /// Ends it and waits until nothing of it is left. Dropping the last handle does the same without waiting.
    async fn stop(&self);
}

/// One call.
pub struct Call {
    /// The invocation's id.
    pub request: RequestId,
    /// What to work on.
    pub payload: Payload,
    /// Carried through to the guest.
    pub context: Context,
    /// When the caller will give up. Enforced by the caller; guests are told so they can hurry.
    pub deadline: Instant,
    /// The same instant by the wall clock.
    pub deadline_at: Timestamp,
}

/// What a guest answered.
#[derive(Debug)]
pub enum Reply {
    /// A runtime's return value.
    Event {
        /// How the bytes are to be read by a door that speaks HTTP.
        framing: Framing,
        /// At most [`updraft_types::limits::PAYLOAD_BYTES_MAX`] unless streaming.
        body: Body,
    },
    /// An HTTP response.
    Http(http::Response<Body>),
}

/// How an event reply's bytes map to HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A JSON value, whole.
    Value,
    /// Written as a stream, without a prelude.
    Stream,
    /// `application/vnd.awslambda.http-integration-response`: JSON prelude, eight NUL bytes, body.
    HttpIntegration,
}
