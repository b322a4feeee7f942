//! `cargo xtask sim`: replays a trace under every keep-alive policy, and records what came of it.

use std::{fmt::Write, fs, num::NonZero, path::PathBuf, thread, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use updraft_sim::{
    azure::Dataset,
    fleet::Fleet,
    report::{Results, Sweep, candidates, written},
    synthetic::{Shape, Trace},
};

/// Replays a trace of invocations under the platform's keep-alive policies.
#[derive(Debug, Parser)]
#[command(name = "updraft-sim", bin_name = "cargo xtask sim")]
struct Arguments {
    /// A folder of the Azure Functions trace of 2019 to replay, instead of a made-up one.
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// How many functions to make up.
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    functions: u32,
    /// How many days to make up.
    #[arg(long, value_name = "N", default_value_t = 14)]
    days: u32,
    /// How many days at the beginning only teach.
    #[arg(long, value_name = "N", default_value_t = 7)]
    unmeasured: u32,
    /// Another seed, another trace of the same shape.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How regular the calls are: as published, or each independent of the last.
    #[arg(long, value_enum, default_value_t = Calls::Published)]
    calls: Calls,
    /// Most instances of a made-up function at once; 1 counts it as loaded or not, as the papers do.
    #[arg(long, value_name = "N", default_value_t = 1)]
    instances: u32,
    /// Nodes that share the functions.
    #[arg(long, value_name = "N", default_value_t = 64)]
    nodes: u32,
    /// Memory of each node; without it, as much as it takes.
    #[arg(long, value_name = "MB")]
    node_memory: Option<u64>,
    /// How many settings of each policy.
    #[arg(long, value_enum, default_value_t = Settings::Wide)]
    settings: Settings,
    /// Threads to work on; without it, all of the machine's.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Replays the recorded traces, and writes the figures into this document.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Replays a million functions on a thousand nodes; with --record, writes what that took as well.
    #[arg(long)]
    scale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Calls {
    Published,
    Memoryless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Settings {
    Wide,
    Narrow,
    Defaults,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.functions > 0 && arguments.days > arguments.unmeasured, "there is nothing to measure");
    let (name, body) = match (arguments.scale, &arguments.record) {
        (true, _) => ("scale", scale(&arguments)?),
        (false, Some(_)) => ("figures", recorded(&arguments)),
        (false, None) => return single(&arguments),
    };
    println!("{body}");
    if let Some(file) = &arguments.record {
        let document = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let document =
            written(&document, name, &body).with_context(|| format!("{} lacks the marks of {name}", file.display()))?;
        fs::write(file, document).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn fleet(arguments: &Arguments) -> Fleet {
    Fleet {
        nodes: arguments.nodes,
        memory_mb_max: arguments.node_memory,
        days_unmeasured: arguments.unmeasured,
        threads: arguments.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)),
    }
}

fn trace(arguments: &Arguments) -> Trace {
    let shape = match arguments.calls {
        Calls::Published => Shape::Published,
        Calls::Memoryless => Shape::Memoryless,
    };
    Trace {
        seed: arguments.seed,
        functions: arguments.functions,
        days: arguments.days,
        shape,
        instances_max: arguments.instances.max(1),
    }
}

/// One replay as the arguments say.
fn single(arguments: &Arguments) -> Result<()> {
    let sweep = match arguments.settings {
        Settings::Wide => Sweep::Wide,
        Settings::Narrow => Sweep::Narrow,
        Settings::Defaults => Sweep::Defaults,
    };
    let candidates = candidates(sweep);
    let policies: Vec<_> = candidates.iter().map(|candidate| candidate.policy).collect();
    let figures = match &arguments.dataset {
        Some(folder) => {
            let mut dataset = Dataset::open(folder)?;
            let (days, unmeasured) = (dataset.days(), arguments.unmeasured);
            ensure!(
                days > unmeasured,
                "of {days} days {unmeasured} only teach, so none is measured; give --unmeasured"
            );
            fleet(arguments).replay_dataset(&mut dataset, &policies)?
        }
        None => fleet(arguments).replay(&trace(arguments), &policies),
    };
    let results = Results { candidates: &candidates, figures: &figures };
    println!("{}\n\n{}\n{}", results.extent(), results.at_equal_waste(), results.curves());
    if arguments.node_memory.is_some() {
        println!("{}", results.under_pressure());
    }
    Ok(())
}

/// The traces whose figures are kept in the documentation.
fn recorded(arguments: &Arguments) -> String {
    let mut text = String::new();
    let replay = |sweep, fleet: Fleet, trace: &Trace| {
        let candidates = candidates(sweep);
        let policies: Vec<_> = candidates.iter().map(|candidate| candidate.policy).collect();
        let figures = fleet.replay(trace, &policies);
        (candidates, figures)
    };
    let (candidates, figures) = replay(Sweep::Wide, fleet(arguments), &trace(arguments));
    let results = Results { candidates: &candidates, figures: &figures };
    let _ = writeln!(
        text,
        "### The published shape\n\n{} functions over {} days, of which the last {} are measured; seed {}. {}\n",
        arguments.functions,
        arguments.days,
        arguments.days - arguments.unmeasured,
        arguments.seed,
        results.extent(),
    );
    let _ = writeln!(text, "{}\nEvery setting:\n\n{}", results.at_equal_waste(), results.curves());

    let others = Trace { functions: arguments.functions.div_ceil(2), ..trace(arguments) };
    let variants = [
        ("Another seed", fleet(arguments), Trace { seed: arguments.seed + 1, ..others }),
        ("From the first minute on", Fleet { days_unmeasured: 0, ..fleet(arguments) }, others),
        ("As many instances as calls overlap", fleet(arguments), Trace { instances_max: 1_000, ..others }),
        ("Calls without memory", fleet(arguments), Trace { shape: Shape::Memoryless, ..others }),
    ];
    for (title, fleet, trace) in variants {
        let (candidates, figures) = replay(Sweep::Narrow, fleet, &trace);
        let results = Results { candidates: &candidates, figures: &figures };
        let _ = writeln!(text, "### {title}\n\n{}\n\n{}", results.extent(), results.at_equal_waste());
    }
    text
}

/// A million functions on a thousand nodes that are short of memory, for a day after a day of learning.
fn scale(arguments: &Arguments) -> Result<String> {
    let trace = Trace { functions: 1_000_000, days: 2, ..trace(arguments) };
    let fleet = Fleet {
        nodes: 1_000,
        memory_mb_max: Some(arguments.node_memory.unwrap_or(65_536)),
        days_unmeasured: 1,
        ..fleet(arguments)
    };
    let candidates = candidates(Sweep::Defaults);
    let policies: Vec<_> = candidates.iter().map(|candidate| candidate.policy).collect();
    let began = Instant::now();
    let figures = fleet.replay(&trace, &policies);
    let took = began.elapsed().as_secs();
    let results = Results { candidates: &candidates, figures: &figures };
    Ok(format!(
        "{} functions on {} nodes of {} GB over {} days, the last one measured, {} policies in one pass: {took} s on {} \
         threads, {} MB of resident memory at most. {}\n\n{}",
        trace.functions,
        fleet.nodes,
        fleet.memory_mb_max.unwrap_or(0) / 1_024,
        trace.days,
        policies.len(),
        fleet.threads,
        resident_mb_max()?,
        results.extent(),
        results.under_pressure(),
    ))
}

/// The most memory this process has held.
fn resident_mb_max() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let kb = line.trim().trim_end_matches("kB").trim();
    Ok(kb.parse::<u64>().context("VmHWM is no number")? / 1_024)
}
