//! Scaling: a flood beside a quiet function, from nothing to a hundred instances at once, and ten thousand functions.
//!
//! Each round measures both sides of a ratio one after the other, so that it holds when the machine's speed drifts.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    client::Client,
    cold, idle, interrupt,
    load::{self, Shape, Target},
    package::Kind,
    plan::Plan,
    platform::{Function, Platform, Site},
    results::{ScaleRow, median},
};

/// Connections of the flood, each with a request under way all the time.
const FLOOD_CONNECTIONS: usize = 100;
/// Pause between two calls of the quiet function.
const QUIET_PAUSE: Duration = Duration::from_millis(5);
/// Instances started at once.
const INSTANCES: usize = 100;
/// Pause before that, so that the round before is no longer another function at work: beside one a function grows more
/// slowly while the processors are busy.
const CALM: Duration = Duration::from_secs(3);
/// How long each of them holds its call, so that none can serve two.
const HOLD: Duration = Duration::from_secs(6);

/// A quiet function alone, and beside one that is called without pause over a hundred connections.
pub(crate) fn flood(site: &Site, plan: &Plan, scratch: &Path) -> Result<Vec<ScaleRow>> {
    let platform = Platform::start(site, scratch)?;
    let function = |name: &str, number| Function { name: name.to_owned(), kind: Kind::Python, number };
    platform.deploy(&[function("quiet", 1), function("flood", 2)])?;
    let (quiet, flood) = (platform.invoke("quiet", Kind::Python), platform.invoke("flood", Kind::Python));
    let mut alone = ScaleRow::new("quiet-alone", "quiet Python function alone, p99", "ms");
    let mut beside = ScaleRow::new("quiet-beside-flood", "the same beside the flood, p99", "ms");
    let mut rate = ScaleRow::new("flood-rate", "the flood meanwhile, 100 connections", "requests/s");
    call_quietly(&quiet, plan.warmup, &AtomicBool::new(true))?;
    for _ in 0..plan.rounds {
        alone.values.push(call_quietly(&quiet, plan.measured, &AtomicBool::new(true))?);
        let is_flooding = AtomicBool::new(false);
        let (quiet_ms, sample) = thread::scope(|scope| -> Result<_> {
            let warmup = plan.process_warmup;
            let shape = Shape { connections: FLOOD_CONNECTIONS, warmup, measured: plan.measured };
            let flooding = scope.spawn({
                let flood = &flood;
                move || load::run(flood, shape)
            });
            let quietly = scope.spawn(|| call_quietly(&quiet, plan.measured, &is_flooding));
            thread::sleep(warmup);
            is_flooding.store(true, Ordering::Relaxed);
            let quiet_ms = quietly.join().expect("the quiet caller does not panic")?;
            Ok((quiet_ms, flooding.join().expect("the flood does not panic")?))
        })?;
        let first = sample.first_error.as_deref().unwrap_or_default();
        ensure!(sample.errors == 0, "{} of the flood's requests failed, the first: {first}", sample.errors);
        beside.values.push(quiet_ms);
        rate.values.push(sample.rate());
    }
    platform.end()?;
    Ok(vec![alone.told(), beside.told(), rate.told()])
}

/// The 99th percentile, ms, of calls with a pause between them. Calls before `counts` do not count, but are made.
fn call_quietly(target: &Target, measured: Duration, counts: &AtomicBool) -> Result<f64> {
    let mut client = Client::connect(target.address)?;
    let mut latency_us = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    let mut ends_at = None;
    while ends_at.is_none_or(|at| Instant::now() < at) {
        let does_count = counts.load(Ordering::Relaxed);
        let reply = client.send(&target.request)?.expect(200)?;
        ensure!(reply.text().contains(target.expect), "another answer than expected: {}", reply.text());
        if does_count {
            ends_at.get_or_insert_with(|| Instant::now() + measured);
            latency_us.saturating_record(u64::try_from(reply.took.as_micros()).unwrap_or(u64::MAX).max(1));
        }
        thread::sleep(QUIET_PAUSE);
    }
    Ok(latency_us.value_at_quantile(0.99) as f64 / 1e3)
}

