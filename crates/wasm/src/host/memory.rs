//! How much memory a guest may have: all its linear memories together, and the sizes of its tables.
//!
//! A refused growth is not yet a failure, since a guest may make do with less. It is remembered, so that a trap
//! in the same call is told as running out of memory rather than as whatever instruction came next.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use wasmtime::ResourceLimiter;

/// Most elements of one table; large programs have a few tens of thousands of functions in one.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// One guest's limit and what it has.
pub(crate) struct Limits {
    bytes_max: usize,
    bytes: usize,
    peak: Arc<AtomicU64>,
    /// Whether growth was refused since [`Limits::begin_call`].
    pub(crate) refused: bool,
}

impl Limits {
    /// A limit of `memory_mb` MB; the most ever held is kept in `peak`, bytes.
    pub(crate) fn new(memory_mb: u32, peak: Arc<AtomicU64>) -> Self {
        Self { bytes_max: (memory_mb as usize) << 20, bytes: 0, peak, refused: false }
    }

    /// Forgets refusals of earlier calls.
    pub(crate) fn begin_call(&mut self) {
        self.refused = false;
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.bytes_max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = true;
            return Ok(false);
        }
        self.bytes = bytes;
        self.peak.fetch_max(bytes as u64, Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
