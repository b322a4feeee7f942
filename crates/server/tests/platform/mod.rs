//! A platform for the tests of the doors: a node on a temporary store, instances that echo.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

use std::{
    io::{Cursor, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use updraft_executor::{Call, Executor, Framing, Instance, Rejected, Reply, Start, Support, Unsupported};
use updraft_node::{CapacityLimits, Executors, Handle, PlacementLimits, Service};
use updraft_store::Store;
use updraft_types::{Fault, Function, Payload, body, function::Configuration};

/// A running platform.
pub(crate) struct Platform {
    pub(crate) address: SocketAddr,
    pub(crate) node: Handle,
    /// The door for guests, if it was asked for.
    pub(crate) guests: Option<SocketAddr>,
    stop: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.header("x-amzn-errortype")
    }
}

impl Platform {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings of the doors.
    pub(crate) async fn start_with(change: impl FnOnce(&mut updraft_server::Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = updraft_store::Config { directory: directory.path().to_owned() };
        let config = updraft_node::Config {
            capacity: CapacityLimits { memory_mb_max: 10_000, instances_max: 100 },
            // How busy the machine is must not decide what a test sees.
            placement: PlacementLimits { busy_instances_max: 1_000, ..PlacementLimits::default() },
            ..updraft_node::Config::new("us-east-1".parse().unwrap(), directory.path())
        };
        let executor = Arc::new(Echo);
        let executors = Executors { process: executor.clone(), wasm: executor };
        let (service, node) = Service::open(config, Store::open(store).await.unwrap(), executors).await.unwrap();
        let mut config = updraft_server::Config::new("127.0.0.1:0".parse().unwrap(), "000000000000".parse().unwrap());
        config.authentication = updraft_server::Authentication::Off;
        config.roles = updraft_server::Roles::Optional;
        change(&mut config);
        let server = updraft_server::bind(config, node.clone()).await.unwrap();
        let (address, guests) = (server.local_addr(), server.guest_addr());
        let (stop_server, server_stopped) = oneshot::channel();
        let (stop_node, node_stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async {
            let _ = server_stopped.await;
        }));
        let service = tokio::spawn(service.run(async {
            let _ = node_stopped.await;
        }));
        let (stop, tasks) = (vec![stop_server, stop_node], vec![server, service]);
        Self { address, node, guests, stop, tasks, _directory: directory }
    }

    /// Stops the doors, then the node, and waits for both.
    pub(crate) async fn stop(self) {
        for (stop, task) in self.stop.into_iter().zip(self.tasks) {
            stop.send(()).unwrap();
            task.await.unwrap();
        }
    }

    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_to(self.address, method, target, headers, body).await
    }

    /// The same, to another of its addresses.
    pub(crate) async fn send_to(
        &self,
        address: SocketAddr,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(target);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(client);
        // A server that refuses a body early may close before the client has sent it all.
        let _ = connection.await.unwrap();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    /// CreateFunction with `changes` to the usual parameters.
    pub(crate) async fn create(&self, name: &str, runtime: &str, changes: Value) -> Answer {
        let mut parameters = json!({
            "FunctionName": name,
            "Runtime": runtime,
            "Role": "arn:aws:iam::000000000000:role/r",
            "Handler": "app.handler",
            "Code": { "ZipFile": BASE64.encode(zip("app.py", name.as_bytes())) },
        });
        parameters.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.send("POST", "/2015-03-31/functions", &[], &parameters.to_string()).await
    }

    /// Waits as boto3's waiters do.
    pub(crate) async fn settled(&self, name: &str) {
        for _ in 0..1_000 {
            let now = self.get(&format!("/2015-03-31/functions/{name}/configuration")).await.json();
            if now["State"] == "Active" && now["LastUpdateStatus"] == "Successful" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} did not settle");
    }

    /// AddPermission, as a public URL needs it.
    pub(crate) async fn allow_everybody(&self, name: &str) {
        let (name, qualifier) = name.split_once(':').unwrap_or((name, ""));
        let query = if qualifier.is_empty() { String::new() } else { format!("?Qualifier={qualifier}") };
        let target = format!("/2015-03-31/functions/{name}/policy{query}");
        for (sid, statement) in [
            ("url", json!({ "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE" })),
            ("call", json!({ "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": true })),
        ] {
            let mut statement = statement;
            statement["StatementId"] = sid.into();
            statement["Principal"] = "*".into();
            assert_eq!(self.send("POST", &target, &[], &statement.to_string()).await.status, 201);
        }
    }

    /// CreateFunctionUrlConfig, for everybody where it asks for no signature; answers the URL's host and port.
    pub(crate) async fn create_url(&self, name: &str, parameters: Value) -> String {
        let target = format!("/2021-10-31/functions/{name}/url");
        let created = self.send("POST", &target, &[], &parameters.to_string()).await;
        assert_eq!(created.status, 201);
        if parameters["AuthType"] == "NONE" {
            self.allow_everybody(name).await;
        }
        let url = created.json()["FunctionUrl"].as_str().unwrap().to_owned();
        url.strip_prefix("http://").unwrap().strip_suffix('/').unwrap().to_owned()
    }
}

/// A zip of one file.
pub(crate) fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Runs functions that answer with what they get. `"fail"`, or a URL's path `/fail`, makes one raise.
struct Echo;

#[async_trait]
impl Executor for Echo {
    fn check(&self, _: &Configuration) -> Result<Support, Unsupported> {
        Ok(Support::Exact)
    }

    fn concurrency(&self, _: &Configuration) -> u32 {
        1
    }

    async fn prepare(&self, _: &Function, _: &Path) -> Result<(), Rejected> {
        Ok(())
    }

    async fn start(&self, _: Start) -> Result<Arc<dyn Instance>, Fault> {
        Ok(Arc::new(EchoInstance(AtomicBool::new(true))))
    }
}

struct EchoInstance(AtomicBool);

#[async_trait]
impl Instance for EchoInstance {
    async fn call(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        match call.payload {
            Payload::Event(event) => {
                let document: Value = serde_json::from_slice(&event).unwrap();
                if document == "fail" || document["rawPath"] == "/fail" {
                    let body = json!({ "errorType": "Oops", "errorMessage": "as asked" }).to_string().into();
                    return Err(Fault::Handler { error_type: "Oops".into(), body });
                }
                if let Some(pieces) = document["stream"].as_array().cloned() {
                    // Pieces as they are; one that is no text is how the function fails.
                    let frames = futures_util::stream::iter(pieces.into_iter().map(|piece| match piece {
                        Value::String(text) => Ok(http_body::Frame::data(Bytes::from(text))),
                        _ => Err(updraft_types::BoxError::from(Fault::Crash { reason: "as asked".into() })),
                    }));
                    let body = http_body_util::StreamBody::new(frames).boxed_unsync();
                    return Ok(Reply::Event { framing: Framing::Stream, body });
                }
                let reply = match document["rawPath"].as_str() {
                    Some("/envelope") => {
                        json!({ "statusCode": 201, "headers": { "X-A": "b" }, "body": "made" }).to_string().into()
                    }
                    _ => event,
                };
                Ok(Reply::Event { framing: Framing::Value, body: body::full(reply) })
            }
            Payload::Http(request) => {
                let seen = format!(
                    "{} {} private={} from={}",
                    request.method(),
                    request.uri(),
                    request.headers().contains_key("x-b"),
                    request.headers().get("x-forwarded-for").map_or("", |from| from.to_str().unwrap()),
                );
                let response = http::Response::builder().header("x-seen", seen);
                Ok(Reply::Http(response.body(request.into_body()).unwrap()))
            }
        }
    }

    fn is_alive(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn memory_bytes_max(&self) -> u64 {
        0
    }

    async fn stop(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
