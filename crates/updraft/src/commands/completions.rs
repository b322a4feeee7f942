//! `updraft completions`: a script for the shell to complete commands and flags with.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::Cli;

/// Prints the script.
pub fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "updraft", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
