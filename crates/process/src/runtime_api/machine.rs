//! Which request of the Runtime API is allowed when, for one instance: with one invocation at a time, or with several
//! for runtimes that ask for as many events at once (`AWS_LAMBDA_MAX_CONCURRENCY`).
//!
//! Pure: requests arrive as method calls, refusals leave as values. Invariants: never more invocations at a time than
//! agreed; each is answered at most once, and only under its own id and, where the runtime sends one, its own nonce.

use std::collections::VecDeque;

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
enum Life {
    /// Has not asked for an event yet.
    Starting,
    /// Could not load its code and said so.
    Failed,
    /// Asks for events and works on them.
    Serving,
}

/// Where an invocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The runtime works on it, or is about to be handed it.
    Running,
    /// The runtime is sending its answer.
    Responding,
    /// It is answered.
    Settled,
}

impl Phase {
    /// Lambda's name for where a runtime with this invocation is.
    fn name(self) -> &'static str {
        match self {
            Phase::Running => "Running",
            Phase::Responding => "InvocationResponse",
            Phase::Settled => "Ready",
        }
    }
}

#[derive(Debug)]
struct Invocation {
    request: RequestId,
    nonce: u64,
    phase: Phase,
}

/// The state of one runtime.
#[derive(Debug)]
pub(crate) struct Machine {
    life: Life,
    at_once: usize,
    /// The invocations handed out last, running or not: at most [`Machine::at_once`], the oldest first.
    invocations: VecDeque<Invocation>,
    nonce_next: u64,
}

