//! The `updraft` binary: command line, configuration, composition.

#![allow(
    unreachable_pub,
    reason = "nothing of a binary is reachable from outside; pub is what a module offers the others"
)]

mod certificate;
mod cli;
mod client;
mod commands;
mod config;
mod deploy;
mod logging;
mod output;
mod platform;
mod problem;
mod suggest;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    updraft_sandbox::run_helper_if_asked();
    match commands::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            problem::report(&error);
            problem::exit_code(&error)
        }
    }
}
