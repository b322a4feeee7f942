//! The doors: everything that reaches the platform over HTTP comes in here.
//!
//! One port serves Lambda's control and invoke API, function URLs (by host name and under `/fn/NAME/`), metrics and
//! the admin door. This crate reads requests, checks them, and words answers; what is done, `node` does. It refuses to
//! listen on anything but loopback until requests are authenticated.
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
mod doors;
mod error;
mod event_stream;
mod function_url;
mod guard;
mod json;
mod lambda;
mod logs;
mod metrics;
mod patience;
mod respond;
mod route;
mod scope;
mod secretsmanager;
mod service;
mod ssm;
mod stall;
mod trace;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use updraft_types::AccountId;

use crate::doors::Doors;

/// Time to rest when the system has no more file descriptors to accept with.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How the doors are to be opened. [`Config::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; a loopback address. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// The account that every request belongs to, until requests are authenticated.
    pub account: AccountId,
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
    /// How long running requests may take to finish once the server is told to stop.
    pub drain_max: Duration,
}

impl Config {
    /// The defaults, for an address and an account.
    pub fn new(listen: SocketAddr, account: AccountId) -> Self {
        Self {
            listen,
            account,
            connections_max: 4_096,
            header_read_timeout: Duration::from_secs(60),
            body_pause_max: Duration::from_secs(30),
            write_stall_max: Duration::from_secs(60),
            body_bytes_in_flight_max: 512 << 20,
            drain_max: Duration::from_secs(10),
        }
    }
}

/// Why the doors could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can be reached from other machines.
    #[error(
        "refusing to listen on {address}: requests are not authenticated yet, so anyone who can reach the port could \
         run code here; listen on a loopback address such as 127.0.0.1:4566"
    )]
    NotLoopback {
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
    address: SocketAddr,
    config: Config,
    doors: Arc<Doors>,
    stopping: watch::Sender<bool>,
}

/// Listens. Refuses every address that is not loopback.
pub async fn bind(config: Config, node: updraft_node::Handle) -> Result<Server, BindError> {
    let address = config.listen;
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback { address });
    }
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Io { address, source },
    })?;
    let local = listener.local_addr().map_err(|source| BindError::Io { address, source })?;
    let (stopping, stopped) = watch::channel(false);
    let doors = Arc::new(Doors::new(&config, local, node, stopped));
    Ok(Server { listener, address: local, config, doors, stopping })
}

impl Server {
    /// Where it listens; the port is the one really bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes. Then it stops accepting, lets running requests finish for at most
    /// [`Config::drain_max`], and closes what is left.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, config, doors, stopping, .. } = self;
        let slots = Arc::new(Semaphore::new(config.connections_max));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (stream, peer, slot) = accept(&listener, &slots) => {
                    let serving = connection::serve(stream, peer, doors.clone(), &config, stopping.subscribe());
                    connections.spawn(async move {
                        serving.await;
                        drop(slot);
                    });
                }
            }
        }
        drop(listener);
        stopping.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(config.drain_max, drained).await.is_err() {
            connections.shutdown().await;
        }
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
