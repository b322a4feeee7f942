//! `cargo xtask`: everything a contributor or CI does with this repository besides building it.
//!
//! Invariant: what CI runs is `cargo xtask test` and nothing else, so a person sees the same result at a desk.
//! Nothing here is part of the product, and nothing needs more than Rust, Python 3, Node.js and the package
//! registries.

mod bench;
mod bless;
mod debian;
mod npm;
mod setup;
mod sim;
mod step;
mod test;
mod tidy;

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

/// Tests, checks and measures Updraft.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything CI runs: formatting, tidy, dependency policy, lints, unit tests, end-to-end tests.
    Test(test::Options),
    /// The house rules alone: layers, module headers, file sizes, documents.
    Tidy,
    /// Measures Updraft beside its peers; arguments go to the benchmark (see `--help` there).
    Bench {
        /// Passed on to updraft-bench.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Replays a trace under the keep-alive policies; arguments go to the simulation (see `--help` there).
    Sim {
        /// Passed on to updraft-sim; without any, the figures of docs/keep-alive.md are recorded anew.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Accepts the snapshots that the tests now produce; review them with `git diff`.
    Bless,
    /// Installs what the tests need into target/venv, and says where.
    Setup,
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask sits in the repository's root");
    let result = match Arguments::parse().command {
        Command::Test(options) => test::run(root, &options),
        Command::Tidy => tidy::run(root),
        Command::Bench { arguments } => bench::run(root, &arguments),
        Command::Sim { arguments } => sim::run(root, &arguments),
        Command::Bless => bless::run(root),
        Command::Setup => setup::run(root).map(|tools| println!("The tests' tools are in {}.", tools.venv().display())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
