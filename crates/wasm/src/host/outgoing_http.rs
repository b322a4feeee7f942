//! `wasi:http/outgoing-handler`: refused, as a function is granted no egress; and the header rules of `wasi:http`.
//!
//! The guest gets `HTTP-request-denied`, and its log says which address it wanted.

use std::sync::Arc;

use http::{HeaderName, header};
use updraft_executor::Guest;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Most characters of an address repeated in the log.
const AUTHORITY_CHARACTERS_MAX: usize = 100;
/// Most bytes a guest writes to a body at once.
const CHUNK_BYTES_MAX: usize = 32 << 10;
/// Most chunks that wait for a body's reader, less the one that is always allowed. A guest that writes a few lines
/// one by one ends without having waited once.
const CHUNKS_WAITING_MAX: usize = 3;

/// What `wasi:http` asks its host.
pub(crate) struct Hooks(pub(crate) Arc<dyn Guest>);

/// An answer from outside, and what keeps its connection going.
type Answer = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    /// The connection is the door's, so is what governs it (RFC 9110, 7.6.1).
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        [
            header::CONNECTION,
            header::HOST,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
            header::PROXY_AUTHENTICATE,
            header::PROXY_AUTHORIZATION,
        ]
        .contains(name)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let authority: String = authority.chars().take(AUTHORITY_CHARACTERS_MAX).collect();
        self.0.log(format!("outgoing HTTP request to {authority:?} refused: no egress is granted\n").as_bytes());
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        CHUNKS_WAITING_MAX
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES_MAX
    }
}