/// A hundred calls at once to a function that has no instance, each held until all have one; beside a hundred starts at
/// once of the same interpreter. What is told is the time over the hold.
pub(crate) fn out(site: &Site, plan: &Plan, scratch: &Path) -> Result<Vec<ScaleRow>> {
    let rounds = u32::try_from(plan.rounds)?;
    let platform = Platform::start(site, scratch)?;
    let functions: Vec<_> =
        (0..=rounds).map(|number| Function { name: format!("out-{number}"), kind: Kind::Hold, number }).collect();
    platform.deploy(&functions)?;
    platform.deploy(&[Function { name: "out-python".to_owned(), kind: Kind::Python, number: 0 }])?;
    // The platform's own first steps are no function's.
    hold(&platform, "out-0", Kind::Hold, 1, Duration::ZERO)?;
    let (python, _) = platform.interpreter("out-python")?;
    let python = cold::host_executable(python, &site.interpreters.python.executable);
    let mut bare = ScaleRow::new("starts-100", "100 × `python3 -c pass`, all started at once", "ms");
    let mut ours = ScaleRow::new("out-100", "**Updraft**, 0 → 100 Python instances, all calls answered", "ms");
    for round in 1..=rounds {
        bare.values.push(start_at_once(&python)?);
        ours.values.push(from_nothing(&platform, &format!("out-{round}"), "", Kind::Hold)?);
    }
    platform.end()?;
    Ok(vec![bare.told(), ours.told()])
}

/// [`hold`] of a hundred instances, which are gone again when it returns: together with those of the next round they
/// would fill this machine's memory as functions reserve it, and those could only start as these give way.
pub(crate) fn from_nothing(platform: &Platform<'_>, function: &str, qualifier: &str, kind: Kind) -> Result<f64> {
    let reserved_bytes = platform.reserved_bytes()?;
    thread::sleep(CALM);
    let took_ms = hold(platform, &format!("{function}{qualifier}"), kind, INSTANCES, HOLD)?;
    platform.vacate(function, reserved_bytes)?;
    Ok(took_ms)
}

