//! The platform's own services, as guests reach them: `AWS_ENDPOINT_URL` names an address of the sandbox's loopback, and what
//! connects there is carried to a door of the platform's that is for guests.
//!
//! Not egress: no rule is asked, and none can forbid it. Who may do what is for the door to say, by each request's
//! signature. Where the door is becomes known after the executor has been made; until then connections are refused.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Where it is in every sandbox: an address and a port that nobody else would take.
pub(super) const INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1), 3129);

/// How long a connection to it may carry nothing either way: longer than the longest invocation takes to answer.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(960);

/// Where the platform's door for guests is. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Endpoint(Arc<OnceLock<SocketAddr>>);

impl Endpoint {
    /// Says where the door is; the first word counts.
    pub fn announce(&self, address: SocketAddr) {
        let _ = self.0.set(address);
    }

    /// Where it is, once that was said.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.get().copied()
    }
}

/// What tells SDKs of it. They follow it for every service, unless the author's variables say otherwise.
pub(super) fn environment() -> (String, String) {
    ("AWS_ENDPOINT_URL".to_owned(), format!("http://{INSIDE}"))
}
