//! What a trace consists of.

/// Milliseconds in a day.
pub const DAY_MS: u64 = 86_400_000;

/// What never changes about a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Memory of one of its instances.
    pub memory_mb: u32,
}

/// A stretch of invocations of one function without a pause of a minute between them; usually it is one invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// When the first one comes, milliseconds after the trace begins.
    pub at_ms: u64,
    /// How many there are, at least 1.
    pub count: u32,
    /// Instances it takes to run them, at least 1 and at most `count`.
    pub parallel: u32,
    /// From the first one's begin to the last one's end.
    pub span_ms: u64,
    /// What all of them run together, at most `parallel` times `span_ms`.
    pub work_ms: u64,
}

impl Stretch {
    /// One invocation.
    pub fn single(at_ms: u64, duration_ms: u64) -> Self {
        Self { at_ms, count: 1, parallel: 1, span_ms: duration_ms, work_ms: duration_ms }
    }

    /// `count` invocations of `duration_ms` each, spread evenly over `span_ms`, on at most `parallel_max` instances.
    pub fn spread(at_ms: u64, count: u32, span_ms: u64, duration_ms: u64, parallel_max: u32) -> Self {
        let count = count.max(1);
        let span_ms = span_ms.max(duration_ms).max(1);
        let work_ms = duration_ms.saturating_mul(u64::from(count));
        let parallel = u32::try_from(work_ms.div_ceil(span_ms)).unwrap_or(u32::MAX);
        let parallel = parallel.clamp(1, count.min(parallel_max.max(1)));
        Self { at_ms, count, parallel, span_ms, work_ms: work_ms.min(span_ms * u64::from(parallel)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_stretch_takes_the_instances_its_work_fills() {
        assert_eq!(Stretch::spread(0, 1, 0, 500, 1_000), Stretch::single(0, 500));
        let busy = Stretch::spread(0, 600, 60_000, 1_000, 1_000);
        assert_eq!((busy.parallel, busy.work_ms), (10, 600_000));
        let capped = Stretch::spread(0, 600, 60_000, 1_000, 4);
        assert_eq!((capped.parallel, capped.work_ms), (4, 240_000));
    }
}
