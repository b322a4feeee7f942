//! Network egress of one instance: carries its connections out, as far as its function's rules go.
//!
//! A sandbox has no way out. What it may reach is laid out in its own network (`plan`): names lead to addresses
//! of its loopback, private networks are the loopback's, and a proxy listens there for whatever has no address
//! beforehand. Whoever connects there reaches a listener that the sandbox's init handed out, and this module: it
//! asks `executor::egress` for a connection and copies between the two (`relay`, `proxy`). TLS goes through as it is.
//!
//! Invariants: nothing is connected to but through the dialer, which has the rules; connections, buffers and
//! notes are bounded, connections also by function, so that none takes what others need; all of it ends with the sandbox.

mod endpoint;
mod notes;
mod plan;
mod proxy;
mod relay;
#[cfg(test)]
mod tests;

use std::{io, net::TcpListener as StdListener, sync::Arc, time::Duration};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};
use updraft_executor::{
    Guest,
    egress::{Dialer, Error, HOST_LOOKUPS_MAX, Outside, Share, Shares},
};
use updraft_types::{FunctionId, egress::Host};

pub use self::endpoint::Endpoint;
pub(crate) use self::plan::Plan;
use self::{notes::Notes, plan::Way, relay::Totals};
pub use updraft_executor::egress::{Config, Grant};

/// Most connections of one instance at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// Most connections of all instances at once, to the outside and to the platform's door each.
const HOST_CONNECTIONS_MAX: usize = 2048;
/// The parts of the platform's descriptors that those to the outside may take at two each, and those to the door, where
/// another is the door's own end.
const OUTWARD_PART: u64 = 4;
const ENDPOINT_PART: u64 = 8;
/// How long a connection may carry nothing either way: as long as clouds' address translators wait.
const IDLE_MAX: Duration = Duration::from_secs(350);
/// How long a guest may take to say what it wants of the proxy.
const ASK_MAX: Duration = Duration::from_secs(60);

/// What all instances of a host share.
#[derive(Clone)]
pub(crate) struct Gate {
    outside: Arc<dyn Outside>,
    endpoint: Option<Endpoint>,
    shares: Arc<AllShares>,
}

/// Of what a function has only a share.
struct AllShares {
    lookups: Shares,
    /// Connections to the outside, and to the platform's door for guests.
    outward: Shares,
    endpoint: Shares,
}

impl Gate {
    /// For all instances of the host.
    pub(crate) fn new(config: &Config, endpoint: Option<Endpoint>) -> Self {
        let [outward, to_endpoint] = [OUTWARD_PART, ENDPOINT_PART].map(host_connections_max);
        Self::with(config.outside.clone(), endpoint, outward, to_endpoint)
    }

    fn with(outside: Arc<dyn Outside>, endpoint: Option<Endpoint>, outward_max: usize, endpoint_max: usize) -> Self {
        let lookups = Shares::new(HOST_LOOKUPS_MAX);
        let shares = AllShares { lookups, outward: Shares::new(outward_max), endpoint: Shares::new(endpoint_max) };
        Self { outside, endpoint, shares: Arc::new(shares) }
    }
}

/// Fewer where this process may not open many files: its doors must not be what runs out of them.
fn host_connections_max(part: u64) -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    let ours = usize::try_from(soft / part / 2).unwrap_or(usize::MAX);
    ours.clamp(1, HOST_CONNECTIONS_MAX)
}

/// One instance's connections. Dropping it ends them all.
pub(crate) struct Forwarder {
    task: AbortHandle,
    totals: Arc<Totals>,
}

