//! The X-Ray trace header that a runtime is given with each invocation.
//!
//! A caller's is passed on; what it lacks is made up: a root, a parent, and whether the invocation is sampled, which is
//! the function's tracing mode's to say where the caller does not. Lambda gives runtimes a header either way. Pure but
//! for the random ids. There is no X-Ray here: nothing records what is sampled.

use updraft_types::{RequestId, function::TracingMode};

/// Most bytes of a caller's header; more is taken for none at all.
const BYTES_MAX: usize = 1024;

/// The header for an invocation that ends at `at_ms` at the latest, milliseconds since the epoch.
pub(super) fn header(given: Option<&str>, mode: TracingMode, request: &RequestId, at_ms: u64) -> String {
    let usable = |text: &&str| text.len() <= BYTES_MAX && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let given = given.filter(usable).unwrap_or_default();
    let has = |name: &str| given.split(';').any(|field| field.trim().starts_with(name));
    if !has("Root=1-") {
        return format!("Root={};Parent={};Sampled={}", root(request, at_ms), parent(), sampled(mode));
    }
    let mut header = given.trim_end_matches([' ', ';']).to_owned();
    if !has("Parent=") {
        header.push_str(&format!(";Parent={}", parent()));
    }
    // `?` leaves the decision to us.
    if header.contains("Sampled=?") {
        header = header.replace("Sampled=?", &format!("Sampled={}", sampled(mode)));
    } else if !has("Sampled=") {
        header.push_str(&format!(";Sampled={}", sampled(mode)));
    }
    header
}

/// The invocation's own id is as random as another.
fn root(request: &RequestId, at_ms: u64) -> String {
    format!("1-{:08x}-{}", (at_ms / 1000) & 0xffff_ffff, hexadecimal(request, 24))
}

fn parent() -> String {
    hexadecimal(&RequestId::random(), 16)
}

fn hexadecimal(id: &RequestId, digits: usize) -> String {
    let text = id.to_string();
    let digits_of: String = text.chars().filter(|digit| *digit != '-').collect();
    // The last ones: the version of the id is not among them.
    digits_of[digits_of.len().saturating_sub(digits)..].to_owned()
}

fn sampled(mode: TracingMode) -> u8 {
    u8::from(mode == TracingMode::Active)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(given: Option<&str>, mode: TracingMode) -> String {
        header(given, mode, &"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0".parse().unwrap(), 1_795_426_830_045)
    }

    #[test]
    fn one_that_is_missing_is_made() {
        let header = made(None, TracingMode::PassThrough);
        let (start, rest) = header.split_once(";Parent=").unwrap();
        assert_eq!(start, "Root=1-6b040a0e-4b5a69788796a5b4c3d2e1f0");
        let (parent, sampled) = rest.split_once(';').unwrap();
        assert!(parent.len() == 16 && parent.bytes().all(|digit| digit.is_ascii_hexdigit()), "{parent}");
        assert_eq!(sampled, "Sampled=0");
        assert!(made(None, TracingMode::Active).ends_with(";Sampled=1"));
        for bad in ["", "nonsense", "Root=", "Sampled=1", "Root=1-a\n", "Root=1-ä"] {
            assert!(made(Some(bad), TracingMode::Active).starts_with("Root=1-6b040a0e-"), "{bad}");
        }
        assert!(made(Some(&format!("Root=1-{}", "a".repeat(2000))), TracingMode::Active).len() < 100);
    }

    #[test]
    fn a_callers_is_passed_on_and_completed() {
        let whole = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1";
        assert_eq!(made(Some(whole), TracingMode::PassThrough), whole);
        let without = made(Some("Root=1-a-b;Parent=c"), TracingMode::Active);
        assert_eq!(without, "Root=1-a-b;Parent=c;Sampled=1");
        assert_eq!(
            made(Some("Root=1-a-b;Parent=c;Sampled=?"), TracingMode::PassThrough),
            "Root=1-a-b;Parent=c;Sampled=0"
        );
        let alone = made(Some("Root=1-a-b;"), TracingMode::PassThrough);
        assert!(alone.starts_with("Root=1-a-b;Parent=") && alone.ends_with(";Sampled=0"), "{alone}");
        assert_eq!(made(Some("Root=1-a-b;Parent=c;Sampled=0"), TracingMode::Active), "Root=1-a-b;Parent=c;Sampled=0");
    }
}
