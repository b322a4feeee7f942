//! The table: results as Markdown, for the terminal and for `docs/benchmarks.md`.
//!
//! In the document the figures stand between two markers and come from `bench/results/latest.json` alone; a test
//! compares the two, so no figure there can be written or changed by hand.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{
    results::{FORMAT, Latency, Results, WarmRow, quantile},
    soak::Soak,
    targets::{self, Side, Unit, Verdict},
};

const DOCUMENT: &str = "docs/benchmarks.md";
const RECORD: &str = "bench/results/latest.json";
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench`, do not edit -->";
const END: &str = "<!-- end of figures -->";
const SOAK_RECORD: &str = "bench/results/soak.json";
const SOAK_BEGIN: &str = "<!-- soak: written by `cargo xtask bench soak`, do not edit -->";
const SOAK_END: &str = "<!-- end of soak -->";
const UNRECORDED: &str = "No complete run has been recorded yet: `cargo xtask bench` records one.\n";

/// Keeps these results as the recorded ones, and writes the document's table from them.
pub(crate) fn record(repository: &Path, results: &Results) -> Result<()> {
    let path = repository.join(RECORD);
    fs::create_dir_all(path.parent().context("the record has a folder")?)?;
    fs::write(&path, serde_json::to_string_pretty(results)? + "\n")?;
    write_document(repository)
}

/// Keeps this soak as the recorded one, and writes the document's table from it.
pub(crate) fn record_soak(repository: &Path, soak: &Soak) -> Result<()> {
    fs::write(repository.join(SOAK_RECORD), serde_json::to_string_pretty(soak)? + "\n")?;
    write_document(repository)
}

/// Writes the document's tables from what is recorded.
pub(crate) fn write_document(repository: &Path) -> Result<()> {
    let path = repository.join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("reading {DOCUMENT}"))?;
    let (before, _, after) = split(&document, BEGIN, END)?;
    let document = format!("{before}{BEGIN}\n\n{}\n{END}{after}", recorded_table(repository)?);
    let (before, _, after) = split(&document, SOAK_BEGIN, SOAK_END)?;
    Ok(fs::write(path, format!("{before}{SOAK_BEGIN}\n\n{}\n{SOAK_END}{after}", recorded_soak(repository)?))?)
}

fn recorded_soak(repository: &Path) -> Result<String> {
    let path = repository.join(SOAK_RECORD);
    if !path.exists() {
        return Ok("No soak has been recorded yet: `cargo xtask bench soak` records one.\n".to_owned());
    }
    let soak: Soak = serde_json::from_slice(&fs::read(path)?).with_context(|| format!("reading {SOAK_RECORD}"))?;
    Ok(soak.table())
}

fn recorded_table(repository: &Path) -> Result<String> {
    let path = repository.join(RECORD);
    if !path.exists() {
        return Ok(UNRECORDED.to_owned());
    }
    let results: Results = serde_json::from_slice(&fs::read(path)?).with_context(|| format!("reading {RECORD}"))?;
    ensure!(results.format == FORMAT, "{RECORD} has format {}, not {FORMAT}", results.format);
    Ok(table(&results))
}

/// What stands before the markers, between them and after them.
fn split<'a>(document: &'a str, begin: &str, end: &str) -> Result<(&'a str, &'a str, &'a str)> {
    let (before, rest) = document.split_once(begin).with_context(|| format!("no line {begin} in {DOCUMENT}"))?;
    let (figures, after) = rest.split_once(end).with_context(|| format!("no line {end} in {DOCUMENT}"))?;
    Ok((before, figures, after))
}

/// Results as Markdown.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    write_table(&mut text, results).expect("writing to a String does not fail");
    text
}

fn write_table(text: &mut String, results: &Results) -> std::fmt::Result {
    let (machine, method) = (&results.machine, &results.method);
    writeln!(
        text,
        "Recorded {} on {} ({} cores, {:.0} GiB, Linux {}); {} rounds of {} s. Something else took {:.0} % of the \
         machine's time.\n",
        results.recorded_at,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        method.rounds,
        method.measured_s,
        method.busy_share * 100.0
    )?;
    let versions: Vec<_> = results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    writeln!(text, "With {}.\n", versions.join("; "))?;
    if !results.missing.is_empty() {
        writeln!(text, "**Missing, could not be fetched:** {}.\n", results.missing.join(", "))?;
    }
    if !results.errors.is_empty() {
        writeln!(text, "**Not a result, {} errors:**\n", results.errors.len())?;
        for error in &results.errors {
            writeln!(text, "- {}", error.replace('\n', " "))?;
        }
        writeln!(text)?;
    }
    write_targets(text, results)?;
    write_warm(text, results)?;
    write_cold(text, results)?;
    write_idle(text, results)?;
    write_scale(text, results)
}

fn write_targets(text: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(text, "### Targets\n\n| target | limit | measured | |\n|---|--:|--:|---|")?;
    for target in targets::of(results) {
        let side = match target.side {
            Side::AtLeast => "≥",
            Side::AtMost => "≤",
            Side::Below => "<",
        };
        let figure = |value: Option<f64>| match (value, target.unit) {
            (None, _) => "–".to_owned(),
            (Some(value), Unit::Percent) => format!("{value:.0} %"),
            (Some(value), Unit::Times) => format!("{value:.2} ×"),
            (Some(value), Unit::Milliseconds) => format!("{value:.2} ms"),
            (Some(value), Unit::Megabytes) => format!("{value:.1} MB"),
        };
        let verdict = match target.verdict() {
            Verdict::Met => "met",
            Verdict::NotMet => "**not met**",
            Verdict::NotMeasured => "not measured",
        };
        let limit = target.limit.map_or("–".to_owned(), |limit| format!("{side} {}", figure(Some(limit))));
        writeln!(text, "| {} | {limit} | {} | {verdict} |", target.text, figure(target.measured))?;
    }
    writeln!(text)
}

fn write_warm(text: &mut String, results: &Results) -> std::fmt::Result {
    if results.warm.is_empty() {
        return Ok(());
    }
    writeln!(text, "### Warm\n")?;
    writeln!(
        text,
        "| server | requests/s, 16 connections | lowest – highest | of bare hyper | processor, server | generator | p50 | p99 \
         | p50, 1 connection | p99 | p50 over the handler |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    let hyper = results.warm("hyper");
    for row in &results.warm {
        let rates = || row.rounds.iter().map(|round| round.rate);
        let range = quantile(rates(), 0.0).zip(quantile(rates(), 1.0));
        let share = hyper.and_then(|hyper| row.rate_over(hyper));
        let time = row.processor_us();
        let (busy, single) = (latency(row, |round| round.busy), latency(row, |round| round.single));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {busy} | {single} | {} |",
            row.label,
            or_dash(row.median(|round| round.rate), grouped),
            or_dash(range, |(low, high)| format!("{} – {}", grouped(low), grouped(high))),
            or_dash(share, |share| format!("{:.0} %", share * 100.0)),
            or_dash(time.map(|(server, _)| server), processor),
            or_dash(time.map(|(_, generator)| generator), processor),
            or_dash(row.overhead_us(), microseconds),
        )?;
    }
    writeln!(text)
}

/// Two cells: the median over the rounds of p50 and of p99.
fn latency(row: &WarmRow, which: impl Fn(&crate::results::WarmRound) -> Latency) -> String {
    let p50 = row.median(|round| which(round).p50_us);
    let p99 = row.median(|round| which(round).p99_us);
    format!("{} | {}", or_dash(p50, microseconds), or_dash(p99, microseconds))
}

fn write_cold(text: &mut String, results: &Results) -> std::fmt::Result {
    if results.cold.is_empty() {
        return Ok(());
    }
    writeln!(text, "### Cold\n\n| what | times | median | p90 | slowest |\n|---|--:|--:|--:|--:|")?;
    for row in &results.cold {
        let at = |share| or_dash(quantile(row.times_ms.iter().copied(), share), |ms| format!("{ms:.2} ms"));
        writeln!(text, "| {} | {} | {} | {} | {} |", row.label, row.times_ms.len(), at(0.5), at(0.9), at(1.0))?;
    }
    writeln!(text)
}

fn write_idle(text: &mut String, results: &Results) -> std::fmt::Result {
    if results.idle.is_empty() {
        return Ok(());
    }
    writeln!(text, "### Idle with {} functions\n", grouped(results.method.idle_functions as f64))?;
    writeln!(text, "| when | processes | resident | shared pages once |\n|---|--:|--:|--:|")?;
    for row in &results.idle {
        writeln!(text, "| {} | {} | {:.1} MB | {:.1} MB |", row.label, row.processes, row.rss_mb, row.pss_mb)?;
    }
    writeln!(text)
}

fn write_scale(text: &mut String, results: &Results) -> std::fmt::Result {
    if results.scale.is_empty() {
        return Ok(());
    }
    writeln!(text, "### Scaling\n")?;
    writeln!(text, "“All the others” are {}.\n", grouped(results.method.many_functions as f64))?;
    writeln!(text, "| what | median | lowest | highest |\n|---|--:|--:|--:|")?;
    for row in &results.scale {
        let figure = |value: f64| match row.unit.as_str() {
            "ms" => format!("{value:.2} ms"),
            "MB" => format!("{value:.1} MB"),
            unit => format!("{} {unit}", grouped(value)),
        };
        let at = |share| or_dash(quantile(row.values.iter().copied(), share), figure);
        writeln!(text, "| {} | {} | {} | {} |", row.label, at(0.5), at(0.0), at(1.0))?;
    }
    writeln!(text)
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or("–".to_owned(), show)
}

fn microseconds(value_us: f64) -> String {
    if value_us < 10_000.0 { format!("{value_us:.0} µs") } else { format!("{:.1} ms", value_us / 1e3) }
}

fn processor(value_us: f64) -> String {
    if value_us < 1_000.0 { format!("{value_us:.1} µs") } else { microseconds(value_us) }
}

/// A whole number, its digits in groups of three.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_exactly_the_recorded_results() {
        let repository = crate::repository();
        let document = fs::read_to_string(repository.join(DOCUMENT)).unwrap();
        for (begin, end, expected) in
            [(BEGIN, END, recorded_table(&repository)), (SOAK_BEGIN, SOAK_END, recorded_soak(&repository))]
        {
            let (_, figures, _) = split(&document, begin, end).unwrap();
            assert_eq!(figures.trim(), expected.unwrap().trim(), "run: cargo run -p updraft-bench -- render");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0.0, 999.4, 1_000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn every_target_is_told_even_when_nothing_was_measured() {
        let results: Results = serde_json::from_value(serde_json::json!({
            "format": FORMAT, "recorded_at": "now", "versions": {}, "missing": ["workerd"], "errors": ["a\nb"],
            "method": {"is_complete": false, "busy_share": 0.0, "rounds": 1, "measured_s": 1.0, "cold_functions": 1, "idle_functions": 1},
            "machine": {"processor": "p", "cores": 1, "memory_gib": 1.0, "kernel": "k"},
            "warm": [], "cold": [], "idle": [],
        }))
        .unwrap();
        let text = table(&results);
        assert_eq!(text.matches("not measured").count(), targets::of(&results).len());
        assert!(text.contains("could not be fetched:** workerd") && text.contains("- a b"), "{text}");
    }
}