impl Machine {
    /// A runtime that has just been started, which takes so many invocations at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { life: Life::Starting, at_once: at_once.max(1), invocations: VecDeque::new(), nonce_next: 1 }
    }

    /// Invocations it takes at once.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Whether it has asked for its first event.
    pub(crate) fn is_started(&self) -> bool {
        self.life == Life::Serving
    }

    fn unsettled(&self) -> impl Iterator<Item = &Invocation> {
        self.invocations.iter().filter(|invocation| invocation.phase != Phase::Settled)
    }

    /// The runtime asks for an event.
    pub(crate) fn next(&mut self) -> Result<(), Refusal> {
        if self.life == Life::Failed || self.unsettled().count() >= self.at_once {
            return Err(self.refuse("Ready"));
        }
        self.life = Life::Serving;
        Ok(())
    }

    /// The platform has an invocation for it; answers with the invocation's nonce. `None` when it cannot take
    /// one now.
    pub(crate) fn begin(&mut self, request: RequestId) -> Option<u64> {
        if self.life != Life::Serving || self.unsettled().count() >= self.at_once {
            return None;
        }
        if self.invocations.len() >= self.at_once {
            let settled = self.invocations.iter().position(|invocation| invocation.phase == Phase::Settled);
            self.invocations.remove(settled.expect("not all of them run"));
        }
        let nonce = self.nonce_next;
        self.nonce_next += 1;
        self.invocations.push_back(Invocation { request, nonce, phase: Phase::Running });
        Some(nonce)
    }

    /// The runtime begins to answer an invocation; says which by its nonce.
    pub(crate) fn answer(&mut self, id: &str, nonce: Option<&str>) -> Result<u64, Refusal> {
        if self.invocations.is_empty() {
            return Err(Refusal::InvalidRequestId);
        }
        let is_named = |invocation: &Invocation| nonce.is_none_or(|nonce| nonce == invocation.nonce.to_string());
        if !self.invocations.iter().any(is_named) {
            return Err(Refusal::Gone);
        }
        let request: Option<RequestId> = id.parse().ok();
        // Of an invocation that is tried again the last attempt counts.
        let found = self.invocations.iter_mut().rev().find(|known| Some(known.request) == request && is_named(known));
        match found {
            None => Err(Refusal::InvalidRequestId),
            Some(invocation) if invocation.phase == Phase::Running => {
                invocation.phase = Phase::Responding;
                Ok(invocation.nonce)
            }
            Some(invocation) => {
                Err(Refusal::InvalidStateTransition { from: invocation.phase.name(), to: "InvocationResponse" })
            }
        }
    }

    /// The answer is complete.
    pub(crate) fn finish(&mut self, nonce: u64) {
        self.responding(nonce).phase = Phase::Settled;
    }

    /// The answer broke off; the runtime may try again.
    pub(crate) fn retract(&mut self, nonce: u64) {
        self.responding(nonce).phase = Phase::Running;
    }

    fn responding(&mut self, nonce: u64) -> &mut Invocation {
        let found = self.invocations.iter_mut().find(|invocation| invocation.nonce == nonce);
        let found = found.filter(|invocation| invocation.phase == Phase::Responding);
        found.expect("only an answer that began ends or breaks off")
    }

    /// The runtime could not load its code.
    pub(crate) fn init_error(&mut self) -> Result<(), Refusal> {
        if self.life != Life::Starting {
            return Err(self.refuse("InitError"));
        }
        self.life = Life::Failed;
        Ok(())
    }

    fn refuse(&self, to: &'static str) -> Refusal {
        let from = match self.life {
            Life::Starting => "Started",
            Life::Failed => "InitError",
            Life::Serving => self.unsettled().next().map_or("Ready", |invocation| invocation.phase.name()),
        };
        Refusal::InvalidStateTransition { from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(at_once: usize) -> Machine {
        let mut machine = Machine::new(at_once);
        machine.next().unwrap();
        machine
    }

    #[test]
    fn an_invocation_is_answered_once() {
        let mut machine = ready(1);
        let request = RequestId::random();
        let nonce = machine.begin(request).unwrap();
        let (id, text) = (request.to_string(), nonce.to_string());
        assert!(matches!(machine.next(), Err(Refusal::InvalidStateTransition { from: "Running", .. })));
        assert_eq!(machine.answer(&id, Some(&text)), Ok(nonce));
        assert!(matches!(machine.answer(&id, None), Err(Refusal::InvalidStateTransition { .. })));
        assert!(machine.next().is_err());
        machine.finish(nonce);
        assert!(matches!(machine.answer(&id, None), Err(Refusal::InvalidStateTransition { from: "Ready", .. })));
        assert_eq!(machine.next(), Ok(()));
    }

    #[test]
    fn an_answer_to_something_else_is_refused() {
        let mut machine = ready(1);
        assert_eq!(machine.answer("x", None), Err(Refusal::InvalidRequestId));
        let request = RequestId::random();
        let first = machine.begin(request).unwrap();
        assert_eq!(machine.answer(&RequestId::random().to_string(), None), Err(Refusal::InvalidRequestId));
        assert_eq!(machine.answer(&request.to_string(), Some("999")), Err(Refusal::Gone));
        machine.answer(&request.to_string(), Some(&first.to_string())).unwrap();
        machine.finish(first);
        machine.next().unwrap();
        let again = machine.begin(request).unwrap();
        assert_ne!(again, first, "a retried invocation has a nonce of its own");
        assert_eq!(machine.answer(&request.to_string(), Some(&first.to_string())), Err(Refusal::Gone));
    }

    #[test]
    fn a_broken_answer_may_be_sent_again() {
        let mut machine = ready(1);
        let request = RequestId::random();
        machine.begin(request).unwrap();
        let nonce = machine.answer(&request.to_string(), None).unwrap();
        machine.retract(nonce);
        assert_eq!(machine.answer(&request.to_string(), None), Ok(nonce));
    }

    #[test]
    fn several_run_at_once_and_are_answered_in_any_order() {
        let mut machine = ready(2);
        let requests = [(); 3].map(|()| RequestId::random());
        let nonces = [machine.begin(requests[0]).unwrap(), machine.begin(requests[1]).unwrap()];
        assert_eq!((machine.begin(requests[2]), machine.next().is_err()), (None, true), "no more than agreed");
        assert_eq!(
            machine.answer(&requests[1].to_string(), Some(&nonces[0].to_string())),
            Err(Refusal::InvalidRequestId)
        );
        assert_eq!(machine.answer(&requests[1].to_string(), Some(&nonces[1].to_string())), Ok(nonces[1]));
        assert_eq!(machine.answer(&requests[0].to_string(), None), Ok(nonces[0]));
        machine.finish(nonces[1]);
        assert_eq!(machine.next(), Ok(()));
        let third = machine.begin(requests[2]).unwrap();
        assert_eq!(machine.answer(&requests[1].to_string(), Some(&nonces[1].to_string())), Err(Refusal::Gone));
        assert_eq!(machine.answer(&requests[2].to_string(), None), Ok(third));
        machine.retract(nonces[0]);
        machine.finish(third);
        assert_eq!(machine.answer(&requests[0].to_string(), None), Ok(nonces[0]));
    }

    #[test]
    fn an_init_error_comes_before_the_first_next_and_ends_it_all() {
        let mut machine = Machine::new(1);
        assert!(!machine.is_started());
        assert_eq!(machine.begin(RequestId::random()), None);
        assert_eq!(machine.init_error(), Ok(()));
        assert!(machine.next().is_err());
        assert!(machine.init_error().is_err());
        assert!(ready(1).init_error().is_err());
    }
}
