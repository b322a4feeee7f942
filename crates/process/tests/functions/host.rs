//! A process executor on a temporary directory, and functions to run on it.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http_body_util::BodyExt;
use tempfile::TempDir;
use updraft_executor::{Executor, Instance, Reply};
use updraft_process::{Config, ProcessExecutor};
use updraft_sandbox::{Require, Spawner};
use updraft_types::{Fault, Function, Payload, Runtime};

use crate::testing::{self, Lines};

/// Everything that runs functions.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) executor: Arc<ProcessExecutor>,
    _directory: Arc<TempDir>,
}

/// A function and its package.
pub(crate) struct Deployed {
    pub(crate) function: Function,
    pub(crate) package: Arc<TempDir>,
    executor: Arc<ProcessExecutor>,
}

/// A started instance and what it has written.
pub(crate) struct Running {
    pub(crate) instance: Arc<dyn Instance>,
    pub(crate) output: Arc<Lines>,
    _package: Arc<TempDir>,
}

pub(crate) fn cgroup_name() -> String {
    format!("updraft-test-{}", std::process::id())
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With another configuration of the executor.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cgroup_name = cgroup_name();
        let spawner = Spawner::start(updraft_sandbox::Config { cgroup_name, require: Require::BestEffort }).unwrap();
        let mut config = Config::new(directory.path().join("runtime"), "us-east-1".parse().unwrap());
        change(&mut config);
        let executor = Arc::new(ProcessExecutor::new(config, spawner).unwrap());
        Self { executor, _directory: Arc::new(directory) }
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
        let package = Arc::new(tempfile::tempdir().unwrap());
        readable(package.path(), 0o755);
        for (name, content) in files {
            let path = package.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            readable(path.parent().unwrap(), 0o755);
            readable(&path, if name.ends_with("bootstrap") { 0o755 } else { 0o644 });
        }
        Deployed { function: testing::function(runtime, handler), package, executor: self.executor.clone() }
    }
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

    pub(crate) async fn try_start(&self) -> (Result<Arc<dyn Instance>, Fault>, Arc<Lines>) {
        let output = Lines::new();
        self.executor.check(&self.function.configuration).unwrap();
        self.executor.prepare(&self.function, self.package.path()).await.unwrap();
        let start = testing::start(self.function.clone(), self.package.path(), output.clone());
        (self.executor.start(start).await, output)
    }

    pub(crate) async fn start(&self) -> Running {
        let (instance, output) = self.try_start().await;
        match instance {
            Ok(instance) => Running { instance, output, _package: self.package.clone() },
            Err(fault) => panic!("it did not start: {fault:?}\n{}", output.text()),
        }
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