/// Time until all of so many interpreters, started at once, have ended, ms.
pub(crate) fn start_at_once(executable: &Path) -> Result<f64> {
    interrupt::check()?;
    let began = Instant::now();
    let children: Vec<_> = (0..INSTANCES)
        .map(|_| {
            let mut command = Command::new(executable);
            command.args(["-c", "pass"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().with_context(|| format!("starting {}", executable.display()))
        })
        .collect();
    for child in children {
        let status = child?.wait()?;
        ensure!(status.success(), "an interpreter failed with {status}");
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Time until all of so many calls at once are answered, less what they are held, ms. Each must have had an instance of
/// its own.
fn hold(platform: &Platform<'_>, function: &str, kind: Kind, calls: usize, held: Duration) -> Result<f64> {
    let event = json!({ "hold_ms": u64::try_from(held.as_millis())? });
    let target = platform.invoke_with(function, kind, &event);
    let together = Arc::new(Barrier::new(calls));
    let began_and_instances = thread::scope(|scope| -> Result<Vec<(Instant, Instant, String)>> {
        let callers: Vec<_> = (0..calls)
            .map(|_| {
                let (target, together) = (&target, together.clone());
                scope.spawn(move || -> Result<_> {
                    let client = Client::connect(target.address);
                    // Whoever failed to connect still lets the others go.
                    together.wait();
                    let began = Instant::now();
                    let reply = client?.send(&target.request)?.expect(200)?;
                    let answered = Instant::now();
                    let answer: Value = serde_json::from_slice(&reply.body)?;
                    let instance = answer["instance"].as_str().context("no instance in the answer")?;
                    Ok((began, answered, instance.to_owned()))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller does not panic")).collect()
    })?;
    let began = began_and_instances.iter().map(|(began, ..)| *began).min().context("at least one call")?;
    let answered = began_and_instances.iter().map(|(_, answered, _)| *answered).max().context("at least one call")?;
    let instances: BTreeSet<_> = began_and_instances.iter().map(|(.., instance)| instance).collect();
    ensure!(instances.len() == calls, "{calls} calls were served by {} instances", instances.len());
    Ok((answered - began).saturating_sub(held).as_secs_f64() * 1e3)
}

/// A warm function on a platform of its own, and on one with thousands of others; and what the latter holds, and how long it
/// takes to tell of them.
pub(crate) fn many(site: &Site, plan: &Plan, scratch: &Path) -> Result<Vec<ScaleRow>> {
    let folder = |name: &str| -> Result<PathBuf> {
        let folder = scratch.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    let functions: Vec<_> = (0..plan.many_functions)
        .map(|number| Function { name: format!("many-{number}"), kind: Kind::Python, number })
        .collect();
    let single = Platform::start(site, &folder("single")?)?;
    single.deploy(&functions[..1])?;
    let crowded_folder = folder("crowded")?;
    let crowded = Platform::start(site, &crowded_folder)?;
    crowded.deploy(&functions)?;
    let mut memory = ScaleRow::new("many-memory", "resident with all of them deployed, then started anew", "MB");
    memory.values.push(idle::resident_mb(&crowded, plan)?);
    crowded.end()?;
    let crowded = Platform::start(site, &crowded_folder)?;
    memory.values.push(idle::resident_mb(&crowded, plan)?);
    let mut alone = ScaleRow::new("one-warm", "warm Python function, the only one, p50 over one connection", "ms");
    let mut among = ScaleRow::new("many-warm", "the same among all the others", "ms");
    let middle = format!("many-{}", plan.many_functions / 2);
    let (one, other) = (single.invoke("many-0", Kind::Python), crowded.invoke(&middle, Kind::Python));
    for _ in 0..plan.rounds {
        for (row, target) in [(&mut alone, &one), (&mut among, &other)] {
            let sample = load::run(target, Shape { connections: 1, warmup: plan.warmup, measured: plan.measured })?;
            let first = sample.first_error.as_deref().unwrap_or_default();
            ensure!(sample.errors == 0, "{} of the requests failed, the first: {first}", sample.errors);
            row.values.push(sample.latency_ns.value_at_quantile(0.5) as f64 / 1e6);
        }
    }
    let mut get = ScaleRow::new("many-get", "GetFunction among all of them, p99", "ms");
    let mut list = ScaleRow::new("many-list", "ListFunctions, a page of 50 of them, p99", "ms");
    for _ in 0..plan.rounds {
        get.values.push(crowded.control_p99_ms(plan.measured, |call| {
            // A step that shares no factor with the number comes by all of them.
            format!("/2015-03-31/functions/many-{}", u64::from(call) * 7_919 % u64::from(plan.many_functions))
        })?);
        list.values.push(crowded.control_p99_ms(plan.measured, |_| "/2015-03-31/functions".to_owned())?);
    }
    single.end()?;
    crowded.end()?;
    Ok(vec![alone.told(), among.told(), memory.told(), get.told(), list.told()])
}

impl ScaleRow {
    pub(crate) fn new(id: &str, label: &str, unit: &str) -> Self {
        Self { id: id.to_owned(), label: label.to_owned(), unit: unit.to_owned(), values: Vec::new() }
    }

    pub(crate) fn told(self) -> Self {
        let middle = median(self.values.iter().copied()).unwrap_or_default();
        eprintln!("  {:<20} {middle:>10.2} {}", self.id, self.unit);
        self
    }
}
