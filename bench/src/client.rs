//! One kept-alive connection to one server, blocking: for the control API, and for timing single cold requests.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{http1, interrupt};

/// How long one answer may take. A component's compilation at deploy is the longest.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Largest answer taken, bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A connection.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
}

/// One whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) status: u16,
    /// Whether the function failed, although the status is 200.
    pub(crate) function_failed: bool,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// From the first byte sent to the last received.
    pub(crate) took: Duration,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Self { address, stream })
    }

    /// The server's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request and waits for its answer, whatever its status; a function's failure is an error.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<Reply> {
        let reply = self.try_send(request)?;
        ensure!(!reply.function_failed, "the function failed: {}", reply.text());
        Ok(reply)
    }

    /// Sends one request and waits for its answer, whatever it is.
    pub(crate) fn try_send(&mut self, request: &[u8]) -> Result<Reply> {
        interrupt::check()?;
        let mut received = Vec::with_capacity(16_384);
        let mut piece = [0; 16_384];
        let sent_at = Instant::now();
        self.stream.write_all(request)?;
        loop {
            let count = self.stream.read(&mut piece)?;
            let took = sent_at.elapsed();
            ensure!(count > 0, "the server closed the connection");
            received.extend_from_slice(&piece[..count]);
            if let Some(answer) = http1::parse(&received)? {
                let (status, function_failed, closes) = (answer.status, answer.function_failed, answer.closes);
                let reply = Reply { status, function_failed, body: answer.body.into_owned(), took };
                if closes {
                    *self = Self::connect(self.address)?;
                }
                return Ok(reply);
            }
            ensure!(received.len() < ANSWER_BYTES_MAX, "an answer over {ANSWER_BYTES_MAX} bytes");
        }
    }
}

impl Reply {
    /// The body, shortened, for an error's text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).into_owned()
    }

    /// The body, given this status.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "status {} instead of {status}: {}", self.status, self.text());
        Ok(self)
    }
}
