//! What an extension asks of the Telemetry API, or of the Logs API before it: which events, how buffered, and where to.
//!
//! Pure: reads the body of a subscription, and refuses with a sentence what is not one (bounds: AWS's references of the two
//! APIs). Only HTTP into the sandbox itself is served.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

/// Schemas of the Telemetry API; the events are those of the last.
const TELEMETRY_SCHEMAS: [&str; 2] = ["2022-07-01", "2022-12-13"];
/// Schemas of the Logs API; the second adds `platform.runtimeDone`.
const LOGS_SCHEMAS: [&str; 2] = ["2020-08-15", "2021-03-18"];

/// Names of the sandbox's own loopback in a destination.
pub(crate) const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];

/// Most bytes of a destination's address.
const URI_BYTES_MAX: usize = 1024;

/// Which API is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// Version 2022-07-01.
    Telemetry,
    /// Version 2020-08-15.
    Logs,
}

/// How events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As the Telemetry API has them.
    Telemetry,
    /// As the Logs API has them, `platform.runtimeDone` with its second schema.
    Logs { has_runtime_done: bool },
}

impl Dialect {
    /// The record of an event, if there is such an event.
    pub(super) fn record(self, kind: &str, record: &Value) -> Option<Value> {
        let Self::Logs { has_runtime_done } = self else {
            let is_of_logs = ["platform.end", "platform.logsSubscription"].contains(&kind);
            return (!is_of_logs).then(|| record.clone());
        };
        match kind {
            "platform.telemetrySubscription" => None,
            kind if kind.starts_with("platform.init") => None,
            "platform.runtimeDone" => {
                has_runtime_done.then(|| json!({ "requestId": record["requestId"], "status": record["status"] }))
            }
            "platform.report" => Some(json!({ "requestId": record["requestId"], "metrics": record["metrics"] })),
            _ => Some(record.clone()),
        }
    }

    pub(super) fn api(self) -> Api {
        match self {
            Self::Telemetry => Api::Telemetry,
            Self::Logs { .. } => Api::Logs,
        }
    }
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) dialect: Dialect,
    pub(crate) platform: bool,
    pub(crate) function: bool,
    pub(crate) extension: bool,
    pub(crate) buffering: Buffering,
    pub(crate) port: u16,
    /// POST, or PUT where the Logs API is asked for it.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
}

/// When a batch is sent: as soon as one of these is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Buffering {
    pub(crate) items_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) timeout: Duration,
}

impl Subscription {
    /// Reads a request's body. The error is for whoever sent it.
    pub(crate) fn read(api: Api, body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "The body is not JSON".to_owned())?;
        let (schemas, usual) = match api {
            Api::Telemetry => (TELEMETRY_SCHEMAS, TELEMETRY_SCHEMAS[1]),
            Api::Logs => (LOGS_SCHEMAS, LOGS_SCHEMAS[0]),
        };
        let schema = body.get("schemaVersion").and_then(Value::as_str).unwrap_or(usual);
        if !schemas.contains(&schema) {
            return Err(format!("schemaVersion is not one of {schemas:?}"));
        }
        let dialect = match api {
            Api::Telemetry => Dialect::Telemetry,
            Api::Logs => Dialect::Logs { has_runtime_done: schema == LOGS_SCHEMAS[1] },
        };
        let types = body.get("types").and_then(Value::as_array).ok_or("types is not a list")?;
        let types: Option<Vec<&str>> = types.iter().map(Value::as_str).collect();
        let types = types.ok_or("types holds something that is not text")?;
        let is_known = |kind: &&str| ["platform", "function", "extension"].contains(kind);
        if types.is_empty() || !types.iter().all(is_known) {
            return Err("types has to name some of platform, function and extension".to_owned());
        }
        let has = |kind: &str| types.contains(&kind);
        let (port, path) = destination(body.get("destination"))?;
        let method = method(api, body.get("destination"))?;
        let buffering = buffering(body.get("buffering"))?;
        let (platform, function, extension) = (has("platform"), has("function"), has("extension"));
        Ok(Self { dialect, platform, function, extension, buffering, port, method, path })
    }

    /// The types, as events name them.
    pub(crate) fn types(&self) -> Vec<&'static str> {
        let all = [(self.platform, "platform"), (self.function, "function"), (self.extension, "extension")];
        all.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, name)| name).collect()
    }
}

