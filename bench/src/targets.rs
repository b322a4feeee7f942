//! The targets, and whether a run met them.

use crate::results::{Results, median};

/// One target beside what was measured.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// What it asks for.
    pub(crate) text: &'static str,
    /// What was measured, if it was.
    pub(crate) measured: Option<f64>,
    /// What it must reach or stay below; may itself be measured.
    pub(crate) limit: Option<f64>,
    /// On which side of the limit it must be.
    pub(crate) side: Side,
    /// What both are counted in.
    pub(crate) unit: Unit,
}

/// On which side of a limit the measured figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The limit or more.
    AtLeast,
    /// The limit or less.
    AtMost,
    /// Less than the limit.
    Below,
}

/// What figures are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Hundredths of another figure.
    Percent,
    /// Multiples of another figure.
    Times,
    /// ms
    Milliseconds,
    /// MB, 10⁶ bytes
    Megabytes,
}

/// What came of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Reached.
    Met,
    /// Measured, and not reached.
    NotMet,
    /// Not measured in this run.
    NotMeasured,
}

impl Target {
    /// What came of it.
    pub(crate) fn verdict(&self) -> Verdict {
        let (Some(measured), Some(limit)) = (self.measured, self.limit) else { return Verdict::NotMeasured };
        let is_met = match self.side {
            Side::AtLeast => measured >= limit,
            Side::AtMost => measured <= limit,
            Side::Below => measured < limit,
        };
        if is_met { Verdict::Met } else { Verdict::NotMet }
    }
}

/// Every target, in the order of the table.
pub(crate) fn of(results: &Results) -> Vec<Target> {
    use {Side::*, Unit::*};
    let wasm_over = |own, peer| results.warm(own)?.rate_over(results.warm(peer)?);
    let overhead_ms = |id| Some(results.warm(id)?.overhead_us()? / 1e3);
    // A call's way through the platform and on to the function are two round trips, whatever is between them.
    let round_trip_ms = results.warm("hyper").and_then(|row| Some(row.median(|round| round.single.p50_us)? / 1e3));
    let overhead_max = round_trip_ms.map(|one| 2.0 * (one + one));
    let below_bare = |id| Some(results.cold_ms(id)?.min(10.0));
    let rss_mb = results.idle.iter().map(|row| row.rss_mb).reduce(f64::max);
    let first_over_warm = || {
        let times = |id: &str| Some(&results.cold.iter().find(|row| row.id == id)?.times_ms);
        let (first, warm) = (times("wasm-first")?, times("wasm-warm")?);
        median(first.iter().zip(warm).map(|(first, warm)| first - warm))
    };
    let signature_ms =
        results.scale("signed-invoke").zip(results.scale("unsigned-invoke")).and_then(|(with, without)| {
            median(with.values.iter().zip(&without.values).map(|(with, without)| with - without))
        });
    // Fewer functions, as in a short run, say nothing about ten thousand.
    let is_many = results.method.many_functions >= 10_000;
    let many_mb = results.scale("many-memory").filter(|_| is_many);
    let many_mb = many_mb.and_then(|row| row.values.iter().copied().reduce(f64::max));
    let target = |text, measured, side, limit, unit| Target { text, measured, limit, side, unit };
    vec![
        target(
            "wasm hello, 16 connections: requests/s beside bare hyper",
            wasm_over("updraft-wasm", "hyper").map(|ratio| ratio * 100.0),
            AtLeast,
            Some(60.0),
            Percent,
        ),
        target("the same beside workerd", wasm_over("updraft-wasm", "workerd"), AtLeast, Some(3.0), Times),
        target("the same beside `wasmtime serve`", wasm_over("updraft-wasm", "wasmtime"), AtLeast, Some(6.0), Times),
        target(
            "a fresh instance for each request, beside `wasmtime serve`",
            wasm_over("updraft-wasm-fresh", "wasmtime"),
            AtLeast,
            Some(3.0),
            Times,
        ),
        target("first request of a wasm component over a warm one", first_over_warm(), AtMost, Some(1.0), Milliseconds),
        target(
            "warm Python invoke through the API: p50 over the handler's own time, at most 2 × two round trips of bare hyper",
            overhead_ms("updraft-python-api"),
            AtMost,
            overhead_max,
            Milliseconds,
        ),
        target(
            "warm Node.js invoke through the API: the same",
            overhead_ms("updraft-node-api"),
            AtMost,
            overhead_max,
            Milliseconds,
        ),
        target(
            "cold Python hello: p50 at most 10 ms, and below `python3 -c pass`",
            results.cold_ms("python-cold"),
            AtMost,
            below_bare("python-floor"),
            Milliseconds,
        ),
        target(
            "cold Node.js hello: p50 at most 10 ms, and below `node -e 0`",
            results.cold_ms("node-cold"),
            AtMost,
            below_bare("node-floor"),
            Milliseconds,
        ),
        target(
            "one flooding function beside a quiet one: the quiet one's p99 beside its p99 alone",
            results.scale_ratio("quiet-beside-flood", "quiet-alone"),
            AtMost,
            Some(3.0),
            Times,
        ),
        target(
            "0 → 100 concurrent Python instances: all answered, beside 100 bare starts",
            results.scale_ratio("out-100", "starts-100"),
            AtMost,
            Some(2.0),
            Times,
        ),
        target(
            "SnapStart, Python with a module of 1 s: first request, p50",
            results.scale_ms("snap-cold"),
            AtMost,
            Some(20.0),
            Milliseconds,
        ),
        target(
            "SnapStart, 0 → 100 instances: all answered, beside 100 bare starts",
            results.scale_ratio("snap-100", "snap-starts-100"),
            AtMost,
            Some(0.25),
            Times,
        ),
        target(
            "10,000 deployed functions: warm p50 beside one function's",
            results.scale_ratio("many-warm", "one-warm").filter(|_| is_many),
            AtMost,
            Some(1.1),
            Times,
        ),
        target(
            "10,000 deployed functions: GetFunction, p99",
            results.scale_ms("many-get").filter(|_| is_many),
            AtMost,
            Some(5.0),
            Milliseconds,
        ),
        target(
            "10,000 deployed functions: ListFunctions, p99",
            results.scale_ms("many-list").filter(|_| is_many),
            AtMost,
            Some(5.0),
            Milliseconds,
        ),
        target("10,000 deployed functions: resident memory", many_mb, AtMost, Some(150.0), Megabytes),
        target(
            "verifying a signature: what it adds to the p50 of a warm invoke",
            signature_ms,
            AtMost,
            Some(0.06),
            Milliseconds,
        ),
        target("idle platform with 1,000 functions: resident memory", rss_mb, Below, Some(100.0), Megabytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_the_limit_is_judged_by_the_side() {
        let verdict =
            |side, measured| Target { text: "", measured, limit: Some(2.0), side, unit: Unit::Times }.verdict();
        assert_eq!(verdict(Side::AtLeast, Some(2.0)), Verdict::Met);
        assert_eq!(verdict(Side::AtMost, Some(2.0)), Verdict::Met);
        assert_eq!(verdict(Side::Below, Some(2.0)), Verdict::NotMet);
        assert_eq!(verdict(Side::Below, None), Verdict::NotMeasured);
    }
}