impl Forwarder {
    /// Serves the listeners of a plan, in its order, for an instance of `function`. Call inside a Tokio runtime.
    pub(crate) fn start(
        plan: Plan,
        listeners: Vec<StdListener>,
        gate: &Gate,
        function: &FunctionId,
        guest: Arc<dyn Guest>,
    ) -> io::Result<Self> {
        let totals = Arc::new(Totals::default());
        let desk = Arc::new(Desk {
            dialer: Dialer::new(plan.policy().clone(), gate.outside.clone(), gate.shares.lookups.of(function)),
            notes: Notes::new(guest),
            totals: totals.clone(),
            plan,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            outward: gate.shares.outward.of(function),
            to_endpoint: gate.shares.endpoint.of(function),
            endpoint: gate.endpoint.clone(),
        });
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(TcpListener::from_std(listener)?, desk.clone()));
        }
        let task = tokio::spawn(async move { while accepting.join_next().await.is_some() {} }).abort_handle();
        Ok(Self { task, totals })
    }

    /// Ends every connection, now.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop();
        tracing::debug!(totals = ?self.totals, "an instance's egress has ended");
    }
}

/// What the connections of one instance share.
struct Desk {
    plan: Plan,
    dialer: Dialer,
    notes: Notes,
    totals: Arc<Totals>,
    connections: Arc<Semaphore>,
    outward: Share,
    to_endpoint: Share,
    endpoint: Option<Endpoint>,
}

impl Desk {
    /// A connection to the platform's door for guests.
    async fn knock(&self) -> io::Result<TcpStream> {
        let address = self.endpoint.as_ref().and_then(Endpoint::address);
        let stream = TcpStream::connect(address.ok_or(io::ErrorKind::ConnectionRefused)?).await?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// A connection to the outside, or the reason for the author, who finds it in the function's log as well.
    async fn dial(&self, host: &Host, port: u16) -> Result<TcpStream, Error> {
        let dialed = self.dialer.dial(host, port).await;
        match &dialed {
            Ok(stream) => {
                self.totals.count_connection();
                // Without it small writes would wait for acknowledgements; a socket that refuses still works.
                let _ = stream.set_nodelay(true);
            }
            Err(error) => {
                self.totals.count_failure();
                let verb = if matches!(error, Error::Denied(_)) { "refused" } else { "failed" };
                self.notes.write(&format_args!("egress {verb}: {error}"));
            }
        }
        dialed
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => break stream,
                    // Out of descriptors, most likely.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                _ = connections.join_next(), if !connections.is_empty() => {}
            }
        };
        // What the guest connected to is the address at this end.
        let Ok(local) = stream.local_addr() else { continue };
        let way = desk.plan.way(local);
        let share = if matches!(way, Way::Endpoint) { &desk.to_endpoint } else { &desk.outward };
        // One connection waits here and the next ones in the kernel's queue; the semaphore is never closed.
        let Ok(permit) = desk.connections.clone().acquire_owned().await else { return };
        let place = share.take().await;
        let desk = desk.clone();
        connections.spawn(async move {
            serve(stream, way, &desk).await;
            drop((permit, place));
        });
    }
}

async fn serve(stream: TcpStream, way: Way, desk: &Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    match way {
        Way::Proxy => proxy::serve(stream, desk).await,
        Way::Endpoint => match desk.knock().await {
            Ok(door) => carry_for(stream, door, desk, endpoint::IDLE_MAX).await,
            Err(error) => {
                tracing::warn!(%error, "the door for guests cannot be reached");
                reset(&stream);
            }
        },
        Way::To(host, port) => match desk.dial(&host, port).await {
            Ok(outside) => carry(stream, outside, desk).await,
            // The guest's connect has succeeded by now; a reset is the promptest way to take it back.
            Err(_) => reset(&stream),
        },
    }
}

/// Copies between the two until both have closed or the guest's is reset.
async fn carry(guest: TcpStream, outside: TcpStream, desk: &Desk) {
    carry_for(guest, outside, desk, IDLE_MAX).await;
}

/// The same, where nothing may move for `idle_max`.
async fn carry_for(mut guest: TcpStream, outside: TcpStream, desk: &Desk, idle_max: Duration) {
    if let Err(error) = relay::relay(&mut guest, outside, &desk.totals, idle_max).await {
        tracing::debug!(%error, "a connection to the outside broke off");
        reset(&guest);
    }
}

/// Makes the connection's end a reset. One that cannot be told so just ends.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
