//! Which request of the Runtime API is allowed when, for one instance with one invocation at a time.
//!
//! Pure: requests arrive as method calls, refusals leave as values. Invariant: an invocation is answered at
//! most once, and only under its own id and, where the runtime sends one, its own nonce.

use updraft_types::RequestId;

/// Why a request is refused; see [`super::reply`] for the exact words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 403: not now.
    InvalidStateTransition {
        /// Where the runtime is.
        from: &'static str,
        /// What it asked for.
        to: &'static str,
    },
    /// 400: an answer to something that is not being asked.
    InvalidRequestId,
    /// 410: an answer that carries the nonce of another invocation.
    Gone,
}

/// Where a runtime is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Has not asked for an event yet.
    Starting,
    /// Could not load its code and said so.
    Failed,
    /// Asks for an event, or has been handed none since it last answered.
    Ready,
    /// Works on the current invocation.
    Running,
    /// Is sending its answer to the current invocation.
    Responding,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Starting => "Started",
            Phase::Failed => "InitError",
            Phase::Ready => "Ready",
            Phase::Running => "Running",
            Phase::Responding => "InvocationResponse",
        }
    }
}

/// The state of one runtime.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    /// The invocation handed out last, still running or not.
    current: Option<(RequestId, u64)>,
    nonce_next: u64,
}

impl Machine {
    /// A runtime that has just been started.
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Starting, current: None, nonce_next: 1 }
    }

    /// Whether it has asked for its first event.
    pub(crate) fn is_started(&self) -> bool {
        !matches!(self.phase, Phase::Starting | Phase::Failed)
    }

    /// The runtime asks for an event.
    pub(crate) fn next(&mut self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Starting | Phase::Ready => {
                self.phase = Phase::Ready;
                Ok(())
            }
            _ => Err(self.refuse("Ready")),
        }
    }

    /// The platform has an invocation for it; answers with the invocation's nonce. `None` when it cannot take
    /// one now.
    pub(crate) fn begin(&mut self, request: RequestId) -> Option<u64> {
        if self.phase != Phase::Ready {
            return None;
        }
        let nonce = self.nonce_next;
        self.nonce_next += 1;
        self.phase = Phase::Running;
        self.current = Some((request, nonce));
        Some(nonce)
    }

    /// The runtime begins to answer.
    pub(crate) fn answer(&mut self, id: &str, nonce: Option<&str>) -> Result<(), Refusal> {
        let Some((request, expected)) = self.current else { return Err(Refusal::InvalidRequestId) };
        if nonce.is_some_and(|nonce| nonce != expected.to_string()) {
            return Err(Refusal::Gone);
        }
        if id.parse() != Ok(request) {
            return Err(Refusal::InvalidRequestId);
        }
        if self.phase != Phase::Running {
            return Err(self.refuse("InvocationResponse"));
        }
        self.phase = Phase::Responding;
        Ok(())
    }

    /// The answer is complete.
    pub(crate) fn finish(&mut self) {
        assert_eq!(self.phase, Phase::Responding, "only an answer that began can end");
        self.phase = Phase::Ready;
    }

    /// The answer broke off; the runtime may try again.
    pub(crate) fn retract(&mut self) {
        assert_eq!(self.phase, Phase::Responding, "only an answer that began can break off");
        self.phase = Phase::Running;
    }

    /// The runtime could not load its code.
    pub(crate) fn init_error(&mut self) -> Result<(), Refusal> {
        if self.phase != Phase::Starting {
            return Err(self.refuse("InitError"));
        }
        self.phase = Phase::Failed;
        Ok(())
    }

    fn refuse(&self, to: &'static str) -> Refusal {
        Refusal::InvalidStateTransition { from: self.phase.name(), to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Machine {
        let mut machine = Machine::new();
        machine.next().unwrap();
        machine
    }

    #[test]
    fn an_invocation_is_answered_once() {
        let mut machine = ready();
        let request = RequestId::random();
        let nonce = machine.begin(request).unwrap().to_string();
        let id = request.to_string();
        assert!(matches!(machine.next(), Err(Refusal::InvalidStateTransition { from: "Running", .. })));
        assert_eq!(machine.answer(&id, Some(&nonce)), Ok(()));
        assert!(matches!(machine.answer(&id, None), Err(Refusal::InvalidStateTransition { .. })));
        assert!(machine.next().is_err());
        machine.finish();
        assert!(matches!(machine.answer(&id, None), Err(Refusal::InvalidStateTransition { from: "Ready", .. })));
        assert_eq!(machine.next(), Ok(()));
    }

    #[test]
    fn an_answer_to_something_else_is_refused() {
        let mut machine = ready();
        assert_eq!(machine.answer("x", None), Err(Refusal::InvalidRequestId));
        let request = RequestId::random();
        let first = machine.begin(request).unwrap().to_string();
        assert_eq!(machine.answer(&RequestId::random().to_string(), None), Err(Refusal::InvalidRequestId));
        assert_eq!(machine.answer(&request.to_string(), Some("999")), Err(Refusal::Gone));
        machine.answer(&request.to_string(), Some(&first)).unwrap();
        machine.finish();
        machine.next().unwrap();
        let again = machine.begin(request).unwrap();
        assert_ne!(again.to_string(), first, "a retried invocation has a nonce of its own");
        assert_eq!(machine.answer(&request.to_string(), Some(&first)), Err(Refusal::Gone));
    }

    #[test]
    fn a_broken_answer_may_be_sent_again() {
        let mut machine = ready();
        let request = RequestId::random();
        machine.begin(request).unwrap();
        machine.answer(&request.to_string(), None).unwrap();
        machine.retract();
        assert_eq!(machine.answer(&request.to_string(), None), Ok(()));
    }

    #[test]
    fn an_init_error_comes_before_the_first_next_and_ends_it_all() {
        let mut machine = Machine::new();
        assert!(!machine.is_started());
        assert_eq!(machine.begin(RequestId::random()), None);
        assert_eq!(machine.init_error(), Ok(()));
        assert!(machine.next().is_err());
        assert!(machine.init_error().is_err());
        assert!(ready().init_error().is_err());
    }
}
