//! Decides which idle instance is worth least, for when memory is short.
//!
//! Greedy-Dual with size and frequency (Cao and Irani, USITS 1997; Cherkasova, HPL-98-69; for functions Fuerst and Sharma,
//! ASPLOS 2021): an instance is worth what starting it again would cost, as often as it is used, for the memory it
//! holds. Ages are made by a clock that stands at the worth of the last one evicted: what was worth much once and is
//! used no more is overtaken.

/// The clock: the greatest worth evicted so far. Starts at 0 and never goes back.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Clock(f64);

impl Clock {
    /// After something of this worth was evicted.
    #[must_use]
    pub fn after(self, evicted: Worth) -> Self {
        Self(self.0.max(evicted.0))
    }

    /// As bits, for an atomic.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// From [`Clock::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

/// What counts for one idle instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Idle {
    /// Where the clock stood when it was last used.
    pub used_at: Clock,
    /// Calls it has served.
    pub uses: u32,
    /// What a start of its function takes, microseconds.
    pub start_us: u32,
    /// What it holds, MB; at least 1.
    pub memory_mb: u32,
}

/// What an instance is worth; the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Worth(f64);

/// The worth of one idle instance.
pub fn worth(idle: Idle) -> Worth {
    Worth(idle.used_at.0 + f64::from(idle.uses) * f64::from(idle.start_us.max(1)) / f64::from(idle.memory_mb.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Idle = Idle { used_at: Clock(0.0), uses: 1, start_us: 20_000, memory_mb: 128 };

    #[test]
    fn what_is_dear_often_used_or_small_is_kept() {
        assert!(worth(IDLE) < worth(Idle { start_us: 1_000_000, ..IDLE }));
        assert!(worth(IDLE) < worth(Idle { uses: 2, ..IDLE }));
        assert!(worth(IDLE) > worth(Idle { memory_mb: 1_024, ..IDLE }));
    }

    #[test]
    fn past_fame_does_not_last() {
        let famous = worth(Idle { uses: 100, ..IDLE });
        let mut clock = Clock::default();
        // Each newcomer is evicted in its turn, and the next one begins where it ended.
        for evicted in 1.. {
            let newcomer = worth(Idle { used_at: clock, ..IDLE });
            if newcomer > famous {
                assert_eq!(evicted, 101);
                break;
            }
            clock = clock.after(newcomer);
        }
    }

    proptest! {
        #[test]
        fn the_clock_never_goes_back(uses in proptest::collection::vec(0..1_000_u32, 1..50)) {
            let mut clock = Clock::default();
            for uses in uses {
                let next = clock.after(worth(Idle { uses, used_at: Clock::default(), ..IDLE }));
                prop_assert!(next >= clock);
                clock = Clock::from_bits(next.to_bits());
            }
        }
    }
}
