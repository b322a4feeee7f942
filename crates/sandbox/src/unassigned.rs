//! A running sandbox that is nobody's yet, as the platform holds it.
//!
//! Invariant: it is assigned once. One whose assignment fails ends before its guest has heard of it.

use std::net::TcpListener;

use crate::{Assignment, Error, Limits, Sandbox};

/// A guest that waits for its assignment on its standard input, or is a copy of another and stopped there. Dropping it
/// kills all of it.
pub struct Unassigned {
    sandbox: Sandbox,
    limits: Limits,
}

impl Unassigned {
    pub(crate) fn new(sandbox: Sandbox, limits: Limits) -> Self {
        Self { sandbox, limits }
    }

    /// One for each of [`crate::Spec::listen`], in order; nonblocking. Whoever takes them out keeps them.
    pub fn listeners(&mut self) -> &mut Vec<TcpListener> {
        &mut self.sandbox.listeners
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.sandbox.last().is_none()
    }

    /// Waits until nothing of it runs any more.
    pub async fn ended(&self) {
        self.sandbox.exited().await;
    }

    /// The most memory it has held so far, bytes; 0 where that cannot be measured.
    pub fn memory_bytes_max(&self) -> u64 {
        self.sandbox.memory_bytes_max()
    }

    /// Completes it: limits, `/tmp`, name, mounts; then its init drops its privileges and the guest gets the message. The
    /// `/tmp` of a copy keeps its size. Dropping the future kills it.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Setup`] or [`Error::HelperGone`]; the sandbox has ended then, or is about to.
    pub async fn assign(mut self, assignment: Assignment) -> Result<Sandbox, Error> {
        assignment.check(&self.limits)?;
        self.sandbox.complete(assignment).await?;
        Ok(self.sandbox)
    }
}
