//! Connects to the outside on a guest's behalf, as far as its [`Policy`] lets it.
//!
//! Shared by all executors, so that a function's rules mean the same whatever runs it. The world beyond is behind
//! [`Outside`], which tests replace. Invariants: a name is looked up once, each address it led to is judged, and
//! the connection goes to exactly a judged address, so a name server that changes its answer gains nothing; an
//! address of this very host is refused at the moment of connecting, whatever it is.

mod grant;
mod shares;

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use updraft_types::egress::{Denial, Host, HostName, Policy, Why};

pub use self::{
    grant::{Config, Grant},
    shares::{Place, Share, Shares},
};

/// Most lookups under way for one guest.
const GUEST_LOOKUPS_MAX: usize = 4;
/// Most lookups under way for all guests of the host together. They take a thread each.
pub const HOST_LOOKUPS_MAX: usize = 64;
/// Longest a lookup may take.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Longest one address is tried.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules are against it.
    #[error("{0}")]
    Denied(Denial),
    /// The name leads nowhere, or there was no answer.
    #[error("{host} could not be looked up: {source}")]
    Unresolved {
        /// The name.
        host: Host,
        /// What the resolver said; `TimedOut` when it said nothing.
        source: io::Error,
    },
    /// It is allowed, and nobody answers.
    #[error("{host}:{port} could not be reached: {source}")]
    Unreachable {
        /// What was asked for.
        host: Host,
        /// At which port.
        port: u16,
        /// What the kernel said of the last address tried; `TimedOut` when nothing came back.
        source: io::Error,
    },
}

/// The world outside, as seen from the platform.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// The addresses a name leads to, the best first.
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>>;

    /// Whether packets to this address would go no further than this host.
    fn is_own(&self, address: IpAddr) -> io::Result<bool>;

    /// Connects to this address and no other.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// Connects for one guest.
#[derive(Clone)]
pub struct Dialer {
    policy: Policy,
    outside: Arc<dyn Outside>,
    lookups: Arc<Semaphore>,
    share: Share,
}

impl Dialer {
    /// Connects as far as `policy` allows. `share` is what the guest's function has of all lookups.
    pub fn new(policy: Policy, outside: Arc<dyn Outside>, share: Share) -> Self {
        Self { policy, outside, lookups: Arc::new(Semaphore::new(GUEST_LOOKUPS_MAX)), share }
    }

    /// A connection to `host`. Takes some tens of seconds at the most; dropping the future gives up.
    ///
    /// # Errors
    /// As [`Error`] says; the text is for the function's author.
    pub async fn dial(&self, host: &Host, port: u16) -> Result<TcpStream, Error> {
        self.policy.admit(host, port).map_err(Error::Denied)?;
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let unresolved = |source| Error::Unresolved { host: host.clone(), source };
                self.resolve(name).await.map_err(unresolved)?
            }
        };
        let (mut denial, mut failure) = (None, None);
        for address in alternating(addresses).take(ADDRESSES_MAX) {
            match self.try_address(host, port, address).await {
                Ok(stream) => return Ok(stream),
                Err(Error::Denied(denied)) => denial = denial.or(Some(denied)),
                Err(error) => failure = Some(error),
            }
        }
        let nothing = || Error::Unresolved { host: host.clone(), source: io::ErrorKind::NotFound.into() };
        Err(failure.or(denial.map(Error::Denied)).unwrap_or_else(nothing))
    }

    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        let looking_up = async {
            let own = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
            let places = (own, self.share.take().await);
            let (outside, name) = (self.outside.clone(), name.clone());
            // A resolver goes on when nobody waits for it any more, and takes up its places until it is done.
            let lookup = async move {
                let _places = places;
                outside.resolve(&name).await
            };
            tokio::spawn(lookup).await?
        };
        timeout(LOOKUP_MAX, looking_up).await?
    }

    async fn try_address(&self, host: &Host, port: u16, address: IpAddr) -> Result<TcpStream, Error> {
        self.policy.judge(host, port, address).map_err(Error::Denied)?;
        let unreachable = |source| Error::Unreachable { host: host.clone(), port, source };
        if self.outside.is_own(address).map_err(unreachable)? {
            let denial = Denial { host: host.clone(), port, address: Some(address), why: Why::OwnHost };
            return Err(Error::Denied(denial));
        }
        let connecting = self.outside.connect(SocketAddr::new(address, port));
        match timeout(CONNECT_MAX, connecting).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(elapsed) => Err(unreachable(elapsed.into())),
        }
    }
}

