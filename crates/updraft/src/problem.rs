//! What the command line says when something goes wrong: what happened, why, and what to do next, together
//! with the exit code a script sees.
//!
//! Every failure a user can cause or mend is a [`Problem`]. Whatever reaches `main` without one is reported
//! with its chain of causes and [`Exit::Unexpected`].

use std::{fmt, io, process::ExitCode};

use owo_colors::{OwoColorize, Stream};

use crate::output::say;

/// Exit codes, documented in `docs/cli.md` and under `updraft --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The function ran and failed.
    Function = 1,
    /// The command line, the configuration or a manifest is wrong. clap exits with the same code.
    Usage = 2,
    /// Nothing answers at the endpoint, or the connection broke.
    Unreachable = 3,
    /// The platform refused the request.
    Refused = 4,
    /// Dependencies could not be fetched, the code did not compile, or the package is unacceptable.
    Build = 5,
    /// The package was accepted and then could not be prepared.
    Deploy = 6,
    /// The platform could not start, or stopped by itself.
    Start = 7,
    /// Anything else.
    Unexpected = 70,
}

/// One failure in words for the person at the terminal.
#[derive(Debug)]
pub struct Problem {
    exit: Exit,
    what: String,
    why: Option<String>,
    next: Option<String>,
    detail: Option<String>,
}

impl Problem {
    /// A failure, and the exit code it leads to.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, next: None, detail: None }
    }

    /// A mistake in what the user wrote.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Says why.
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Says what to do next.
    pub fn try_next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds text shown as it is, before everything else: a tool's own output.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.detail = (!detail.trim().is_empty()).then_some(detail);
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {}

/// The exit code an error leads to. A reader that went away (`updraft ls | head`) is no failure.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(find(error).map_or(Exit::Unexpected, Problem::exit) as u8)
}

/// Writes an error to standard error for a person.
pub fn report(error: &anyhow::Error) {
    if is_broken_pipe(error) {
        return;
    }
    let label = |text: &'static str| format!("{:>5}:", text);
    let Some(problem) = find(error) else {
        say(format_args!(
            "{} {error:#}",
            label("error").if_supports_color(Stream::Stderr, |text| text.red().bold().to_string())
        ));
        return;
    };
    if let Some(detail) = &problem.detail {
        say(detail.trim_end());
    }
    say(format_args!(
        "{} {}",
        label("error").if_supports_color(Stream::Stderr, |text| text.red().bold().to_string()),
        problem.what
    ));
    if let Some(why) = &problem.why {
        say(format_args!("{} {why}", label("why").if_supports_color(Stream::Stderr, |text| text.dimmed().to_string())));
    }
    if let Some(next) = &problem.next {
        say(format_args!("{} {next}", label("try").if_supports_color(Stream::Stderr, |text| text.cyan().to_string())));
    }
}

fn find(error: &anyhow::Error) -> Option<&Problem> {
    error.chain().find_map(|cause| cause.downcast_ref::<Problem>())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_survives_added_context() {
        let error = anyhow::Error::new(Problem::new(Exit::Refused, "no")).context("while deploying");
        assert_eq!(exit_code(&error), ExitCode::from(4));
    }

    #[test]
    fn an_unclassified_error_is_unexpected_and_a_closed_pipe_is_none() {
        assert_eq!(exit_code(&anyhow::anyhow!("?")), ExitCode::from(70));
        let pipe = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing").unwrap_err();
        assert_eq!(exit_code(&pipe), ExitCode::SUCCESS);
    }
}
