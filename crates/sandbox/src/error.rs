//! Why a sandbox did not start.

use std::io;

/// Why a sandbox, or the helper that starts them, did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guest's command cannot be executed: the author's problem, not the platform's.
    #[error("cannot execute {command}: {source}")]
    Exec {
        /// The program as given.
        command: String,
        /// What the kernel said: not found, permission denied, exec format error…
        source: io::Error,
    },
    /// The specification cannot be carried out as written; the text says why.
    #[error("invalid sandbox specification: {0}")]
    Invalid(String),
    /// Something the configuration requires is missing on this host; nothing was started.
    #[error("{mechanism} cannot be used here: {why}")]
    Missing {
        /// The mechanism's name as `probe` reports it.
        mechanism: String,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel refused a step of building the jail; nothing of the guest's ran.
    #[error("setting up the sandbox failed at {step}: {source}")]
    Setup {
        /// The step, for example `mount /proc`.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The guest of a template cannot be copied; the text says why.
    #[error("it cannot be copied: {0}")]
    Unfit(String),
    /// As many sandboxes live as the helper can hold.
    #[error("too many sandboxes: {0} are alive")]
    Full(usize),
    /// The helper could not be started.
    #[error("cannot start the sandbox helper: {0}")]
    Start(#[source] io::Error),
    /// The helper ended; every sandbox ended with it.
    #[error("the sandbox helper is gone")]
    HelperGone,
}
