//! Decides how fast one function may grow: a bucket of permits to start, refilled evenly.
//!
//! Lambda lets each function grow by 1,000 concurrent executions every 10 seconds.
//! Invariant: in any span of time no more is taken than the bucket holds and that span refills.

use std::time::Duration;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent executions a function may grow by at once, and in each period after that.
    pub growth_max: u32,
    /// The period.
    pub period: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { growth_max: 1_000, period: Duration::from_secs(10) }
    }
}

/// One function's bucket; a new one is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// When it will be full again, by the caller's clock; past moments all mean that it is full.
    full_at: Duration,
}

impl Bucket {
    /// Takes permits for `growth` executions at the moment `now`, or says how long to wait for them. More than the
    /// bucket ever holds is had when it is full.
    pub fn take(&mut self, growth: u32, now: Duration, limits: Limits) -> Result<(), Duration> {
        let cost = |permits: u32| limits.period.mul_f64(f64::from(permits) / f64::from(limits.growth_max.max(1)));
        let full_at = self.full_at.max(now) + cost(growth.min(limits.growth_max));
        match full_at.checked_sub(now + limits.period) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.full_at = full_at;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { growth_max: 10, period: Duration::from_secs(10) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_then_an_even_pace() {
        let mut bucket = Bucket::default();
        for _ in 0..10 {
            assert_eq!(bucket.take(1, at(100), LIMITS), Ok(()));
        }
        assert_eq!(bucket.take(1, at(100), LIMITS), Err(at(1)));
        assert_eq!(bucket.take(1, at(101), LIMITS), Ok(()));
        assert_eq!(bucket.take(2, at(101), LIMITS), Err(at(2)));
        assert_eq!(bucket.take(2, at(103), LIMITS), Ok(()));
        assert_eq!(bucket.take(10, at(200), LIMITS), Ok(()), "it is full again and holds no more than that");
        assert_eq!(bucket.take(1, at(200), LIMITS), Err(at(1)));
    }

    #[test]
    fn more_than_it_holds_waits_for_a_full_one() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(50, at(1), LIMITS), Ok(()));
        assert_eq!(bucket.take(50, at(1), LIMITS), Err(at(10)));
        assert_eq!(bucket.take(50, at(11), LIMITS), Ok(()));
    }

    proptest! {
        #[test]
        fn no_span_has_more_than_its_due(steps in proptest::collection::vec((0..3_000_u64, 1..5_u32), 1..100)) {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Duration::ZERO, Vec::new());
            for (pause_ms, growth) in steps {
                now += Duration::from_millis(pause_ms);
                match bucket.take(growth, now, LIMITS) {
                    Ok(()) => taken.push((now, growth)),
                    Err(wait) => {
                        // The wait that was named is enough.
                        prop_assert_eq!(bucket.clone().take(growth, now + wait + Duration::from_nanos(10), LIMITS), Ok(()));
                    }
                }
                for (index, (since, _)) in taken.iter().enumerate() {
                    let sum: u32 = taken[index..].iter().map(|(_, growth)| growth).sum();
                    let due = 10.0 + (now - *since).as_secs_f64() + 1e-6;
                    prop_assert!(f64::from(sum) <= due, "{sum} since {since:?}");
                }
            }
        }
    }
}
