//! How an instance with extensions ends: the runtime first, then the extensions, who may finish; then all is killed.
//!
//! As Lambda does it: an instance that is not needed any more gets SIGTERM into its runtime; one that failed has its
//! runtime killed. Extensions that registered for it are told, and have until the deadline. An instance without
//! extensions is killed at once.
//!
//! Invariant: nothing of the instance is left at the deadline, whatever runs in it.

use std::{sync::Arc, time::Duration};

use updraft_sandbox::Who;
use updraft_types::Timestamp;

use crate::{
    freezing::Busy,
    guest::Process,
    runtime_api::{Reason, RuntimeApi},
};

/// How long an instance with external extensions may take to end, and one with internal ones alone (source: AWS's page
/// of the Lambda execution environment).
const EXTERNAL_LIMIT: Duration = Duration::from_secs(2);
const INTERNAL_LIMIT: Duration = Duration::from_millis(500);

/// The runtime's share of the time, where there are external extensions.
const RUNTIME_SHARE: Duration = Duration::from_millis(600);

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Process {
    /// Ends it, with a word to its extensions if it has any. Does not wait. Nothing but the first time.
    pub(crate) fn end(self: &Arc<Self>, reason: Reason) {
        if !self.condemn() {
            return;
        }
        let api = self.api.get().filter(|api| api.has_extensions());
        match (api, tokio::runtime::Handle::try_current()) {
            (Some(api), Ok(runtime)) => drop(runtime.spawn(shut_down(self.clone(), api.clone(), reason))),
            _ => self.kill(),
        }
    }
}

async fn shut_down(process: Arc<Process>, api: Arc<RuntimeApi>, reason: Reason) {
    // A frozen one could not hear of it. One that cannot be thawed has been killed.
    let _busy = Busy::new(process.clone());
    let signal = if reason == Reason::Spindown { SIGTERM } else { SIGKILL };
    let limit = if process.has_companions() { EXTERNAL_LIMIT } else { INTERNAL_LIMIT };
    let deadline = tokio::time::Instant::now() + limit;
    let finish = async {
        // An error means that nothing runs any more.
        let _ = process.sandbox.signal(signal).await;
        if process.has_companions() {
            let _ = tokio::time::timeout(RUNTIME_SHARE, process.has_ended(&[Who::Command])).await;
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            api.telemetry().hurry();
            api.shut_down_extensions(reason, Timestamp::now().plus(left));
            let heard: Vec<Who> = api.listeners_to_shutdown().into_iter().map(Who::Companion).collect();
            process.has_ended(&heard).await;
        } else {
            process.sandbox.exited().await;
        }
    };
    if tokio::time::timeout_at(deadline, finish).await.is_err() {
        tracing::debug!("extensions did not end in time and were killed");
    }
    process.kill();
}
