//! The admin door, `/_updraft/v1/…`, which the `updraft` command uses: logs, code packages, egress, and how functions
//! scale.
//!
//! `GET logs/NAME?since_ms=N&limit=N&follow=true|false` answers newline-delimited JSON, one object a line:
//! `{"at_ms":…,"stream":"…","text":"…"}`, text with what is not UTF-8 replaced. A followed log ends when its reader
//! leaves or the platform stops. `GET code/NAME?sha256=…` answers the zip, as long as the function still runs it;
//! `GET layers/ARN?sha256=…` that of a layer version.
//! `accounts…`: see [`accounts`]. `images…`: see [`images`]. `POST policy/check`: see [`policy`].
//! `functions/NAME/egress`: see [`egress`]. `functions/NAME/dead-letters`: see [`dead_letters`]. `GET functions/NAME` and
//! `PUT functions/NAME/scaling`: see [`scaling`].

mod accounts;
mod dead_letters;
mod egress;
mod images;
mod policy;
mod scaling;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use http::{HeaderValue, Method, Response, StatusCode, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use updraft_node::logs::Line;
use updraft_types::{Body, BoxError, Function, FunctionName, Timestamp};

use crate::{
    body::Held,
    error::Error,
    lambda::{authorize, layers},
    respond,
    scope::Scope,
};

/// Lines answered unless asked otherwise.
const LINES_DEFAULT: usize = 1_000;
/// Most lines answered at once; more are there to be followed or asked for by time.
const LINES_MAX: usize = 10_000;

/// Answers one request to the admin door.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, Error> {
    let path = head.uri.path().strip_prefix("/_updraft/v1/").unwrap_or_default();
    let action = authorize::admin_action(head);
    if let Some(rest) = path.strip_prefix("accounts").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return accounts::serve(scope, rest, &head.method, body).await;
    }
    if let Some(rest) = path.strip_prefix("images").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return images::serve(scope, rest, head, body).await;
    }
    if path == "policy/check" && head.method == Method::POST {
        return policy::check(scope, body).await;
    }
    if let Some(name) = path.strip_prefix("functions/").and_then(|rest| rest.strip_suffix("/egress")) {
        let function = function(scope, name, action)?;
        return egress::serve(scope, function, &head.method, body).await;
    }
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, path.split_once('/')) {
        (&Method::GET, Some(("logs", name))) => {
            authorize::read_logs(scope, name).await?;
            logs(scope, named(scope, name)?, LogQuery::read(query)?).await
        }
        (&Method::GET, Some(("code", name))) => code(scope, function(scope, name, action)?, query).await,
        (&Method::GET, Some(("layers", arn))) => layer_code(scope, arn, query).await,
        (&Method::GET, Some(("functions", rest))) => match rest.strip_suffix("/dead-letters") {
            Some(name) => {
                let function = function(scope, name, action)?;
                dead_letters::get(scope, &function, query).await
            }
            None => {
                let function = function(scope, rest, action)?;
                Ok(scaling::get(scope, &function))
            }
        },
        (&Method::PUT, Some(("functions", rest))) => match rest.strip_suffix("/scaling") {
            Some(name) => scaling::put(scope, function(scope, name, action)?, body).await,
            None => Err(Error::admin_not_found()),
        },
        _ => Err(Error::admin_not_found()),
    }
}

/// The function of that name, if the caller may do with it what it asks for.
fn function(scope: &Scope<'_>, segment: &str, action: &str) -> Result<Arc<Function>, Error> {
    authorize::check_named(scope, action, segment)?;
    named(scope, segment)
}

fn named(scope: &Scope<'_>, segment: &str) -> Result<Arc<Function>, Error> {
    let text = percent_decode_str(segment).decode_utf8_lossy();
    let name: Option<FunctionName> = text.parse().ok();
    let function = name.and_then(|name| scope.node.catalog().get(&scope.id(name)).cloned());
    function.ok_or_else(|| {
        let shown: String = text.chars().take(140).collect();
        let arn = format!("arn:aws:lambda:{}:{}:function:{shown}", scope.node.region(), scope.account());
        Error::function_not_found(&arn)
    })
}

async fn code(scope: &Scope<'_>, function: Arc<Function>, query: &str) -> Result<Response<Body>, Error> {
    if function.code.image.is_some() {
        return Err(Error::resource_does_not_exist());
    }
    let arn = function.id.arn(scope.node.region());
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "sha256");
    // The code that some version of it runs; as it is now where none is named.
    let catalog = scope.node.catalog();
    let mut versions = std::iter::once(&function).chain(catalog.versions(&function.id));
    let code = match &asked {
        Some((_, sha256)) => versions.find(|version| version.code.sha256 == *sha256).map(|version| &version.code),
        None => Some(&function.code),
    };
    let zip = scope.node.read_code(code.ok_or_else(Error::resource_does_not_exist)?).await;
    let zip = zip.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))?;
    Ok(respond::whole(StatusCode::OK, HeaderValue::from_static("application/zip"), zip))
}

