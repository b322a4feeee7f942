//! What an extension asks of the Telemetry API: which events, how buffered, and where to.
//!
//! Pure: reads the body of a subscription, and refuses with a sentence what is not one (bounds: AWS's reference of the
//! Telemetry API). Only HTTP into the sandbox itself is served.

use std::time::Duration;

use serde_json::Value;

/// The schema whose events are sent.
pub(super) const SCHEMA: &str = "2022-12-13";
const SCHEMAS: [&str; 2] = ["2022-07-01", SCHEMA];

/// Names of the sandbox's own loopback in a destination.
pub(crate) const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];

/// Most bytes of a destination's address.
const URI_BYTES_MAX: usize = 1024;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) platform: bool,
    pub(crate) function: bool,
    pub(crate) extension: bool,
    pub(crate) buffering: Buffering,
    pub(crate) port: u16,
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
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "The body is not JSON".to_owned())?;
        let schema = body.get("schemaVersion").and_then(Value::as_str).unwrap_or(SCHEMA);
        if !SCHEMAS.contains(&schema) {
            return Err(format!("schemaVersion is not one of {SCHEMAS:?}"));
        }
        let types = body.get("types").and_then(Value::as_array).ok_or("types is not a list")?;
        let types: Option<Vec<&str>> = types.iter().map(Value::as_str).collect();
        let types = types.ok_or("types holds something that is not text")?;
        let is_known = |kind: &&str| ["platform", "function", "extension"].contains(kind);
        if types.is_empty() || !types.iter().all(is_known) {
            return Err("types has to name some of platform, function and extension".to_owned());
        }
        let has = |kind: &str| types.contains(&kind);
        let (port, path) = destination(body.get("destination"))?;
        let buffering = buffering(body.get("buffering"))?;
        let (platform, function, extension) = (has("platform"), has("function"), has("extension"));
        Ok(Self { platform, function, extension, buffering, port, path })
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
        Subscription::read(body.as_bytes())
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
            br#"{"types":["extension"],"destination":{"protocol":"HTTP","URI":"http://sandbox:1234"}}"#,
        );
        let plain = plain.unwrap();
        assert_eq!((plain.path.as_str(), plain.extension, plain.platform), ("/", true, false));
        assert_eq!(plain.buffering.items_max, 10_000);
    }

    #[test]
    fn what_is_not_one_is_refused() {
        for body in ["", "[]", "{", "1", r#"{"types":["platform"]}"#, "\u{0}"] {
            assert!(Subscription::read(body.as_bytes()).is_err(), "{body}");
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