/// Addresses of one family after those of the other, the first as given: a family that leads nowhere from this host
/// must not use up all tries.
fn alternating(addresses: Vec<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let addresses: Vec<IpAddr> = addresses.into_iter().map(|address| address.to_canonical()).collect();
    let first_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (like_first, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut like_first, mut others) = (like_first.into_iter(), others.into_iter());
    std::iter::from_fn(move || {
        std::mem::swap(&mut like_first, &mut others);
        others.next().or_else(|| like_first.next())
    })
}

/// The network and the resolver of this host.
pub struct System {
    lookups: Arc<Semaphore>,
}

impl System {
    /// For all guests of the host together.
    pub fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(HOST_LOOKUPS_MAX)) }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Outside for System {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.clone();
        let lookup = move || {
            // Held by the thread, which goes on when nobody waits for it any more.
            let _permit = permit;
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        };
        tokio::task::spawn_blocking(lookup).await?
    }

    /// A socket can be bound to an address exactly if the kernel delivers it here: that also knows of addresses
    /// added a moment ago and of whole networks routed to the loopback.
    fn is_own(&self, address: IpAddr) -> io::Result<bool> {
        match UdpSocket::bind((address, 0)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        // The kernel talks to itself from the address it talks to.
        if stream.local_addr()?.ip() == stream.peer_addr()?.ip() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::net::TcpListener;
    use updraft_types::{Egress, FunctionId};

    use super::*;

    /// Answers each lookup with the next of some lists, and connects to one listener whatever it is asked for.
    struct Fake {
        answers: Mutex<Vec<Vec<&'static str>>>,
        own: &'static str,
        connected: Mutex<Vec<SocketAddr>>,
        listener: SocketAddr,
    }

    #[async_trait]
    impl Outside for Fake {
        async fn resolve(&self, _: &HostName) -> io::Result<Vec<IpAddr>> {
            let answer = self.answers.lock().unwrap().pop();
            let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok(answer.into_iter().map(|address| address.parse().unwrap()).collect())
        }

        fn is_own(&self, address: IpAddr) -> io::Result<bool> {
            Ok(address == self.own.parse::<IpAddr>().unwrap())
        }

        async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
            self.connected.lock().unwrap().push(address);
            if address.ip() == "192.0.2.99".parse::<IpAddr>().unwrap() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            TcpStream::connect(self.listener).await
        }
    }

    fn share() -> Share {
        let function = FunctionId { account: "000000000000".parse().unwrap(), name: "f".parse().unwrap() };
        Shares::new(HOST_LOOKUPS_MAX).of(&function)
    }

    /// Answers no lookup before it is let to.
    struct Slow {
        begun: AtomicUsize,
        answers: Semaphore,
    }

    #[async_trait]
    impl Outside for Slow {
        async fn resolve(&self, _: &HostName) -> io::Result<Vec<IpAddr>> {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.answers.acquire().await.unwrap().forget();
            Err(io::ErrorKind::NotFound.into())
        }

        fn is_own(&self, _: IpAddr) -> io::Result<bool> {
            Ok(false)
        }

        async fn connect(&self, _: SocketAddr) -> io::Result<TcpStream> {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    #[tokio::test]
    async fn a_lookup_that_was_given_up_keeps_its_place_until_the_resolver_is_done() {
        let slow = Arc::new(Slow { begun: AtomicUsize::new(0), answers: Semaphore::new(0) });
        let policy = Policy::new(Egress::allow(["*:*".parse().unwrap()]).unwrap(), [].into());
        let dialer = Dialer::new(policy, slow.clone(), share());
        let dial = || {
            let dialer = dialer.clone();
            tokio::spawn(async move { dialer.dial(&"a.example".parse().unwrap(), 80).await.map(drop) })
        };
        let begun = async |count| {
            while slow.begun.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        for given_up in (0..GUEST_LOOKUPS_MAX).map(|_| dial()).collect::<Vec<_>>() {
            begun(GUEST_LOOKUPS_MAX).await;
            given_up.abort();
            assert!(given_up.await.unwrap_err().is_cancelled());
        }
        let late = dial();
        // Time enough for what would be a lookup too many.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slow.begun.load(Ordering::SeqCst), GUEST_LOOKUPS_MAX);
        slow.answers.add_permits(GUEST_LOOKUPS_MAX + 1);
        assert!(matches!(late.await.unwrap(), Err(Error::Unresolved { .. })));
        begun(GUEST_LOOKUPS_MAX + 1).await;
    }

    const RULES: &[&str] = &["*:*", "10.0.0.0/8:*", "192.0.2.0/24:*"];

    /// Dials with these answers in store (the last is given first); what came of it, and where it connected to.
    async fn dial(answers: &[&[&'static str]], host: &str, port: u16) -> (Result<(), Error>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Fake {
            answers: Mutex::new(answers.iter().map(|answer| answer.to_vec()).collect()),
            own: "10.9.9.9",
            connected: Mutex::default(),
            listener: listener.local_addr().unwrap(),
        });
        let rules = RULES.iter().map(|rule| rule.parse().unwrap());
        let policy = Policy::new(Egress::allow(rules).unwrap(), [].into());
        let dialed = Dialer::new(policy, fake.clone(), share()).dial(&host.parse().unwrap(), port).await.map(drop);
        let connected = fake.connected.lock().unwrap().iter().map(ToString::to_string).collect();
        (dialed, connected)
    }

    fn why(dialed: Result<(), Error>) -> Why {
        match dialed {
            Err(Error::Denied(denial)) => denial.why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_what_is_never_reachable_is_not_connected_to() {
        for forbidden in
            ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "fd00:ec2::254", "fe80::1"]
        {
            let (dialed, connected) = dial(&[&[forbidden]], "rebound.example", 80).await;
            assert!(matches!(why(dialed), Why::Never(_)), "{forbidden}");
            assert!(connected.is_empty(), "{forbidden}");
        }
    }

    #[tokio::test]
    async fn rebinding_between_check_and_connect_gains_nothing() {
        // A second lookup would find the loopback.
        let (dialed, connected) = dial(&[&["127.0.0.1"], &["9.9.9.9"]], "rebound.example", 80).await;
        dialed.unwrap();
        assert_eq!(connected, ["9.9.9.9:80"]);
        // Both at once: the one that may be reached is, and the other is not.
        let (dialed, connected) = dial(&[&["127.0.0.1", "9.9.9.9"]], "rebound.example", 80).await;
        dialed.unwrap();
        assert_eq!(connected, ["9.9.9.9:80"]);
    }

    #[tokio::test]
    async fn this_hosts_own_addresses_are_refused_even_if_a_rule_names_them() {
        let (dialed, connected) = dial(&[], "10.9.9.9", 4566).await;
        assert_eq!(why(dialed), Why::OwnHost);
        let (named, _) = dial(&[&["10.9.9.9"]], "myself.example", 4566).await;
        assert_eq!(why(named), Why::OwnHost);
        assert!(connected.is_empty());
    }

    #[tokio::test]
    async fn each_address_is_tried_and_mapped_ones_are_what_they_stand_for() {
        let (dialed, connected) = dial(&[&["192.0.2.99", "::ffff:9.9.9.9"]], "a.example", 443).await;
        dialed.unwrap();
        assert_eq!(connected, ["192.0.2.99:443", "9.9.9.9:443"]);
        let (dialed, _) = dial(&[&["192.0.2.99", "127.0.0.1"]], "a.example", 443).await;
        assert!(matches!(dialed, Err(Error::Unreachable { .. })), "{dialed:?}");
        let (dialed, _) = dial(&[], "nowhere.example", 443).await;
        assert!(matches!(dialed, Err(Error::Unresolved { .. })), "{dialed:?}");
        let (dialed, _) = dial(&[&[]], "empty.example", 443).await;
        assert!(matches!(dialed, Err(Error::Unresolved { .. })), "{dialed:?}");
    }

    #[test]
    fn both_families_get_their_tries() {
        let order = |addresses: &[&str]| {
            let parsed = addresses.iter().map(|address| address.parse().unwrap()).collect();
            alternating(parsed).map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(order(&["::a", "::b", "::c", "1.1.1.1", "2.2.2.2"]), ["::a", "1.1.1.1", "::b", "2.2.2.2", "::c"]);
        assert_eq!(order(&["1.1.1.1", "::ffff:2.2.2.2", "::a"]), ["1.1.1.1", "::a", "2.2.2.2"]);
        assert!(order(&[]).is_empty());
    }

    #[tokio::test]
    async fn the_system_knows_its_own_addresses_and_does_not_talk_to_itself() {
        let system = System::new();
        assert!(system.is_own("127.0.0.1".parse().unwrap()).unwrap());
        assert!(system.is_own("127.200.1.1".parse().unwrap()).unwrap());
        assert!(system.is_own("0.0.0.0".parse().unwrap()).unwrap());
        assert!(!system.is_own("192.0.2.1".parse().unwrap()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = system.connect(listener.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let found = system.resolve(&"localhost".parse().unwrap()).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
    }
}
