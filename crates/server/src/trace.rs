//! The trace header (X-Ray's format): passed on where a caller has one, made where it has none.

use http::{HeaderMap, HeaderName};
use updraft_types::Timestamp;

/// `X-Amzn-Trace-Id`.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// The trace header of a request, or a new one: `Root=1-SECONDS-RANDOM`, both hexadecimal.
pub(crate) fn of(headers: &HeaderMap, at: Timestamp) -> String {
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
    given.map_or_else(|| fresh(at), str::to_owned)
}

fn fresh(at: Timestamp) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{}", at.as_ms() / 1000, &random[..24])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_kept_or_made() {
        let at = Timestamp::from_ms(1_795_429_230_045);
        let made = of(&HeaderMap::new(), at);
        assert_eq!(made.len(), "Root=1-00000000-000000000000000000000000".len());
        assert!(made.starts_with("Root=1-6b0"), "{made}");
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, "Root=1-a;Sampled=1".parse().unwrap());
        assert_eq!(of(&headers, at), "Root=1-a;Sampled=1");
    }
}
