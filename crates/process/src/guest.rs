//! What every process instance has in common: the sandbox, its output, and the watch over both.
//!
//! Invariant: the sandbox is killed when the last owner lets go, when a call that cannot be recovered from is
//! abandoned, and on stop; the watch then passes on the last output and ends by itself.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use updraft_executor::Guest;
use updraft_sandbox::{Ended, Exit, Notices, Sandbox, Who};
use updraft_types::{ExitStatus, Fault};

use crate::{
    egress::Forwarder,
    freezing::{Busy, Freezing},
    output::Output,
    runtime_api::{Reason, RuntimeApi},
    snapshots::Original,
    telemetry::{Invocation, Status},
};

/// A running sandbox.
pub(crate) struct Process {
    pub(crate) sandbox: Sandbox,
    pub(crate) output: Output,
    companions: Option<Companions>,
    /// Where its extensions are told of its end, if it can have any.
    pub(crate) api: OnceLock<Arc<RuntimeApi>>,
    egress: Option<Forwarder>,
    /// What it is a copy of, which has to outlive it.
    _original: Option<Arc<Original>>,
    pub(crate) freezing: Freezing,
    /// It is ending or has been killed: nobody is to call it any more.
    is_condemned: AtomicBool,
    is_killed: AtomicBool,
    /// A call was abandoned in it while others go on: no further ones, and its end when they have ended.
    is_spent: AtomicBool,
    ended: OnceLock<Exit>,
    /// What its end means, where that is not how its command ended.
    verdict: OnceLock<Fault>,
}

/// What runs beside the command.
struct Companions {
    output: Output,
    notices: Mutex<Option<Notices>>,
    /// Those that have ended, each once.
    ended: watch::Sender<Vec<Who>>,
}

impl Process {
    /// Takes charge of a sandbox that has just been started. What its companions write goes to `beside`. Call inside a
    /// Tokio runtime.
    pub(crate) fn new(
        mut sandbox: Sandbox,
        guest: Arc<dyn Guest>,
        beside: Arc<dyn Guest>,
        freeze_after: Duration,
    ) -> std::io::Result<Self> {
        let companions = sandbox.take_companions().map(|(pipe, notices)| {
            let output = Output::new(pipe, beside)?;
            let (ended, notices) = (watch::Sender::new(Vec::new()), Mutex::new(Some(notices)));
            Ok::<_, std::io::Error>(Companions { output, notices, ended })
        });
        let output = Output::new(sandbox.output.try_clone()?, guest)?;
        Ok(Self {
            companions: companions.transpose()?,
            api: OnceLock::new(),
            sandbox,
            output,
            egress: None,
            _original: None,
            freezing: Freezing::new(freeze_after),
            is_condemned: AtomicBool::new(false),
            is_killed: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            ended: OnceLock::new(),
            verdict: OnceLock::new(),
        })
    }

    /// With connections to the outside, which end when it does.
    pub(crate) fn with_egress(self, egress: Option<Forwarder>) -> Self {
        Self { egress, ..self }
    }

    /// As the copy of that.
    pub(crate) fn with_original(self, original: Option<Arc<Original>>) -> Self {
        Self { _original: original, ..self }
    }

    /// Closes its connections to the outside, for good.
    pub(crate) fn close_egress(&self) {
        if let Some(egress) = &self.egress {
            egress.stop();
        }
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        self.ended.get().is_none()
    }

    /// Whether it runs and may go on running.
    pub(crate) fn is_alive(&self) -> bool {
        !self.is_condemned.load(Ordering::Relaxed) && self.ended.get().is_none()
    }

    /// Says that nobody is to call it any more. False if that has been said.
    pub(crate) fn condemn(&self) -> bool {
        !self.is_condemned.swap(true, Ordering::Relaxed)
    }

    /// Says that it is not to be given further calls, though those that run in it go on.
    pub(crate) fn spend(&self) {
        self.is_spent.store(true, Ordering::Relaxed);
    }

    /// Whether that has been said.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    /// What its end will be said to mean, whatever its command's is; the first word counts.
    pub(crate) fn judge(&self, fault: Fault) {
        self.verdict.get_or_init(|| fault);
    }

    /// Whether programs run beside its command.
    pub(crate) fn has_companions(&self) -> bool {
        self.companions.is_some()
    }

    /// How its command and companions end, for whoever asks first.
    pub(crate) fn take_notices(&self) -> Option<Notices> {
        self.companions.as_ref().and_then(|companions| companions.notices.lock().take())
    }

