//! What tests of this crate have in common. The integration tests include this file too.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream};
use updraft_executor::{Call, Guest, Milestone, Start, egress::Outside};
use updraft_types::{
    Function, InstanceId, Payload, RequestId, RevisionId, Timestamp,
    egress::HostName,
    function::{Code, Configuration, State},
    image::{Image, Program},
    invocation::Context,
};

/// A guest's output, kept.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<u8>>, Mutex<Vec<Milestone>>);

impl Lines {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What the start passed, in order.
    pub(crate) fn milestones(&self) -> Vec<Milestone> {
        self.1.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Guest for Lines {
    fn log(&self, output: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(output);
    }

    fn reached(&self, milestone: Milestone) {
        self.1.lock().unwrap().push(milestone);
    }
}

/// An active function called `hello`.
pub(crate) fn function(runtime: &str, handler: &str) -> Function {
    Function {
        id: updraft_types::FunctionId { account: "000000000000".parse().unwrap(), name: "hello".parse().unwrap() },
        version: Default::default(),
        revision: RevisionId::random(),
        modified_at: Timestamp::from_ms(0),
        configuration: Configuration {
            memory_mb: 256,
            ..Configuration::new(runtime.parse().unwrap(), handler, "arn:aws:iam::000000000000:role/r")
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

/// The same as a container image with this entry point and environment.
pub(crate) fn image(entry_point: &[&str], environment: &[(&str, &str)]) -> Function {
    let mut function = function("image", "");
    let program = Program {
        entry_point: entry_point.iter().map(|word| (*word).to_owned()).collect(),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Program::default()
    };
    let account = function.id.account.clone();
    function.code.image =
        Some(Image { account, uri: "hello:v1".to_owned(), resolved: "hello@sha256:0".to_owned(), program });
    function
}

/// The start of an instance of it.
pub(crate) fn start(function: Function, package: &Path, guest: Arc<dyn Guest>) -> Start {
    Start {
        id: InstanceId::random(),
        function: Arc::new(function),
        package: package.into(),
        layers: None,
        log_stream: "2026/11/23/[$LATEST]0".to_owned(),
        guest,
        concurrency: 1,
        initialization: updraft_executor::Initialization::OnDemand,
        credentials: None,
    }
}

/// A call with this payload and ten seconds to answer.
pub(crate) fn call(payload: Payload) -> Call {
    let limit = Duration::from_secs(10);
    Call {
        request: RequestId::random(),
        payload,
        context: Context::default(),
        deadline: std::time::Instant::now() + limit,
        deadline_at: Timestamp::now().plus(limit),
    }
}

/// Lets guests, who are another user, into a temporary directory.
pub(crate) fn make_readable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A world outside in which names lead to addresses, and addresses to listeners on this host.
#[derive(Default)]
pub(crate) struct World {
    names: HashMap<&'static str, Vec<&'static str>>,
    places: Mutex<HashMap<SocketAddr, SocketAddr>>,
    connected: Mutex<Vec<SocketAddr>>,
}

impl World {
    /// What the platform's host calls itself in it.
    pub(crate) const OWN: &str = "10.0.0.99";

    pub(crate) fn new(names: &[(&'static str, &[&'static str])]) -> Arc<Self> {
        let names = names.iter().map(|(name, addresses)| (*name, addresses.to_vec())).collect();
        Arc::new(Self { names, ..Self::default() })
    }

    /// A listener at `address`.
    pub(crate) async fn place(&self, address: &str) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        self.places.lock().unwrap().insert(address.parse().unwrap(), at);
        listener
    }

    /// How often somebody has tried to connect to something.
    pub(crate) fn connected(&self) -> usize {
        self.connected.lock().unwrap().len()
    }
}

#[async_trait]
impl Outside for World {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        let found = self.names.get(name.as_str()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(found.iter().map(|address| address.parse().unwrap()).collect())
    }

    fn is_own(&self, address: IpAddr) -> io::Result<bool> {
        Ok(address == Self::OWN.parse::<IpAddr>().unwrap())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().unwrap().push(address);
        let place = self.places.lock().unwrap().get(&address).copied();
        TcpStream::connect(place.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?).await
    }
}
