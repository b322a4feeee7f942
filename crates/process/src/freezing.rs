//! Stops a guest that has no call, so that nothing runs that nobody pays for.
//!
//! Not at once: freezing and thawing cost two writes to a control group and a wake-up, which calls in quick
//! succession should not pay. A guest that has been idle for [`Config::freeze_after`](crate::Config::freeze_after)
//! is frozen; until then it may finish what it left behind, as Lambda's runtimes may until they ask for the next
//! event. The timer is the instance's own watch task; a call takes a lock and reads a clock, no more.
//!
//! Invariant: while a [`Busy`] lives its guest is not frozen. Both directions are written under one lock, so no call
//! can slip between the decision to freeze and the freezing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use updraft_sandbox::Sandbox;

use crate::guest::Process;

/// Whether one guest is frozen, and what it depends on.
pub(crate) struct Freezing {
    after: Duration,
    state: Mutex<State>,
    /// The watch task is to look again.
    changed: Notify,
    thawed: Notify,
}

struct State {
    calls: usize,
    idle_since: Instant,
    is_frozen: bool,
    freezes: u64,
    /// The watch task waits for the last call to end.
    is_awaited: bool,
}

/// What the watch task does next.
enum Next {
    LookAt(Instant),
    AwaitChange,
    GiveUp,
}

impl Freezing {
    pub(crate) fn new(after: Duration) -> Self {
        let state = State { calls: 0, idle_since: Instant::now(), is_frozen: false, freezes: 0, is_awaited: false };
        Self { after, state: Mutex::new(state), changed: Notify::new(), thawed: Notify::new() }
    }

    /// Freezes the guest whenever it has been idle for long enough. Returns where there is nothing to freeze it with.
    pub(crate) async fn run(&self, sandbox: &Sandbox) {
        loop {
            match self.look(sandbox) {
                Next::LookAt(at) => tokio::time::sleep_until(at.into()).await,
                Next::AwaitChange => self.changed.notified().await,
                Next::GiveUp => return,
            }
        }
    }

    fn look(&self, sandbox: &Sandbox) -> Next {
        let mut state = self.state.lock();
        if state.calls > 0 {
            state.is_awaited = true;
            return Next::AwaitChange;
        }
        let at = state.idle_since + self.after;
        if Instant::now() < at {
            return Next::LookAt(at);
        }
        match sandbox.freeze() {
            Ok(()) => {
                state.is_frozen = true;
                state.freezes += 1;
                Next::AwaitChange
            }
            // The host has no freezer, which the sandbox's own start has said, or the guest has ended.
            Err(_) => Next::GiveUp,
        }
    }

    /// How often the guest has been frozen so far.
    pub(crate) fn freezes(&self) -> u64 {
        self.state.lock().freezes
    }

    /// Waits until the guest is not frozen, then says how often it has been so far.
    pub(crate) async fn thawed(&self) -> u64 {
        loop {
            let thawed = self.thawed.notified();
            tokio::pin!(thawed);
            thawed.as_mut().enable();
            {
                let state = self.state.lock();
                if !state.is_frozen {
                    return state.freezes;
                }
            }
            thawed.await;
        }
    }

    /// Whether the guest could be let go on.
    fn begin(&self, sandbox: &Sandbox) -> bool {
        let mut state = self.state.lock();
        state.calls += 1;
        if !std::mem::take(&mut state.is_frozen) {
            return true;
        }
        self.changed.notify_one();
        let is_thawed = sandbox.thaw().is_ok();
        self.thawed.notify_waiters();
        is_thawed
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.calls -= 1;
        if state.calls == 0 {
            state.idle_since = Instant::now();
            if std::mem::take(&mut state.is_awaited) {
                self.changed.notify_one();
            }
        }
    }
}

/// A call, or anything else for which the guest has to run: it does until this is dropped.
pub(crate) struct Busy(Arc<Process>);

impl Busy {
    /// Thaws the guest if it is frozen. One that cannot be thawed is killed, which answers whoever waits for it.
    pub(crate) fn new(process: Arc<Process>) -> Self {
        if !process.freezing.begin(&process.sandbox) {
            tracing::warn!("a frozen guest could not be thawed and was killed");
            process.kill();
        }
        Self(process)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.freezing.end();
    }
}
