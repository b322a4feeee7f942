//! The doors: everything that reaches the platform over HTTP comes in here.
//!
//! One port serves Lambda's control and invoke API, function URLs (by host name and under `/fn/NAME/`), metrics and
//! the admin door. This crate reads requests, checks them, and words answers; what is done, `node` does. It refuses to
//! listen beyond loopback unless requests are authenticated and protected on their way.
//!
//! Invariants: every buffer is bounded; only `error` knows status codes, public codes and public texts; a function
//! URL's request costs one catalog snapshot, one host parse and one invocation.

mod admin;
mod api_error;
mod authenticate;
mod aws_json;
mod body;
mod call;
mod connection;
mod detach;
mod doors;
mod error;
#[doc(hidden)]
pub mod event_stream;
mod forwarded;
mod function_url;
mod guard;
mod iam;
mod json;
mod lambda;
mod link;
mod logs;
mod metrics;
mod patience;
mod query_protocol;
mod respond;
mod route;
mod scope;
mod secretsmanager;
mod service;
#[doc(hidden)]
pub mod signature;
mod ssm;
mod stall;
mod sts;
mod tags;
mod tls;
mod trace;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use updraft_types::{AccountId, egress::Network, limits::STREAM_BYTES_MAX};

use crate::{connection::Peer, doors::Doors};
pub use tls::{Tls, TlsError, Transport};

/// Time to rest when the system has no more file descriptors to accept with.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Whether requests to AWS services and to the admin door have to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Each has to be signed with an access key that is known here.
    Required,
    /// Whoever asks is the root user. On loopback addresses only, and for requests that name such an address.
    Off,
}

/// Whether a function's role has to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// A function is given none that Lambda cannot assume, as on AWS.
    Required,
    /// Any of its account's names goes; without such a role it runs without credentials.
    Optional,
}

/// An access key of the root user. Its debug form keeps the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKey {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey({})", self.access_key_id)
    }
}

/// How the doors are to be opened. [`Config::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 takes any free port. Beyond loopback only with authentication and a transport that is
    /// not plain.
    pub listen: SocketAddr,
    /// What protects requests on their way.
    pub transport: Transport,
    /// Proxies whose word about whose requests they pass on counts: `X-Forwarded-For`.
    pub trusted_proxies: Vec<Network>,
    /// The root user's account.
    pub account: AccountId,
    /// Whether requests have to be signed.
    pub authentication: Authentication,
    /// What a function's role has to be. Without authentication none is looked at.
    pub roles: Roles,
    /// The root user's access key; without one only keys of other users count.
    pub root: Option<RootKey>,
    /// Most connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Longest a connection may take to send a request's headers, or stay idle between two requests.
    pub header_read_timeout: Duration,
    /// Longest pause within a request body that has to be read whole.
    pub body_pause_max: Duration,
    /// Longest a client may leave an answer unread before its connection is closed.
    pub write_stall_max: Duration,
    /// Most bytes of request bodies held in memory at once, over all connections.
    pub body_bytes_in_flight_max: usize,
    /// Most bytes that a function may write in answer to one InvokeWithResponseStream.
    pub stream_bytes_max: u64,
    /// How long running requests may take to finish once the server is told to stop.
    pub drain_max: Duration,
    /// Whether there is a door for running functions: at a loopback address of its own ([`Server::guest_addr`]), with the
    /// AWS services behind it and nothing else.
    pub has_guest_door: bool,
}

impl Config {
    /// The defaults, for an address and an account.
    pub fn new(listen: SocketAddr, account: AccountId) -> Self {
        Self {
            listen,
            transport: Transport::Plain,
            trusted_proxies: Vec::new(),
            account,
            authentication: Authentication::Required,
            roles: Roles::Required,
            root: None,
            connections_max: 4_096,
            header_read_timeout: Duration::from_secs(60),
            body_pause_max: Duration::from_secs(30),
            write_stall_max: Duration::from_secs(60),
            body_bytes_in_flight_max: 512 << 20,
            stream_bytes_max: STREAM_BYTES_MAX,
            drain_max: Duration::from_secs(10),
            has_guest_door: false,
        }
    }
}

/// Why the doors could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can be reached from other machines, and requests are not authenticated.
    #[error(
        "refusing to listen on {address}: requests are not authenticated, so anyone who can reach the port could run \
         code here; have them authenticated, or listen on a loopback address such as 127.0.0.1:4566"
    )]
    NotAuthenticated {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address can be reached from other machines, and nothing protects what goes over the wire.
    #[error(
        "refusing to listen on {address} without TLS: give it a certificate, say that a proxy in front has one, or \
         listen on a loopback address such as 127.0.0.1:4566"
    )]
    NotProtected {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Another process listens there.
    #[error("{address} is already in use by another process; stop it or choose another port")]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("listening on {address} failed: {source}")]
    Io {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Open doors; requests wait until [`Server::run`] is called.
pub struct Server {
    listener: TcpListener,
    guests: Option<TcpListener>,
    address: SocketAddr,
    config: Config,
    doors: Arc<Doors>,
    stopping: watch::Sender<bool>,
}

/// Listens. Refuses to be reachable from elsewhere by anyone, or by way of a wire that anyone can read.
pub async fn bind(config: Config, node: updraft_node::Handle) -> Result<Server, BindError> {
    let address = config.listen;
    if !address.ip().is_loopback() {
        if config.authentication == Authentication::Off {
            return Err(BindError::NotAuthenticated { address });
        }
        if matches!(config.transport, Transport::Plain) {
            return Err(BindError::NotProtected { address });
        }
    }
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Io { address, source },
    })?;
    let local = listener.local_addr().map_err(|source| BindError::Io { address, source })?;
    let guests = match config.has_guest_door {
        false => None,
        true => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Some(TcpListener::bind(address).await.map_err(|source| BindError::Io { address, source })?)
        }
    };
    let (stopping, stopped) = watch::channel(false);
    let doors = Arc::new(Doors::new(&config, local, node, stopped));
    Ok(Server { listener, guests, address: local, config, doors, stopping })
}

impl Server {
    /// Where it listens; the port is the one really bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where the door for running functions is, if there is one.
    pub fn guest_addr(&self) -> Option<SocketAddr> {
        self.guests.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` completes. Then it stops accepting, lets running requests finish for at most
    /// [`Config::drain_max`], and closes what is left.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, guests, config, doors, stopping, .. } = self;
        let slots = Arc::new(Semaphore::new(config.connections_max));
        // Their own, so that functions cannot keep everybody else out.
        let guest_slots = Arc::new(Semaphore::new(config.connections_max));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (stream, peer, slot) = accept_any(&listener, &slots, guests.as_ref(), &guest_slots, doors.scheme) => {
                    let serving = connection::serve(stream, peer, doors.clone(), &config, stopping.subscribe());
                    connections.spawn(async move {
                        serving.await;
                        drop(slot);
                    });
                }
            }
        }
        drop((listener, guests));
        stopping.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(config.drain_max, drained).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// The next connection of either listener.
async fn accept_any(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    guests: Option<&TcpListener>,
    guest_slots: &Arc<Semaphore>,
    scheme: &'static str,
) -> (TcpStream, Peer, OwnedSemaphorePermit) {
    let guest = async {
        match guests {
            Some(guests) => accept(guests, guest_slots).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        (stream, address, slot) = accept(listener, slots) => (stream, Peer::new(address, scheme), slot),
        (stream, address, slot) = guest => (stream, Peer::guest(address), slot),
    }
}

/// The next connection, once there is room for it. Errors of single connections are passed over.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
