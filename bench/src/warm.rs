//! Servers under load, each in its turn, round after round: every round sees the same machine in the same minute, so
//! its ratios hold even when the machine's speed drifts.
//!
//! All servers run from the first round to the last and do nothing out of turn.

use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use crate::{
    child::Server,
    load::{self, Sample, Shape, Target},
    notes::Notes,
    package::Kind,
    peers::{self, Tuning},
    plan::{Plan, SERVERS},
    platform::{Function, Platform, Site},
    results::{Latency, Processor, WarmRound, WarmRow},
};

/// Connections of the throughput measurement.
const CONNECTIONS: usize = 16;

/// Servers that run, and how to load each.
struct Field<'a> {
    platform: Option<Platform<'a>>,
    peers: Vec<Server>,
    targets: HashMap<&'static str, Target>,
}

/// Loads every server the plan wants. What could not be had or failed is in the notes.
pub(crate) fn measure(site: &Site, plan: &Plan, scratch: &Path, notes: &mut Notes) -> Result<Vec<WarmRow>> {
    let field = Field::start(site, plan, scratch, notes)?;
    let entrants = SERVERS.iter().filter_map(|(id, label)| Some((*id, *label, field.targets.get(id)?)));
    let entrants: Vec<_> = entrants.collect();
    let row = |(id, label, _): &(&str, &str, &Target)| WarmRow {
        id: (*id).to_owned(),
        label: (*label).to_owned(),
        rounds: Vec::new(),
    };
    let mut rows: Vec<WarmRow> = entrants.iter().map(row).collect();
    for round in 0..plan.rounds {
        for ((id, _, target), row) in entrants.iter().zip(&mut rows) {
            let turn = take_turn(id, target, plan).with_context(|| format!("{id}, round {}", round + 1));
            match turn {
                Ok(turn) => {
                    let (rate, single) = (turn.rate, turn.single.p50_us);
                    let time = turn.processor.map_or(0.0, |time| time.server_us);
                    eprintln!(
                        "  round {} {id:<20} {rate:>9.0} requests/s of {time:>6.1} µs, p50 at one connection {single:>7.0} µs",
                        round + 1
                    );
                    row.rounds.push(turn);
                }
                Err(error) => notes.error(format!("{error:#}"))?,
            }
        }
    }
    // A server that failed in one of its turns has no figures that could be set beside another's.
    rows.retain(|row| row.rounds.len() == plan.rounds);
    field.end()?;
    Ok(rows)
}

fn take_turn(id: &str, target: &Target, plan: &Plan) -> Result<WarmRound> {
    let starts_processes = id.starts_with("updraft-python") || id.starts_with("updraft-node");
    let warmup = if starts_processes { plan.process_warmup } else { plan.warmup };
    let load = |connections, warmup| -> Result<Sample> {
        let sample = load::run(target, Shape { connections, warmup, measured: plan.measured })?;
        let first = sample.first_error.as_deref().unwrap_or_default();
        ensure!(sample.errors == 0, "{} of the requests failed, the first: {first}", sample.errors);
        Ok(sample)
    };
    let busy = load(CONNECTIONS, warmup)?;
    let single = load(1, plan.warmup.min(Duration::from_millis(200)))?;
    Ok(WarmRound {
        rate: busy.rate(),
        busy: latency(&busy.latency_ns),
        single: latency(&single.latency_ns),
        processor: Some(Processor {
            server_us: busy.per_answer_us(busy.server_time),
            generator_us: busy.per_answer_us(busy.own_time),
        }),
        overhead_us: target.tells_own_time.then(|| at(&single.overhead_ns, 0.5)),
    })
}

fn latency(histogram_ns: &Histogram<u64>) -> Latency {
    Latency { p50_us: at(histogram_ns, 0.5), p99_us: at(histogram_ns, 0.99) }
}

fn at(histogram_ns: &Histogram<u64>, quantile: f64) -> f64 {
    histogram_ns.value_at_quantile(quantile) as f64 / 1e3
}

