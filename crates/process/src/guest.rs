//! What every process instance has in common: the sandbox, its output, and the watch over both.
//!
//! Invariant: the sandbox is killed when the last owner lets go, when a call that cannot be recovered from is
//! abandoned, and on stop; the watch then passes on the last output and ends by itself.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use updraft_executor::Guest;
use updraft_sandbox::{Exit, Sandbox, Status};
use updraft_types::{ExitStatus, Fault};

use crate::{
    egress::Forwarder,
    freezing::{Busy, Freezing},
    output::Output,
};

/// A running sandbox.
pub(crate) struct Process {
    pub(crate) sandbox: Sandbox,
    pub(crate) output: Output,
    egress: Option<Forwarder>,
    pub(crate) freezing: Freezing,
    is_killed: AtomicBool,
    ended: OnceLock<Exit>,
}

impl Process {
    /// Takes charge of a sandbox that has just been started. Call inside a Tokio runtime.
    pub(crate) fn new(sandbox: Sandbox, guest: Arc<dyn Guest>, freeze_after: Duration) -> std::io::Result<Self> {
        let output = Output::new(sandbox.output.try_clone()?, guest)?;
        let freezing = Freezing::new(freeze_after);
        Ok(Self { sandbox, output, egress: None, freezing, is_killed: AtomicBool::new(false), ended: OnceLock::new() })
    }

    /// With connections to the outside, which end when it does.
    pub(crate) fn with_egress(self, egress: Option<Forwarder>) -> Self {
        Self { egress, ..self }
    }

    /// Whether it runs and may go on running.
    pub(crate) fn is_alive(&self) -> bool {
        !self.is_killed.load(Ordering::Relaxed) && self.ended.get().is_none()
    }

    /// Kills it without waiting.
    pub(crate) fn kill(&self) {
        if !self.is_killed.swap(true, Ordering::Relaxed) {
            self.sandbox.kill();
        }
    }

    /// Passes its output on, and freezes it while it is idle, until nothing of it runs any more. Says what that means
    /// for whoever waits.
    pub(crate) async fn watch(&self) -> Fault {
        let exited = self.sandbox.exited();
        tokio::pin!(exited);
        let serve = async { tokio::join!(self.output.follow(), self.freezing.run(&self.sandbox)) };
        let exit = tokio::select! {
            exit = &mut exited => exit,
            _ = serve => exited.await,
        };
        if let Some(egress) = &self.egress {
            egress.stop();
        }
        self.output.drain();
        fault_of(*self.ended.get_or_init(|| exit))
    }

    /// Waits until it has ended, then says how. From then on it is not alive, whether or not the watch has noticed.
    pub(crate) async fn ended(&self) -> Fault {
        let exit = self.sandbox.exited().await;
        fault_of(*self.ended.get_or_init(|| exit))
    }
}

fn fault_of(exit: Exit) -> Fault {
    match exit {
        Exit { out_of_memory: true, .. } => Fault::OutOfMemory,
        Exit { status: Status::Code(code), .. } => Fault::Exit(ExitStatus::Code(code)),
        Exit { status: Status::Signal(signal), .. } => Fault::Exit(ExitStatus::Signal(signal)),
    }
}

/// A call's hold on the process: runs while this lives, and is killed when it is dropped, unless told that all is
/// well.
pub(crate) struct KillOnDrop {
    armed: Option<Arc<Process>>,
    _busy: Busy,
}

impl KillOnDrop {
    /// Arms.
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self { _busy: Busy::new(process.clone()), armed: Some(process) }
    }

    /// Lets the process live on.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(process) = self.armed.take() {
            process.kill();
        }
    }
}