async fn layer_code(scope: &Scope<'_>, arn: &str, query: &str) -> Result<Response<Body>, Error> {
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "sha256");
    authorize::read_layer(scope, &percent_decode_str(arn).decode_utf8_lossy())?;
    let zip = layers::read_code(scope, arn, asked.as_ref().map(|(_, sha256)| sha256.as_ref())).await?;
    Ok(respond::whole(StatusCode::OK, HeaderValue::from_static("application/zip"), zip))
}

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogQuery {
    since: Timestamp,
    limit: usize,
    follow: bool,
}

impl LogQuery {
    fn read(query: &str) -> Result<Self, Error> {
        let mut read = Self { since: Timestamp::from_ms(0), limit: LINES_DEFAULT, follow: false };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = || Error::invalid_parameter(format!("{name} is not understood: {value:.40}"));
            match name.as_ref() {
                "since_ms" => read.since = Timestamp::from_ms(value.parse().map_err(|_| wrong())?),
                "limit" => read.limit = value.parse::<usize>().map_err(|_| wrong())?.min(LINES_MAX),
                "follow" => read.follow = value.parse().map_err(|_| wrong())?,
                _ => return Err(Error::invalid_parameter(format!("{name:.40} is not a parameter of logs"))),
            }
        }
        Ok(read)
    }
}

#[derive(Serialize)]
struct LineView<'a> {
    at_ms: u64,
    stream: &'a str,
    text: &'a str,
}

async fn logs(scope: &Scope<'_>, function: Arc<Function>, query: LogQuery) -> Result<Response<Body>, Error> {
    // Following begins before reading, so no line falls between the two; what comes twice is told once.
    let following = query.follow.then(|| scope.node.logs().follow((&*function).into()));
    let kept = scope.node.logs().read(&*function, query.since, query.limit).await;
    let lines = match following {
        None => stream::iter(kept).boxed(),
        Some(following) => {
            let mut seen = Seen::new(&kept, Timestamp::now());
            let fresh = following.filter(move |line| future::ready(!seen.was_told(line)));
            let mut stopping = scope.stopping.clone();
            let stopped = async move {
                // An error means that the server itself is gone.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            stream::iter(kept).chain(fresh).take_until(Box::pin(stopped)).boxed()
        }
    };
    let mut response = Response::new(ndjson(lines));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// Lines that were read from the store and may come again from following.
struct Seen {
    lines: HashMap<(Timestamp, Arc<str>, Bytes), u32>,
    until: Timestamp,
}

impl Seen {
    fn new(kept: &[Line], until: Timestamp) -> Self {
        let mut lines = HashMap::new();
        for line in kept {
            *lines.entry((line.at, line.stream.clone(), line.text.clone())).or_default() += 1;
        }
        Self { lines, until }
    }

    /// Whether this followed line was read before; each line read counts once.
    fn was_told(&mut self, line: &Line) -> bool {
        if self.lines.is_empty() {
            return false;
        }
        if line.at > self.until {
            self.lines = HashMap::new();
            return false;
        }
        match self.lines.get_mut(&(line.at, line.stream.clone(), line.text.clone())) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

fn ndjson(lines: impl Stream<Item = Line> + Send + 'static) -> Body {
    let frames = lines.map(|line| Ok::<_, BoxError>(Frame::data(encode(&line))));
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn encode(line: &Line) -> Bytes {
    let text = String::from_utf8_lossy(&line.text);
    let view = LineView { at_ms: line.at.as_ms(), stream: &line.stream, text: &text };
    let mut bytes = serde_json::to_vec(&view).expect("a line has string keys and no failing parts");
    bytes.push(b'\n');
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, text: &'static [u8]) -> Line {
        Line { at: Timestamp::from_ms(at_ms), stream: "s".into(), text: Bytes::from_static(text) }
    }

    #[test]
    fn queries_are_read_strictly() {
        let read = LogQuery::read("since_ms=5&limit=99999&follow=true").unwrap();
        assert_eq!(read, LogQuery { since: Timestamp::from_ms(5), limit: LINES_MAX, follow: true });
        assert_eq!(LogQuery::read("").unwrap().limit, LINES_DEFAULT);
        for bad in ["since_ms=x", "limit=-1", "follow=1", "other=1"] {
            assert!(LogQuery::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_told_once() {
        let kept = [line(1, b"a"), line(1, b"a"), line(2, b"b")];
        let mut seen = Seen::new(&kept, Timestamp::from_ms(5));
        let told: Vec<bool> =
            [line(1, b"a"), line(2, b"b"), line(1, b"a"), line(1, b"a"), line(3, b"c"), line(9, b"d"), line(2, b"b")]
                .iter()
                .map(|line| seen.was_told(line))
                .collect();
        assert_eq!(told, [true, true, true, false, false, false, false]);
    }

    #[test]
    fn one_object_a_line() {
        let encoded = encode(&line(7, b"a\"\n\xff"));
        assert_eq!(encoded, "{\"at_ms\":7,\"stream\":\"s\",\"text\":\"a\\\"\\n\u{fffd}\"}\n");
    }
}