fn buffering(given: Option<&Value>) -> Result<Buffering, String> {
    let number =
        |name: &str, usual: u64, bounds: std::ops::RangeInclusive<u64>| match given.and_then(|all| all.get(name)) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => value
                .as_u64()
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| format!("buffering.{name} is not a number from {} to {}", bounds.start(), bounds.end())),
        };
    let items_max = number("maxItems", 10_000, 1_000..=10_000)?;
    let bytes_max = number("maxBytes", 262_144, 262_144..=1_048_576)?;
    let timeout_ms = number("timeoutMs", 1_000, 25..=30_000)?;
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Buffering {
        items_max: whole(items_max),
        bytes_max: whole(bytes_max),
        timeout: Duration::from_millis(timeout_ms),
    })
}

/// The Logs API takes a method and an encoding, of which there is one.
fn method(api: Api, given: Option<&Value>) -> Result<Method, String> {
    let text =
        |name: &str| given.and_then(|given| given.get(name)).filter(|value| !value.is_null() && api == Api::Logs);
    if text("encoding").is_some_and(|encoding| encoding != "JSON") {
        return Err("destination.encoding is not JSON".to_owned());
    }
    match text("method").map(|method| method.as_str()) {
        None | Some(Some("POST")) => Ok(Method::POST),
        Some(Some("PUT")) => Ok(Method::PUT),
        Some(_) => Err("destination.method is not POST or PUT".to_owned()),
    }
}

