//! Reads a function's log from the platform's admin door: one JSON object a line, possibly without end.

use std::io::{BufRead, BufReader, Read};

use http::Method;
use serde::{Deserialize, Serialize};

use super::{Call, Client, Error, refusal, segment};

/// Longest line accepted: a log line of the longest kind with every byte escaped, bytes.
const LINE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Longest error body read, bytes.
const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// One line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The instance's log stream.
    pub stream: String,
    /// The text.
    pub text: String,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// Only lines from this instant on, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// At most this many of the newest.
    pub lines_max: u32,
    /// Whether to go on with new lines as they come.
    pub follow: bool,
}

/// Lines as they arrive.
pub struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    url: String,
}

impl Client {
    /// Opens a function's log.
    pub fn logs(&self, name: &str, query: Query) -> Result<Lines, Error> {
        let operation = "reading logs";
        let Query { since_ms, lines_max, follow } = query;
        let target =
            format!("/_updraft/v1/logs/{}?since_ms={since_ms}&limit={lines_max}&follow={follow}", segment(name));
        let (head, body) = self.send(Call::new(operation, Method::GET, target), &|_| ())?.into_parts();
        let mut reader: Box<dyn Read + Send> = Box::new(body.into_with_config().limit(u64::MAX).reader());
        if head.status.as_u16() >= 400 {
            let mut text = Vec::new();
            reader
                .take(ERROR_BYTES_MAX)
                .read_to_end(&mut text)
                .map_err(|error| self.broken(operation, ureq::Error::Io(error)))?;
            return Err(refusal(operation, head.status.as_u16(), &head.headers, &text));
        }
        reader = Box::new(reader);
        Ok(Lines { reader: BufReader::new(reader), url: self.url().to_owned() })
    }
}

impl Iterator for Lines {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let operation = "reading logs";
        loop {
            let mut text = Vec::new();
            match self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) if text.trim_ascii().is_empty() => continue,
                Ok(_) => {
                    let line = serde_json::from_slice(&text);
                    return Some(line.map_err(|error| Error::Malformed { operation, why: error.to_string() }));
                }
                Err(error) => {
                    let source = Box::new(ureq::Error::Io(error));
                    return Some(Err(Error::Broken { url: self.url.clone(), operation, source }));
                }
            }
        }
    }
}