    /// Takes note of one's end.
    pub(crate) fn note(&self, ended: Ended) {
        if let Some(companions) = &self.companions {
            companions.ended.send_modify(|known| known.push(ended.who));
        }
    }

    /// Waits until all of these have ended.
    pub(crate) async fn has_ended(&self, who: &[Who]) {
        if let Some(companions) = &self.companions {
            let mut seen = companions.ended.subscribe();
            // There is no error: the sender is ours.
            let _ = seen.wait_for(|ended| who.iter().all(|who| ended.contains(who))).await;
        }
    }

    /// Passes on all output that is there.
    pub(crate) fn drain(&self) {
        self.output.drain();
        if let Some(companions) = &self.companions {
            companions.output.drain();
        }
    }

    /// Kills it without waiting.
    pub(crate) fn kill(&self) {
        self.condemn();
        if !self.is_killed.swap(true, Ordering::Relaxed) {
            self.sandbox.kill();
        }
    }

    /// Passes its output on, and freezes it while it is idle, until nothing of it runs any more. Says what that means
    /// for whoever waits.
    pub(crate) async fn watch(&self) -> Fault {
        let exited = self.sandbox.exited();
        tokio::pin!(exited);
        let beside = async {
            if let Some(companions) = &self.companions {
                companions.output.follow().await;
            }
        };
        let serve = async { tokio::join!(self.output.follow(), beside, self.freezing.run(&self.sandbox)) };
        let exit = tokio::select! {
            exit = &mut exited => exit,
            _ = serve => exited.await,
        };
        self.close_egress();
        self.drain();
        self.fault_of(*self.ended.get_or_init(|| exit))
    }

    /// Waits until it has ended, then says how. From then on it is not alive, whether or not the watch has noticed.
    pub(crate) async fn ended(&self) -> Fault {
        let exit = self.sandbox.exited().await;
        self.fault_of(*self.ended.get_or_init(|| exit))
    }

    fn fault_of(&self, exit: Exit) -> Fault {
        self.verdict.get().cloned().unwrap_or_else(|| fault_of(exit))
    }
}

/// What the end of a whole sandbox means.
fn fault_of(exit: Exit) -> Fault {
    match exit {
        Exit { out_of_memory: true, .. } => Fault::OutOfMemory,
        Exit { status: updraft_sandbox::Status::Code(code), .. } => Fault::Exit(ExitStatus::Code(code)),
        Exit { status: updraft_sandbox::Status::Signal(signal), .. } => Fault::Exit(ExitStatus::Signal(signal)),
    }
}

/// A call's hold on the process: runs while this lives, and is ended when it is dropped, unless told that all is
/// well.
pub(crate) struct KillOnDrop {
    process: Arc<Process>,
    deadline: Instant,
    /// Whether other calls run in it, which go on.
    spares_others: bool,
    /// How the runtime ended the call, once it has.
    status: Option<Status>,
    /// Where that is told, and who reports when extensions are done as well.
    telemetry: Option<Invocation>,
    reporter: Option<oneshot::Sender<(Invocation, Status)>>,
    _busy: Busy,
}

impl KillOnDrop {
    /// Arms, for a call until then.
    pub(crate) fn new(process: Arc<Process>, deadline: Instant) -> Self {
        let _busy = Busy::new(process.clone());
        Self { process, deadline, spares_others: false, status: None, telemetry: None, reporter: None, _busy }
    }

    /// Has the process end only when its other calls have: whoever holds it gives it no further ones, and stops it then.
    pub(crate) fn spare_others(&mut self) {
        self.spares_others = true;
    }

    /// Has the call's end told to whoever subscribed; `reporter` reports then, or else this does.
    pub(crate) fn tell(&mut self, telemetry: Invocation, reporter: Option<oneshot::Sender<(Invocation, Status)>>) {
        self.telemetry = Some(telemetry);
        self.reporter = reporter;
    }

    /// Lets the process live on: the runtime has ended the call, so.
    pub(crate) fn disarm(&mut self, status: Status) {
        self.status = Some(status);
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let is_late = Instant::now() >= self.deadline;
        let status = self.status.unwrap_or(if is_late { Status::Timeout } else { Status::Failure });
        if let Some(telemetry) = self.telemetry.take() {
            telemetry.runtime_done(status);
            match self.reporter.take() {
                Some(reporter) => drop(reporter.send((telemetry, status))),
                None => telemetry.report(status, self.process.sandbox.memory_bytes_max()),
            }
        }
        if self.status.is_none() && self.spares_others {
            self.process.spend();
        } else if self.status.is_none() {
            self.process.end(if is_late { Reason::Timeout } else { Reason::Failure });
        }
    }
}
