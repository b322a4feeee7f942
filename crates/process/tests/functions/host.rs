//! A process executor on a temporary directory, and functions to run on it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::BodyExt;
use tempfile::TempDir;
use updraft_executor::{Executor, Instance, Reply, Start};
use updraft_process::{Config, ProcessExecutor};
use updraft_sandbox::{Require, Spawner};
use updraft_types::{Fault, Function, InstanceId, Payload, Runtime};

use crate::testing::{self, Lines};

/// Everything that runs functions.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) executor: Arc<ProcessExecutor>,
    /// Below which its control groups are.
    pub(crate) cgroup_name: String,
    starts: Starts,
    directory: Arc<TempDir>,
}

/// How this host's Python and Node.js functions start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starts {
    Cold,
    /// In an interpreter that ran before.
    Prewarmed,
}

/// A function and its package.
pub(crate) struct Deployed {
    pub(crate) function: Function,
    pub(crate) package: Arc<TempDir>,
    layers: Option<Arc<TempDir>>,
    host: Host,
}

/// A started instance and what it has written.
pub(crate) struct Running {
    pub(crate) instance: Arc<dyn Instance>,
    pub(crate) output: Arc<Lines>,
    _package: Arc<TempDir>,
    _layers: Option<Arc<TempDir>>,
}

impl Host {
    pub(crate) fn new(starts: Starts) -> Self {
        let host = Self::with(|config| config.prewarmed_max = if starts == Starts::Prewarmed { 2 } else { 0 });
        Self { starts, ..host }
    }

