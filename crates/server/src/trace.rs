//! The trace header (X-Ray's format): passed on where a caller has one, made where it has none.

use http::{HeaderMap, HeaderName};
use updraft_types::Timestamp;

/// `X-Amzn-Trace-Id`.
pub(crate) const HEADER: HeaderName = updraft_types::invocation::TRACE_HEADER;
/// Most bytes of a caller's header that is kept; more is taken for none at all.
const BYTES_MAX: usize = 1_024;

/// The trace header of a request, or a new one: `Root=1-SECONDS-RANDOM`, both hexadecimal.
pub(crate) fn of(headers: &HeaderMap, at: Timestamp) -> String {
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
    given.map_or_else(|| fresh(at), str::to_owned)
}

/// The same with everything in it that a runtime would be given one of its own for, save whether it is sampled, which is
/// its function's to say.
pub(crate) fn whole(headers: &HeaderMap, at: Timestamp) -> String {
    let given = of(headers, at);
    let is_usable = given.len() <= BYTES_MAX && given.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let fields = |name: &str| given.split(';').any(|field| field.trim().starts_with(name));
    if !is_usable || !fields("Root=1-") {
        return format!("{};Parent={}", fresh(at), parent());
    }
    if fields("Parent=") { given } else { format!("{};Parent={}", given.trim_end_matches([' ', ';']), parent()) }
}

fn parent() -> String {
    uuid::Uuid::new_v4().simple().to_string()[16..].to_owned()
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

    #[test]
    fn one_that_is_kept_is_whole() {
        let at = Timestamp::from_ms(1_795_429_230_045);
        let whole = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, given.parse().unwrap());
            whole(&headers, at)
        };
        let own = "Root=1-a-b;Parent=c;Sampled=1;Lineage=00000000:1";
        assert_eq!(whole(own), own);
        let completed = whole("Root=1-a-b;Sampled=1;");
        let parent = completed.strip_prefix("Root=1-a-b;Sampled=1;Parent=").unwrap();
        assert!(parent.len() == 16 && parent.bytes().all(|digit| digit.is_ascii_hexdigit()), "{parent}");
        for odd in ["", "nonsense", &format!("Root=1-{}", "a".repeat(2_000))] {
            let made = whole(odd);
            assert!(made.starts_with("Root=1-6b0") && made.contains(";Parent=") && made.len() < 100, "{made}");
        }
    }
}
