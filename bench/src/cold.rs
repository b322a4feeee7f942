//! First requests: many functions of each kind, each with a package of its own, each invoked for the first time once.
//!
//! The platform is started anew after they were deployed, so nothing about them is in its memory. Their first requests
//! take turns with starts of the same interpreters, which are the floor of any cold start of a process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    client::Client,
    interrupt,
    load::Target,
    notes::Notes,
    package::Kind,
    plan::Plan,
    platform::{Function, Platform, Site},
    results::{ColdRow, median},
};

/// Further requests to a component, whose median is what a warm one takes.
const WARM_REQUESTS: usize = 20;

const KINDS: [(&str, Kind); 3] = [("python", Kind::Python), ("node", Kind::Node), ("wasm", Kind::Wasm)];

/// Measures every kind.
pub(crate) fn measure(site: &Site, plan: &Plan, scratch: &Path, notes: &mut Notes) -> Result<Vec<ColdRow>> {
    let functions: Vec<_> = (0..=plan.cold_functions)
        .flat_map(|number| {
            KINDS.map(|(kind_name, kind)| Function { name: format!("cold-{kind_name}-{number}"), kind, number })
        })
        .collect();
    let platform = Platform::start(site, scratch)?;
    platform.deploy(&functions)?;
    platform.end()?;
    let platform = Platform::start(site, scratch)?;

    // The platform's own first steps are no function's: one of each kind goes ahead of those that count.
    let (python, python_version) = platform.interpreter("cold-python-0").context("invoking Python")?;
    let (node, node_version) = platform.interpreter("cold-node-0").context("invoking Node.js")?;
    let mut client = Client::connect(platform.address())?;
    ask(&mut client, &platform.url("cold-wasm-0", Kind::Wasm)).context("invoking a component")?;
    let python = host_executable(python, &site.interpreters.python.executable);
    let node = host_executable(node, &site.interpreters.node.executable);
    notes.version("Python", python_version);
    notes.version("Node.js", node_version);

    let mut rows = [
        ("python-floor", "`python3 -c pass`"),
        ("python-cold", "**Updraft**, Python, first request"),
        ("node-floor", "`node -e 0`"),
        ("node-cold", "**Updraft**, Node.js, first request"),
        ("wasm-first", "**Updraft**, wasm, first request"),
        ("wasm-warm", "**Updraft**, wasm, a warm request after it"),
    ]
    .map(|(id, label)| ColdRow { id: id.to_owned(), label: label.to_owned(), times_ms: Vec::new() });
    for number in 1..=plan.cold_functions {
        let function = |kind_name: &str| format!("cold-{kind_name}-{number}");
        let wasm = platform.url(&function("wasm"), Kind::Wasm);
        let mut times = [
            start_and_end(&python, ["-c", "pass"])?,
            ask(&mut client, &platform.invoke(&function("python"), Kind::Python))?,
            start_and_end(&node, ["-e", "0"])?,
            ask(&mut client, &platform.invoke(&function("node"), Kind::Node))?,
            ask(&mut client, &wasm)?,
            Duration::ZERO,
        ]
        .map(|time| time.as_secs_f64() * 1e3);
        let warm = (0..WARM_REQUESTS).map(|_| ask(&mut client, &wasm)).collect::<Result<Vec<_>>>()?;
        times[5] = median(warm.into_iter().map(|time| time.as_secs_f64() * 1e3)).context("warm requests")?;
        for (row, time_ms) in rows.iter_mut().zip(times) {
            row.times_ms.push(time_ms);
        }
    }
    for row in &rows {
        let middle_ms = median(row.times_ms.iter().copied()).unwrap_or_default();
        eprintln!("  {:<14} {middle_ms:>8.2} ms", row.id);
    }
    platform.end()?;
    Ok(rows.into())
}

/// How long one request takes, given that the answer is the expected one.
fn ask(client: &mut Client, target: &Target) -> Result<Duration> {
    let reply = client.send(&target.request)?.expect(200)?;
    ensure!(reply.text().contains(target.expect), "another answer than expected: {}", reply.text());
    Ok(reply.took)
}

/// How long an interpreter takes to start, do nothing and end.
pub(crate) fn start_and_end(executable: &Path, arguments: [&str; 2]) -> Result<Duration> {
    interrupt::check()?;
    let mut command = Command::new(executable);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started_at = Instant::now();
    let status = command.status().with_context(|| format!("starting {}", executable.display()))?;
    let took = started_at.elapsed();
    ensure!(status.success(), "{} failed with {status}", executable.display());
    Ok(took)
}

/// The executable a function saw, if the host has it in the same place; else the one the search path leads to.
pub(crate) fn host_executable(seen: PathBuf, found: &Path) -> PathBuf {
    if seen.is_absolute() && seen.is_file() { seen } else { found.to_owned() }
}
