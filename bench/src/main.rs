//! Side-by-side benchmarks: Updraft and its peers, in one run, on one machine, in turns.
//!
//! `cargo xtask bench` runs this. It starts every server itself, on loopback, ends each by its process id and removes
//! what they wrote. A complete run without errors is recorded in `bench/results/latest.json` and
//! `docs/benchmarks.md`; every run is written to `target/bench/results.json` and printed.
//!
//! Invariant: no figure is invented. A peer that cannot be had is missing by name, an error makes the run no result.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::{
    notes::Notes,
    peers::Interpreters,
    plan::Plan,
    platform::Site,
    results::{FORMAT, Method, Results, ScaleRow},
};

mod bare;
mod child;
mod client;
mod cold;
mod holdings;
mod http1;
mod idle;
mod interrupt;
mod load;
mod machine;
mod notes;
mod package;
mod peers;
mod plan;
mod platform;
mod processes;
mod report;
mod results;
mod scale;
mod signed;
mod snap;
mod soak;
mod targets;
mod warm;

/// Names the platform's executable, for a run that is not recorded.
const BINARY_VARIABLE: &str = "UPDRAFT_BIN";
/// Most of the machine's time that something else may take in a run that is recorded.
const BUSY_SHARE_MAX: f64 = 0.1;

/// Measures Updraft beside its peers.
///
/// Builds the platform first, unless UPDRAFT_BIN names its executable; such a run is not recorded. Ends with 0 when the run is a result, whether
/// or not the targets are met, and with 1 when it is not.
#[derive(Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A short run, to see that everything works; it is not recorded.
    #[arg(long)]
    quick: bool,
    /// Turns each server has under load.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Measure only this part (warm, cold, idle, flood, out, snap, signed, many) or server; may be repeated. The run is not recorded.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Write the results as JSON here.
    #[arg(long, value_name = "FILE", default_value = "target/bench/results.json")]
    json: PathBuf,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Write the table in docs/benchmarks.md again from the recorded results.
    Render,
    /// Loads the platform for a while with functions that misbehave, and looks whether anything is left of it.
    ///
    /// Records the outcome in bench/results/soak.json and docs/benchmarks.md. Ends with 1 if something is left.
    Soak {
        /// How long.
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
        minutes: u64,
    },
    /// The bare server to compare with, until ended.
    #[command(hide = true)]
    BareHyper,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Subcommands::BareHyper) => bare::serve().map(|()| ExitCode::SUCCESS),
        Some(Subcommands::Render) => report::write_document(&repository()).map(|()| ExitCode::SUCCESS),
        Some(Subcommands::Soak { minutes }) => {
            interrupt::listen()?;
            run_soak(Duration::from_secs(60 * minutes))
        }
        None => {
            let plan = Plan::new(arguments.quick, arguments.rounds, arguments.only)?;
            interrupt::listen()?;
            run(&plan, &arguments.json)
        }
    }
}

