//! One start under way: passes its guest's output on, and notes when it reached what.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use updraft_executor::{Guest, Milestone};

use crate::{figures::ColdStart, logs::Output};

/// The guest of one instance, from the beginning of its start.
pub(crate) struct Starting {
    began: Instant,
    output: Output,
    /// When it was reached, microseconds after the beginning; 0 until then.
    package_us: AtomicU64,
    sandbox_us: AtomicU64,
    runtime_us: AtomicU64,
    is_copy: AtomicBool,
}

impl Starting {
    pub(crate) fn new(began: Instant, output: Output) -> Self {
        let unknown = AtomicU64::default;
        let is_copy = AtomicBool::new(false);
        Self { began, output, package_us: unknown(), sandbox_us: unknown(), runtime_us: unknown(), is_copy }
    }

    /// Notes that the package is laid out and prepared.
    pub(crate) fn package_ready(&self) {
        self.note(&self.package_us);
    }

    fn note(&self, reached_us: &AtomicU64) {
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        reached_us.store(us, Relaxed);
    }

    /// The phases of a start that took `whole`. One that no milestone ended takes no time: the next one has it.
    pub(crate) fn phases(&self, whole: Duration) -> ColdStart {
        let mut before = Duration::ZERO;
        let mut until = |reached_us: &AtomicU64| {
            let reached = Duration::from_micros(reached_us.load(Relaxed)).clamp(before, whole.max(before));
            std::mem::replace(&mut before, reached).abs_diff(reached)
        };
        let package = until(&self.package_us);
        let sandbox = until(&self.sandbox_us);
        let runtime = until(&self.runtime_us);
        let is_restore = self.is_copy.load(Relaxed);
        ColdStart { place: Duration::ZERO, package, sandbox, runtime, init: whole.saturating_sub(before), is_restore }
    }
}

impl Guest for Starting {
    fn log(&self, output: &[u8]) {
        self.output.log(output);
    }

    fn reached(&self, milestone: Milestone) {
        match milestone {
            Milestone::Sandbox => self.note(&self.sandbox_us),
            Milestone::Copy => self.is_copy.store(true, Relaxed),
            Milestone::Runtime => self.note(&self.runtime_us),
        }
    }
}
