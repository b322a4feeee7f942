//! The proxy inside a sandbox's network: HTTP (CONNECT and absolute-form) and SOCKS5 on one port, told apart by the
//! first byte.

mod http;
mod socks;

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{ASK_MAX, Desk};

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, desk: &Arc<Desk>) {
    let mut first = [0];
    match tokio::time::timeout(ASK_MAX, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [socks::VERSION] => socks::serve(stream, desk).await,
        Ok(Ok(1)) => http::serve(stream, desk).await,
        // It said nothing, or hung up.
        _ => {}
    }
}
