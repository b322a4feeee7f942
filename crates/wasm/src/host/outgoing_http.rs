//! `wasi:http/outgoing-handler`: what a guest asks of the outside goes to its [`Client`]; and the header rules of
//! `wasi:http`.

use std::sync::Arc;

use http::{HeaderName, header};
use tokio::sync::watch;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::outgoing::{Answer, Client, OfCall};

/// Headers that are the connection's, of those that have a name in `http`.
static FORBIDDEN: [HeaderName; 6] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// What `wasi:http` asks its host.
pub(crate) struct Hooks {
    client: Arc<Client>,
    /// Made by a call's first request, dropped with the call.
    call: Option<watch::Sender<()>>,
}

impl Hooks {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, call: None }
    }

    /// Ends what the call has begun outside.
    pub(crate) fn end_call(&mut self) {
        self.call = None;
    }

    fn of_call(&mut self) -> OfCall {
        self.call.get_or_insert_with(|| watch::Sender::new(())).subscribe()
    }
}

impl WasiHttpHooks for Hooks {
    /// The connection is the door's, so is what governs it (RFC 9110, 7.6.1).
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        FORBIDDEN.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        Box::new(self.client.clone().send(request, options.unwrap_or_default(), self.of_call()))
    }
}
