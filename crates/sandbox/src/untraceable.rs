//! In place of `tracee` on processors for which there is no table of calls: no guest is ever stopped, so none is copied.

use std::convert::Infallible;

use libc::{c_long, pid_t};

use crate::wire::Failure;

/// See `tracee::Call`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call;

impl Call {
    pub(crate) fn new<const N: usize>(_: c_long, _: [u64; N]) -> Self {
        Self
    }
}

/// Of which there is none.
pub(crate) struct Stopped(Infallible);

/// Of which there is none.
pub(crate) struct Copy(Infallible);

/// Why a guest is not where it can be stopped.
pub(crate) enum Refusal {
    #[allow(dead_code, reason = "the other processors have it")]
    NotYet,
    Never(Failure),
}

impl Stopped {
    pub(crate) fn seize(_: pid_t) -> Result<(), Failure> {
        Err(Failure::Invalid("there are no copies on this processor".to_owned()))
    }

    pub(crate) fn stop(pid: pid_t) -> Result<Self, Refusal> {
        Self::seize(pid).map_err(Refusal::Never).and_then(|()| Err(Refusal::NotYet))
    }

    pub(crate) fn pid(&self) -> pid_t {
        match self.0 {}
    }

    pub(crate) fn with_vehicle<T>(&self, _: impl FnOnce(Copy) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.0 {}
    }

    pub(crate) fn restoration(&self) -> Option<Call> {
        match self.0 {}
    }
}

impl Copy {
    pub(crate) fn pid(&self) -> pid_t {
        match self.0 {}
    }

    pub(crate) fn place(&mut self, _: &[u8]) -> Result<u64, Failure> {
        match self.0 {}
    }

    pub(crate) fn read(&self, _: u64, _: &mut [u8]) -> Result<(), Failure> {
        match self.0 {}
    }

    pub(crate) fn run(&self, _: &[Call], _: &str) -> Result<Vec<u64>, Failure> {
        match self.0 {}
    }

    pub(crate) fn run_and_fork(self, _: &[Call], _: &str) -> Result<Self, Failure> {
        match self.0 {}
    }

    pub(crate) fn forget(self) {
        match self.0 {}
    }

    pub(crate) fn release(self) -> Result<pid_t, Failure> {
        match self.0 {}
    }
}
