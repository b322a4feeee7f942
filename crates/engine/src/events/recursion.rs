//! Decides whether a chain of events has led to one function too often.
//!
//! The trace header carries the chain, as Lambda's does: `Lineage=TAG:COUNT|TAG:COUNT…`, one entry for each function that
//! an event of this trace was given to, and how often (source: «Using Lambda recursive loop detection», and the trace
//! header that Lambda's documentation shows in `_X_AMZN_TRACE_ID`). SDKs inside a function send it on with what they call,
//! and records of destinations inherit it. Whoever starts a trace of its own is not followed.
//! Invariants: following a function twice counts it twice, whatever else the header holds; a header stays bounded.

/// How often a function may be given events of one trace.
pub const COUNT_MAX: u32 = 16;
/// Functions that a header names; the one named first is forgotten first.
const ENTRIES_MAX: usize = 16;

/// Stands for a function in headers: eight hexadecimal digits made of its ARN (FNV-1a), the same on every start.
pub fn tag(arn: &str) -> String {
    let hash = arn.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// How often the chain of a trace header has led to the function of this tag.
pub fn count(trace: &str, tag: &str) -> u32 {
    entries(trace).find(|(of, _)| *of == tag).map_or(0, |(_, count)| count)
}

/// The header after the chain has led to the function of this tag once more.
pub fn follow(trace: &str, tag: &str) -> String {
    let mut lineage: Vec<(&str, u32)> = entries(trace).filter(|(of, _)| *of != tag).collect();
    lineage.push((tag, count(trace, tag).saturating_add(1)));
    let first = lineage.len().saturating_sub(ENTRIES_MAX);
    let lineage: Vec<String> = lineage[first..].iter().map(|(of, count)| format!("{of}:{count}")).collect();
    let mut fields: Vec<&str> =
        trace.split(';').map(str::trim).filter(|field| !field.is_empty() && lineage_of(field).is_none()).collect();
    let lineage = format!("Lineage={}", lineage.join("|"));
    fields.push(&lineage);
    fields.join(";")
}

fn lineage_of(field: &str) -> Option<&str> {
    field.trim().strip_prefix("Lineage=")
}

/// What is not an entry of ours is left out.
fn entries(trace: &str) -> impl Iterator<Item = (&str, u32)> {
    let lineage = trace.split(';').find_map(lineage_of).unwrap_or_default();
    lineage.split('|').filter_map(|entry| {
        let (of, count) = entry.split_once(':')?;
        let is_tag = of.len() == 8 && of.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_tag.then_some((of, count.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_is_counted_by_function() {
        let (one, other) = (tag("arn:one"), tag("arn:other"));
        assert_eq!((one.len(), one == other), (8, false));
        let trace = follow("Root=1-a-b;Parent=c;Sampled=0", &one);
        assert_eq!(trace, format!("Root=1-a-b;Parent=c;Sampled=0;Lineage={one}:1"));
        let trace = follow(&follow(&trace, &other), &one);
        assert_eq!((count(&trace, &one), count(&trace, &other), count(&trace, "00000000")), (2, 1, 0));
        assert!(trace.starts_with("Root=1-a-b;Parent=c;Sampled=0;Lineage="), "{trace}");
    }

    #[test]
    fn what_is_no_lineage_counts_for_nothing() {
        for odd in ["", "Lineage=", "Lineage=x", "Lineage=zzzzzzzz:1", "Lineage=00000000:-1", "Lineage=1:2:3|;;"] {
            let followed = follow(odd, "00000000");
            assert_eq!((count(odd, "00000000"), followed.as_str()), (0, "Lineage=00000000:1"), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn each_step_counts_once_and_headers_stay_bounded(given in "[ -~]{0,80}", steps in proptest::collection::vec(0..40_u8, 1..80)) {
            let mut trace = given.clone();
            for step in steps {
                let tag = tag(&step.to_string());
                let before = count(&trace, &tag);
                trace = follow(&trace, &tag);
                prop_assert_eq!(count(&trace, &tag), before + 1);
                prop_assert!(trace.len() <= given.len() + 16 * 20 + 10);
            }
        }
    }
}