    /// With another configuration of the executor, and cold starts.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        static HOSTS: AtomicUsize = AtomicUsize::new(0);
        let directory = tempfile::tempdir().unwrap();
        // Whoever starts under a name removes what others left there.
        let cgroup_name = format!("updraft-test-{}-{}", std::process::id(), HOSTS.fetch_add(1, Ordering::Relaxed));
        let sandboxes = updraft_sandbox::Config { cgroup_name: cgroup_name.clone(), require: Require::BestEffort };
        let spawner = Spawner::start(sandboxes).unwrap();
        let mut config = Config::new(directory.path().join("runtime"), "us-east-1".parse().unwrap());
        config.prewarmed_max = 0;
        change(&mut config);
        let executor = Arc::new(ProcessExecutor::new(config, spawner).unwrap());
        Self { executor, starts: Starts::Cold, cgroup_name, directory: Arc::new(directory) }
    }

    /// The same; functions have to start this way.
    pub(crate) fn starting(self, starts: Starts) -> Self {
        Self { starts, ..self }
    }

    /// Where the executor keeps its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The newest Python here.
    pub(crate) fn python(&self) -> String {
        self.newest(|runtime| matches!(runtime, Runtime::Python { .. }))
    }

    /// The newest Node.js here.
    pub(crate) fn nodejs(&self) -> String {
        self.newest(|runtime| matches!(runtime, Runtime::Nodejs { .. }))
    }

    fn newest(&self, is_it: impl Fn(Runtime) -> bool) -> String {
        let interpreters = self.executor.interpreters();
        let newest = interpreters.iter().rfind(|interpreter| is_it(interpreter.runtime));
        newest.expect("these tests need both Python 3 and Node.js on the host").runtime.to_string()
    }

    pub(crate) fn deploy(&self, runtime: &str, handler: &str, files: &[(&str, &str)]) -> Deployed {
        let package = Arc::new(directory_of(files));
        Deployed { function: testing::function(runtime, handler), package, layers: None, host: self.clone() }
    }

    /// Has an interpreter running for functions like this one.
    pub(crate) async fn prewarm(&self, function: &Function) {
        let (name, code) = match function.configuration.runtime {
            Runtime::Python { .. } => ("app.py", "def handler(event, context): pass\n"),
            _ => ("app.js", "exports.handler = async () => {};\n"),
        };
        let mut plain = self.deploy(&function.configuration.runtime.to_string(), "app.handler", &[(name, code)]);
        plain.function.configuration.memory_mb = function.configuration.memory_mb;
        let start = testing::start(plain.function.clone(), plain.package.path(), Lines::new());
        self.executor.start(start).await.unwrap().stop().await;
        let again = testing::start(plain.function.clone(), plain.package.path(), Lines::new());
        while !self.executor.is_prewarmed(&again).await {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

/// A directory with these files, which everyone may read; bootstraps, extensions and wrappers are executable.
fn directory_of(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    readable(directory.path(), 0o755);
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        readable(path.parent().unwrap(), 0o755);
        let runs = name.ends_with("bootstrap") || name.starts_with("extensions/") || name.contains("wrapper");
        readable(&path, if runs { 0o755 } else { 0o644 });
    }
    directory
}

pub(crate) fn readable(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

impl Deployed {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Function)) -> Self {
        change(&mut self.function);
        self
    }

    /// With these files at `/opt`.
    pub(crate) fn with_layers(self, files: &[(&str, &str)]) -> Self {
        Self { layers: Some(Arc::new(directory_of(files))), ..self }
    }

    /// The directory that it has at `/opt`.
    pub(crate) fn layers(&self) -> Option<PathBuf> {
        self.layers.as_ref().map(|layers| layers.path().to_owned())
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A start whose output nobody reads.
    pub(crate) fn start_of_nobody(&self) -> Start {
        self.start_of(Lines::new())
    }

    fn start_of(&self, output: Arc<Lines>) -> Start {
        let layers = self.layers.as_ref().map(|layers| layers.path().into());
        Start { layers, ..testing::start(self.function.clone(), self.package.path(), output) }
    }

    fn running(&self, instance: Arc<dyn Instance>, output: Arc<Lines>) -> Running {
        Running { instance, output, _package: self.package.clone(), _layers: self.layers.clone() }
    }

    pub(crate) async fn try_start(&self) -> (Result<Arc<dyn Instance>, Fault>, Arc<Lines>) {
        self.try_start_as(InstanceId::random()).await
    }

    async fn try_start_as(&self, id: InstanceId) -> (Result<Arc<dyn Instance>, Fault>, Arc<Lines>) {
        let executor = &self.host.executor;
        executor.check(&self.function.configuration).unwrap();
        executor.prepare(&self.function, self.package.path()).await.unwrap();
        let has_interpreter = !matches!(self.function.configuration.runtime, Runtime::Provided { .. } | Runtime::Web);
        let must_be_served = self.host.starts == Starts::Prewarmed && has_interpreter;
        if must_be_served {
            self.host.prewarm(&self.function).await;
        }
        let served = executor.prewarmed().served;
        let output = Lines::new();
        let start = self.start_of(output.clone());
        let started = executor.start(Start { id, ..start }).await;
        assert_eq!(executor.prewarmed().served, served + u64::from(must_be_served), "how it started");
        (started, output)
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_as(InstanceId::random()).await
    }

    /// Starts it under a name of the caller's choosing.
    pub(crate) async fn start_as(&self, id: InstanceId) -> Running {
        let (instance, output) = self.try_start_as(id).await;
        match instance {
            Ok(instance) => self.running(instance, output),
            Err(fault) => panic!("it did not start: {fault:?}\n{}", output.text()),
        }
    }

    /// Starts it in whatever there is.
    pub(crate) async fn start_plainly(&self) -> Running {
        let output = Lines::new();
        let start = self.start_of(output.clone());
        let instance = self.host.executor.start(start).await;
        let instance = instance.unwrap_or_else(|fault| panic!("it did not start: {fault:?}\n{}", output.text()));
        self.running(instance, output)
    }

    /// The fault that keeps it from starting.
    pub(crate) async fn start_fault(&self) -> Fault {
        let (started, output) = self.try_start().await;
        started.err().unwrap_or_else(|| panic!("it started\n{}", output.text()))
    }
}

impl Running {
    pub(crate) async fn reply(&self, event: impl Into<Bytes>) -> Result<Reply, Fault> {
        self.instance.clone().call(testing::call(Payload::Event(event.into()))).await
    }

    /// The whole answer, as text.
    pub(crate) async fn call(&self, event: impl Into<Bytes>) -> Result<String, Fault> {
        match self.reply(event).await? {
            Reply::Event { body, .. } => Ok(text(body).await?),
            Reply::Http(response) => Ok(text(response.into_body()).await?),
        }
    }

    /// The answer, as text; anything else ends the test.
    pub(crate) async fn answer(&self, event: impl Into<Bytes>) -> String {
        let called = self.call(event).await;
        called.unwrap_or_else(|fault| panic!("{fault:?}\n{}", self.output.text()))
    }

    /// The error the handler reported: its type and body.
    pub(crate) async fn handler_error(&self, event: impl Into<Bytes>) -> (String, String) {
        match self.call(event).await {
            Err(Fault::Handler { error_type, body }) => (error_type, String::from_utf8_lossy(&body).into_owned()),
            other => panic!("{other:?}\n{}", self.output.text()),
        }
    }
}

pub(crate) async fn text(body: updraft_types::Body) -> Result<String, Fault> {
    match body.collect().await {
        Ok(collected) => Ok(String::from_utf8(collected.to_bytes().to_vec()).unwrap()),
        Err(error) => Err(updraft_types::body::fault_of(error).unwrap()),
    }
}

/// The fault of an init error, as its type and body.
pub(crate) fn init_error(fault: Fault) -> (String, String) {
    match fault {
        Fault::Init { error_type, body } => (error_type, String::from_utf8_lossy(&body).into_owned()),
        other => panic!("{other:?}"),
    }
}
