//! A package on disk, an executor that runs it, and guests written as WebAssembly text.

#![allow(dead_code, reason = "each user of this module needs a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use updraft_executor::{Call, Executor, Guest, Instance, Rejected, Reply, Start};
use updraft_types::{
    Body, Fault, Function, InstanceId, Payload, RevisionId, Runtime, Timestamp, body,
    function::{Code, Configuration, Reuse, State},
    invocation::Context,
};
use updraft_wasm::{Config, WasmExecutor};

/// The id of every call; making a random one would cost more than some calls do.
const REQUEST: &str = "00000000-0000-4000-8000-000000000001";

/// The component of `examples/edge`.
pub(crate) fn edge() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/edge/hello.wasm");
    std::fs::read(path).expect("the edge example keeps its component in the repository")
}

/// A component whose handler does `body`, in WebAssembly text; see `guest.wat` for what it can call.
pub(crate) fn guest(body: &str) -> Vec<u8> {
    guest_asking("", body)
}

/// The same where `$ask` makes requests to `authority`.
pub(crate) fn guest_asking(authority: &str, body: &str) -> Vec<u8> {
    let (length, text) = (authority.len(), include_str!("../guest.wat"));
    assert!(length < 256);
    let data = format!("(data (i32.const 8188) \"\\{length:02x}\\00\\00\\00{authority}\")\n  (global $body");
    let text = text.replace(";; BODY", body).replacen("(global $body", &data, 1);
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("guest.wit", include_str!("../guest.wit")).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// A temporary directory with a package and a cache in it.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new(component: &[u8]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.package()).unwrap();
        std::fs::write(place.package().join("hello.wasm"), component).unwrap();
        place
    }

    pub(crate) fn package(&self) -> PathBuf {
        self.0.path().join("package")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    pub(crate) fn config(&self) -> Config {
        Config { instances_max: 20, ..Config::new(self.cache(), "us-east-1".parse().unwrap()) }
    }

    pub(crate) fn executor(&self) -> WasmExecutor {
        WasmExecutor::new(self.config()).unwrap()
    }

    /// What `prepare` says against the package, if anything.
    pub(crate) async fn rejection(&self, executor: &WasmExecutor) -> Option<String> {
        executor.prepare(&function(), &self.package()).await.err().map(|Rejected(reason)| reason)
    }

    pub(crate) async fn start(&self, executor: &WasmExecutor) -> Result<(Arc<dyn Instance>, Arc<Log>), Fault> {
        self.start_as(executor, function()).await
    }

    /// Starts an instance of the package as `function` says.
    pub(crate) async fn start_as(
        &self,
        executor: &WasmExecutor,
        function: Function,
    ) -> Result<(Arc<dyn Instance>, Arc<Log>), Fault> {
        let log = Arc::new(Log::default());
        let start = Start {
            id: InstanceId::random(),
            function: Arc::new(function),
            package: self.package().into(),
            layers: None,
            log_stream: "2026/11/23/[$LATEST]0123".into(),
            guest: log.clone(),
            concurrency: 1,
            initialization: updraft_executor::Initialization::OnDemand,
            credentials: None,
        };
        executor.start(start).await.map(|instance| (instance, log))
    }
}

/// Collects what a guest writes.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<u8>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Guest for Log {
    fn log(&self, output: &[u8]) {
        self.0.lock().extend_from_slice(output);
    }
}

/// The function with a fresh guest for each call.
pub(crate) fn fresh() -> Function {
    let mut function = function();
    function.scaling.instances = Reuse::Fresh;
    function
}

pub(crate) fn function() -> Function {
    Function {
        id: updraft_types::FunctionId { account: "000000000000".parse().unwrap(), name: "edge".parse().unwrap() },
        version: Default::default(),
        revision: RevisionId::random(),
        modified_at: Timestamp::from_ms(0),
        configuration: Configuration {
            environment: [("GREETING".to_owned(), "Good \"day\"".to_owned())].into(),
            ..Configuration::new(Runtime::Wasm, "hello.wasm", "arn:aws:iam::000000000000:role/r")
        },
        code: Code { sha256: String::new(), size_bytes: 0, image: None },
        state: State::Active,
        last_update: None,
        tags: Default::default(),
        url: None,
        scaling: Default::default(),
        policies: Default::default(),
        settings: Default::default(),
    }
}

pub(crate) fn call(payload: Payload) -> Call {
    Call {
        request: REQUEST.parse().unwrap(),
        payload,
        context: Context::default(),
        deadline: Clock::now() + Duration::from_secs(60),
        deadline_at: Timestamp::now().plus(Duration::from_secs(60)),
    }
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Payload {
    let request = http::Request::builder().method(method).uri(path).header("host", "edge.test");
    Payload::Http(Box::new(request.body(body).unwrap()))
}

pub(crate) fn get(path: &str) -> Payload {
    request("GET", path, body::empty())
}

/// Puts a call through and reads the whole reply.
pub(crate) async fn answer(
    instance: &Arc<dyn Instance>,
    payload: Payload,
) -> Result<(http::response::Parts, Bytes), Fault> {
    let Reply::Http(response) = instance.clone().call(call(payload)).await? else { panic!("not an HTTP reply") };
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(|error| body::fault_of(error).expect("bodies end with faults"))?;
    Ok((parts, bytes.to_bytes()))
}