impl<'a> Field<'a> {
    fn start(site: &'a Site, plan: &Plan, scratch: &Path, notes: &mut Notes) -> Result<Self> {
        let mut field = Self { platform: None, peers: Vec::new(), targets: HashMap::new() };
        let component = site.repository.join("examples/edge/hello.wasm");
        let downloads = site.repository.join("target/bench-peers");
        if plan.wants_server("hyper") {
            field.enter("hyper", peers::serve_hyper(scratch)?);
        }
        let tunings = [("wasmtime", Tuning::Default), ("wasmtime-reuse", Tuning::Reuse)];
        if tunings.iter().any(|(id, _)| plan.wants_server(id)) {
            let wasmtime = peers::wasmtime(&downloads, &site.interpreters.python);
            if let Some((executable, version)) = notes.had("wasmtime serve", wasmtime)? {
                notes.version("wasmtime serve", version);
                for (id, tuning) in tunings.into_iter().filter(|(id, _)| plan.wants_server(id)) {
                    field.enter(id, peers::serve_wasmtime(&executable, &component, scratch, tuning)?);
                }
            }
        }
        if plan.wants_server("workerd")
            && let Some((executable, version)) = notes.had("workerd", peers::workerd(&downloads))?
        {
            notes.version("workerd", version);
            field.enter("workerd", peers::serve_workerd(&executable, &site.repository, scratch)?);
        }
        if plan.wants_server("node") {
            field.enter("node", peers::serve_node(&site.interpreters.node, &site.repository, scratch)?);
        }
        if SERVERS.iter().any(|(id, _)| id.starts_with("updraft") && plan.wants_server(id)) {
            let entered =
                field.enter_platform(site, plan, scratch, notes).context("starting Updraft for the warm part");
            if let Err(error) = entered {
                notes.error(format!("{error:#}"))?;
            }
        }
        Ok(field)
    }

    fn enter(&mut self, id: &'static str, server: Server) {
        self.targets.insert(id, peers::target(&server));
        self.peers.push(server);
    }

    fn enter_platform(&mut self, site: &'a Site, plan: &Plan, scratch: &Path, notes: &mut Notes) -> Result<()> {
        let platform = Platform::start(site, scratch)?;
        let kinds = [("wasm", Kind::Wasm), ("web", Kind::Web), ("python", Kind::Python), ("node", Kind::Node)];
        let wanted = |name: &str| {
            let ours = |id: &str| id.strip_prefix("updraft-").is_some_and(|rest| rest.split('-').next() == Some(name));
            SERVERS.iter().any(|(id, _)| ours(id) && plan.wants_server(id))
        };
        let functions: Vec<_> = kinds
            .into_iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, kind)| Function { name: name.to_owned(), kind, number: 0 })
            .collect();
        platform.deploy(&functions)?;
        if plan.wants_server("updraft-wasm-fresh") {
            platform.deploy(&[Function { name: "fresh".to_owned(), kind: Kind::Wasm, number: 0 }])?;
            platform.refresh("fresh")?;
        }
        for (name, version) in [("python", "Python"), ("node", "Node.js")].into_iter().filter(|(name, _)| wanted(name))
        {
            notes.version(version, platform.interpreter(name)?.1);
        }
        for (id, _) in SERVERS.iter().filter(|(id, _)| plan.wants_server(id)) {
            let target = match *id {
                "updraft-wasm" => platform.url("wasm", Kind::Wasm),
                "updraft-wasm-api" => platform.invoke("wasm", Kind::Wasm),
                "updraft-wasm-fresh" => platform.url("fresh", Kind::Wasm),
                "updraft-web" => platform.url("web", Kind::Web),
                "updraft-python-api" => platform.invoke("python", Kind::Python),
                "updraft-python-url" => platform.url("python", Kind::Python),
                "updraft-node-api" => platform.invoke("node", Kind::Node),
                "updraft-node-url" => platform.url("node", Kind::Node),
                _ => continue,
            };
            self.targets.insert(id, target);
        }
        self.platform = Some(platform);
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.peers.into_iter().try_for_each(Server::end)?;
        self.platform.map_or(Ok(()), Platform::end)
    }
}