fn run(plan: &Plan, json: &Path) -> Result<ExitCode> {
    let repository = repository();
    let site = Site {
        binary: if plan.wants_platform() { platform_binary(&repository)? } else { PathBuf::new() },
        interpreters: Interpreters::find().context("both Python 3 and Node.js are needed")?,
        repository,
    };
    let results = measure(&site, plan)?;
    let json = site.repository.join(json);
    fs::create_dir_all(json.parent().context("a file lies in a folder")?)?;
    fs::write(json, serde_json::to_string_pretty(&results)? + "\n")?;
    println!("{}", report::table(&results));
    if !results.errors.is_empty() {
        eprintln!("not a result: {} errors, listed above", results.errors.len());
        return Ok(ExitCode::FAILURE);
    }
    if results.method.is_complete {
        report::record(&site.repository, &results)?;
        eprintln!("recorded in bench/results/latest.json and docs/benchmarks.md");
    } else {
        eprintln!(
            "not recorded: only a whole run of this checkout, optimised, with every peer, on a machine left alone is"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn run_soak(duration: Duration) -> Result<ExitCode> {
    let repository = repository();
    let interpreters = Interpreters::find().context("both Python 3 and Node.js are needed")?;
    let site = Site { binary: platform_binary(&repository)?, interpreters, repository };
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(site.repository.join("target"))?;
    eprintln!("soak:");
    let soak = soak::run(&site, duration, scratch.path())?;
    println!("{}", soak.table());
    if env::var_os(BINARY_VARIABLE).is_none() {
        report::record_soak(&site.repository, &soak)?;
    }
    Ok(if soak.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How one of the parts about scaling is measured.
type Measure = fn(&Site, &Plan, &Path) -> Result<Vec<ScaleRow>>;

fn measure(site: &Site, plan: &Plan) -> Result<Results> {
    let busy_before = machine::busy_share()?;
    let mut notes = Notes::default();
    notes.version("Python", &site.interpreters.python.version);
    notes.version("Node.js", &site.interpreters.node.version);
    machine::state_versions(&site.repository, &mut notes)?;
    let scratch = || {
        let target = site.repository.join("target");
        tempfile::Builder::new().prefix("bench-").tempdir_in(&target).context("making a scratch folder")
    };
    let (mut warm, mut cold, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    if plan.wants_warm() {
        eprintln!("warm:");
        let scratch = scratch()?;
        match warm::measure(site, plan, scratch.path(), &mut notes) {
            Ok(rows) => warm = rows,
            Err(error) => notes.error(format!("warm: {error:#}"))?,
        }
    }
    if plan.wants_part("cold") {
        eprintln!("cold:");
        let scratch = scratch()?;
        match cold::measure(site, plan, scratch.path(), &mut notes) {
            Ok(rows) => cold = rows,
            Err(error) => notes.error(format!("cold: {error:#}"))?,
        }
    }
    if plan.wants_part("idle") {
        eprintln!("idle:");
        let scratch = scratch()?;
        match idle::measure(site, plan, scratch.path()) {
            Ok(rows) => idle = rows,
            Err(error) => notes.error(format!("idle: {error:#}"))?,
        }
    }
    let mut scale_rows = Vec::new();
    let parts: [(&str, Measure); 5] = [
        ("flood", scale::flood),
        ("out", scale::out),
        ("snap", snap::measure),
        ("signed", signed::measure),
        ("many", scale::many),
    ];
    for (part, measure) in parts.into_iter().filter(|(part, _)| plan.wants_part(part)) {
        eprintln!("{part}:");
        let scratch = scratch()?;
        match measure(site, plan, scratch.path()) {
            Ok(rows) => scale_rows.extend(rows),
            Err(error) => notes.error(format!("{part}: {error:#}"))?,
        }
    }
    let busy_share = busy_before.max(machine::busy_share()?);
    if busy_share > BUSY_SHARE_MAX {
        eprintln!("WARNING: something else took {:.0} % of the machine's time", busy_share * 100.0);
    }
    let is_whole = plan.is_complete && notes.missing.is_empty();
    let is_of_this_checkout = env::var_os(BINARY_VARIABLE).is_none() && !cfg!(debug_assertions);
    let is_complete = is_whole && is_of_this_checkout && busy_share <= BUSY_SHARE_MAX;
    Ok(Results {
        format: FORMAT,
        recorded_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        method: Method {
            is_complete,
            busy_share,
            rounds: plan.rounds,
            measured_s: plan.measured.as_secs_f64(),
            cold_functions: plan.cold_functions as usize,
            idle_functions: plan.idle_functions as usize,
            many_functions: plan.many_functions as usize,
        },
        machine: machine::describe()?,
        versions: notes.versions,
        missing: notes.missing,
        errors: notes.errors,
        warm,
        cold,
        idle,
        scale: scale_rows,
    })
}

/// The platform's executable: the one `UPDRAFT_BIN` names, else this checkout's, built now.
fn platform_binary(repository: &Path) -> Result<PathBuf> {
    if let Some(binary) = env::var_os(BINARY_VARIABLE) {
        let binary = fs::canonicalize(&binary).with_context(|| format!("{BINARY_VARIABLE} is {}", binary.display()))?;
        return Ok(binary);
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let built = cargo.args(["build", "--release", "--package", "updraft"]).current_dir(repository).status()?;
    ensure!(built.success(), "the platform does not build");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(repository.join(target).join("release/updraft"))
}

/// The checkout's root.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the bench lies in the checkout").to_owned()
}