fn destination(given: Option<&Value>) -> Result<(u16, String), String> {
    let text = |name: &str| given.and_then(|given| given.get(name)).and_then(Value::as_str);
    if text("protocol") != Some("HTTP") {
        return Err("destination.protocol is not HTTP, the one that is served".to_owned());
    }
    let refused = || "destination.URI is not http://sandbox.localdomain:PORT with a path or without".to_owned();
    let uri = text("URI").or_else(|| text("uri")).filter(|uri| uri.len() <= URI_BYTES_MAX).ok_or_else(refused)?;
    let uri: http::Uri = uri.parse().map_err(|_| refused())?;
    let host = uri.host().filter(|host| HOSTS.contains(host));
    let port = uri.port_u16().filter(|port| *port != 0 && *port != crate::environment::RUNTIME_API_PORT);
    match (uri.scheme_str(), host, port) {
        (Some("http"), Some(_), Some(port)) => {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            Ok((port, path.to_owned()))
        }
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(types: &str, buffering: &str, destination: &str) -> Result<Subscription, String> {
        let body = format!(
            r#"{{"schemaVersion":"2022-12-13","types":{types},"buffering":{buffering},"destination":{destination}}}"#
        );
        Subscription::read(Api::Telemetry, body.as_bytes())
    }

    const HERE: &str = r#"{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/path?x=1"}"#;

    #[test]
    fn a_subscription_is_read() {
        let all =
            read(r#"["platform","function"]"#, r#"{"maxItems":1000,"maxBytes":1048576,"timeoutMs":25}"#, HERE).unwrap();
        assert_eq!((all.port, all.path.as_str(), all.types()), (8080, "/path?x=1", vec!["platform", "function"]));
        let expected = Buffering { items_max: 1000, bytes_max: 1_048_576, timeout: Duration::from_millis(25) };
        assert_eq!(all.buffering, expected);
        let plain = Subscription::read(
            Api::Telemetry,
            br#"{"types":["extension"],"destination":{"protocol":"HTTP","URI":"http://sandbox:1234"}}"#,
        );
        let plain = plain.unwrap();
        assert_eq!((plain.path.as_str(), plain.extension, plain.platform), ("/", true, false));
        assert_eq!(plain.buffering.items_max, 10_000);
    }

    #[test]
    fn the_logs_api_is_read_too() {
        let read = |schema: &str, more: &str| {
            let body = format!(
                r#"{{{schema}"types":["platform"],"destination":{{"protocol":"HTTP","URI":"http://sandbox:1234"{more}}}}}"#
            );
            Subscription::read(Api::Logs, body.as_bytes())
        };
        let plain = read("", "").unwrap();
        assert_eq!((plain.dialect, plain.method), (Dialect::Logs { has_runtime_done: false }, Method::POST));
        let put = read(r#""schemaVersion":"2021-03-18","#, r#","method":"PUT","encoding":"JSON""#).unwrap();
        assert_eq!((put.dialect, put.method), (Dialect::Logs { has_runtime_done: true }, Method::PUT));
        for (schema, more) in [
            (r#""schemaVersion":"2022-12-13","#, ""),
            ("", r#","method":"GET""#),
            ("", r#","method":1"#),
            ("", r#","encoding":"XML""#),
        ] {
            assert!(read(schema, more).is_err(), "{schema} {more}");
        }
    }

    #[test]
    fn each_api_has_events_of_its_own() {
        let record = json!({ "requestId": "r", "status": "success", "metrics": { "durationMs": 1 } });
        let kinds = ["platform.start", "platform.runtimeDone", "platform.end", "platform.report", "platform.initStart"];
        let told = |dialect: Dialect| {
            let told = kinds.iter().filter_map(|kind| Some((*kind, dialect.record(kind, &record)?)));
            told.map(|(kind, record)| format!("{kind} {}", record.as_object().unwrap().len())).collect::<Vec<_>>()
        };
        let telemetry = ["platform.start 3", "platform.runtimeDone 3", "platform.report 3", "platform.initStart 3"];
        assert_eq!(told(Dialect::Telemetry), telemetry);
        let first = ["platform.start 3", "platform.end 3", "platform.report 2"];
        assert_eq!(told(Dialect::Logs { has_runtime_done: false }), first);
        let second = ["platform.start 3", "platform.runtimeDone 2", "platform.end 3", "platform.report 2"];
        assert_eq!(told(Dialect::Logs { has_runtime_done: true }), second);
    }

    #[test]
    fn what_is_not_one_is_refused() {
        for body in ["", "[]", "{", "1", r#"{"types":["platform"]}"#, "\u{0}"] {
            assert!(Subscription::read(Api::Telemetry, body.as_bytes()).is_err(), "{body}");
            assert!(Subscription::read(Api::Logs, body.as_bytes()).is_err(), "{body}");
        }
        for types in ["[]", "null", r#"["logs"]"#, "[1]", r#""platform""#] {
            assert!(read(types, "{}", HERE).is_err(), "{types}");
        }
        for buffering in [
            r#"{"maxItems":999}"#,
            r#"{"maxItems":10001}"#,
            r#"{"maxBytes":1}"#,
            r#"{"timeoutMs":24}"#,
            r#"{"timeoutMs":-1}"#,
            r#"{"timeoutMs":"25"}"#,
        ] {
            assert!(read(r#"["platform"]"#, buffering, HERE).is_err(), "{buffering}");
        }
        for uri in [
            "http://example.com:80",
            "http://127.0.0.1:80",
            "https://sandbox.localdomain:1",
            "http://sandbox.localdomain",
            "http://sandbox.localdomain:9001",
            "http://sandbox.localdomain:0",
            "http://sandbox.localdomain:99999",
            "",
            "x",
        ] {
            let destination = format!(r#"{{"protocol":"HTTP","URI":"{uri}"}}"#);
            assert!(read(r#"["platform"]"#, "{}", &destination).is_err(), "{uri}");
        }
        let tcp = r#"{"protocol":"TCP","port":8080}"#;
        assert!(read(r#"["platform"]"#, "{}", tcp).unwrap_err().contains("HTTP"));
    }
}
