//! The limit to compare with: hyper answering one constant, and nothing else.
//!
//! Runs as a child process of the bench (`updraft-bench bare-hyper`) on the same asynchronous runtime as the
//! platform: tokio's multi-threaded scheduler with one worker a core.

use std::{convert::Infallible, net::Ipv4Addr};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, header::CONTENT_TYPE, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const BODY: Bytes = Bytes::from_static(b"{\"greeting\":\"Hello from the edge!\",\"served\":1}\n");

/// Serves until the process is ended. Prints `listening on http://ADDRESS` once it does.
pub(crate) fn serve() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let hello = service_fn(|_request| async {
                let mut response = Response::new(Full::new(BODY));
                response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a header value"));
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), hello));
        }
    })
}
