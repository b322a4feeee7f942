//! The hybrid histogram policy: Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, section 4.
//!
//! A histogram of the function's idle times in bins of a minute up to a range (4 hours in the paper). Where it
//! says something, the 5th percentile rounded down and less 10 % is when an instance is started ahead, the 99th
//! rounded up and 10 % more is until when it is kept. Where it does not (few observations, or counts so even that
//! their coefficient of variation is below 2), the instance is kept for the range. A function most of whose
//! idle times lie beyond the range gets a forecast with a margin of 15 % to either side.
//!
//! Two things are not the paper's. It forecasts with ARIMA; here it is the median of the last eight idle times
//! beyond the range, which one outlier does not move and which needs no fitting. And it counts in 32 bits for ever;
//! here a counter has 16 bits, and all are halved when one is full, so old habits fade.

use std::time::Duration;

use super::{
    plan::{Plan, Window, millis},
    stored::{Reader, read_bins, write_bins},
};

const BIN_MS: u32 = 60_000;
/// Below this coefficient of variation of the bins' counts, the histogram is taken to say nothing (section 5).
const VARIATION_MIN: f64 = 2.0;
/// At this share of idle times beyond the range, they are forecast instead.
const BEYOND_SHARE: f64 = 0.5;
const MARGIN: f64 = 0.10;
const FORECAST_MARGIN: f64 = 0.15;
/// Fewer observations than this are too few.
const OBSERVATIONS_MIN: u32 = 2;
const RECENT: usize = 8;
/// Most observations told at once that count.
const TIMES_MAX: u32 = 1_000;
/// A day: more bins than this no policy here asks for.
const BINS_MAX: u16 = 1_440;

/// What can be chosen about the policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Bins of a minute each, 1 to 1,440; also how many minutes an instance is kept while nothing is known.
    pub range_minutes: u16,
    /// From which share of the idle times on an instance is warm.
    pub head: f64,
    /// Up to which share of the idle times an instance is warm.
    pub tail: f64,
}

impl Default for Settings {
    /// The paper's.
    fn default() -> Self {
        Self { range_minutes: 240, head: 0.05, tail: 0.99 }
    }
}

impl Settings {
    fn bins(&self) -> u16 {
        self.range_minutes.clamp(1, BINS_MAX)
    }

    fn range_ms(&self) -> u32 {
        u32::from(self.bins()) * BIN_MS
    }
}

/// One function's idle times. Two bytes a bin: 480 for the paper's range.
#[derive(Debug, Clone)]
pub struct History {
    counts: Box<[u16]>,
    beyond: u16,
    /// The last idle times beyond the range, milliseconds, the next to be replaced at `next`.
    recent: [u32; RECENT],
    next: u8,
}

impl History {
    /// Of a function never seen.
    pub fn new(settings: &Settings) -> Self {
        let counts = vec![0; usize::from(settings.bins())].into_boxed_slice();
        Self { counts, beyond: 0, recent: [0; RECENT], next: 0 }
    }

    /// Takes note of an idle time that came this many times in a row.
    pub fn observe(&mut self, idle: Duration, times: u32) {
        let idle_ms = millis(idle);
        let more = u16::try_from(times.min(TIMES_MAX)).unwrap_or(u16::MAX);
        let bin = usize::try_from(idle_ms / BIN_MS).unwrap_or(usize::MAX);
        if bin >= self.counts.len() {
            self.recent[usize::from(self.next)] = idle_ms;
            self.next = (self.next + 1) % u8::try_from(RECENT).unwrap_or(u8::MAX);
        }
        let count = self.counts.get(bin).copied().unwrap_or(self.beyond);
        if count.checked_add(more).is_none() {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.beyond /= 2;
        }
        *self.counts.get_mut(bin).unwrap_or(&mut self.beyond) += more;
    }

    /// When to have an instance warm.
    pub fn plan(&self, settings: &Settings) -> Plan {
        let within = self.within();
        let total = within + u32::from(self.beyond);
        if total < OBSERVATIONS_MIN {
            return Plan::keep(Duration::from_millis(u64::from(settings.range_ms())));
        }
        if f64::from(self.beyond) >= f64::from(total) * BEYOND_SHARE {
            return self.forecast();
        }
        if self.variation(within) < VARIATION_MIN {
            return Plan::keep(Duration::from_millis(u64::from(settings.range_ms())));
        }
        let head = f64::from(self.percentile(within, settings.head)) * f64::from(BIN_MS);
        let tail = f64::from(self.percentile(within, settings.tail) + 1) * f64::from(BIN_MS);
        Plan::of(&[Window { from_ms: whole(head * (1.0 - MARGIN)), until_ms: whole(tail * (1.0 + MARGIN)) }])
    }

    /// Idle times it remembers, those that have faded left out.
    pub fn observations(&self) -> u32 {
        self.within() + u32::from(self.beyond)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.beyond.to_le_bytes());
        bytes.extend(u16::from(self.next).to_le_bytes());
        self.recent.iter().for_each(|idle_ms| bytes.extend(idle_ms.to_le_bytes()));
        write_bins(bytes, &self.counts);
    }

    pub(super) fn read(settings: &Settings, reader: &mut Reader<'_>) -> Option<Self> {
        let mut history = Self::new(settings);
        history.beyond = reader.u16()?;
        history.next = u8::try_from(reader.u16()?).ok().filter(|next| usize::from(*next) < RECENT)?;
        for idle_ms in &mut history.recent {
            *idle_ms = reader.u32()?;
        }
        read_bins(&mut history.counts, reader)?;
        Some(history)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.counts)
    }

    fn within(&self) -> u32 {
        self.counts.iter().copied().map(u32::from).sum()
    }

    fn forecast(&self) -> Plan {
        let mut recent: Vec<u32> = self.recent.iter().copied().filter(|&idle_ms| idle_ms > 0).collect();
        recent.sort_unstable();
        let median = recent.get(recent.len() / 2).copied().map_or(0.0, f64::from);
        let margin = median * FORECAST_MARGIN;
        Plan::of(&[Window { from_ms: whole(median - margin), until_ms: whole(median + margin) }])
    }

    /// Standard deviation of the bins' counts over their mean.
    fn variation(&self, within: u32) -> f64 {
        let bins = self.counts.len() as f64;
        let mean = f64::from(within) / bins;
        let squares: f64 = self.counts.iter().map(|&count| (f64::from(count) - mean).powi(2)).sum();
        (squares / bins).sqrt() / mean
    }

    /// The bin in which this share of the idle times is reached.
    fn percentile(&self, within: u32, share: f64) -> u32 {
        let wanted = f64::from(within) * share;
        let mut reached = 0.0;
        let bin = self.counts.iter().position(|&count| {
            reached += f64::from(count);
            count > 0 && reached >= wanted
        });
        u32::try_from(bin.unwrap_or(self.counts.len() - 1)).unwrap_or(u32::MAX)
    }
}

fn whole(milliseconds: f64) -> u32 {
    // A float outside of the range is cut off at its end.
    milliseconds as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn told(idle_times: impl IntoIterator<Item = Duration>) -> History {
        let mut history = History::new(&Settings::default());
        idle_times.into_iter().for_each(|idle| history.observe(idle, 1));
        history
    }

    fn minutes(history: &History) -> Vec<(f64, f64)> {
        let plan = history.plan(&Settings::default());
        let minutes = |milliseconds: u32| f64::from(milliseconds) / 60_000.0;
        plan.windows().iter().map(|window| (minutes(window.from_ms), minutes(window.until_ms))).collect()
    }

    #[test]
    fn nothing_known_is_kept_for_the_range() {
        assert_eq!(minutes(&told([])), [(0.0, 240.0)]);
        assert_eq!(minutes(&told([30 * MINUTE])), [(0.0, 240.0)]);
    }

    #[test]
    fn a_regular_function_is_started_ahead() {
        let windows = minutes(&told([30 * MINUTE; 20]));
        assert!((windows[0].0 - 27.0).abs() < 1e-9 && (windows[0].1 - 34.1).abs() < 1e-9, "{windows:?}");
    }

    #[test]
    fn a_busy_function_is_kept_and_not_unloaded() {
        let windows = minutes(&told([5 * MINUTE / 60; 100]));
        assert!(windows[0].0 == 0.0 && (windows[0].1 - 1.1).abs() < 1e-9, "{windows:?}");
    }

    #[test]
    fn the_tail_goes_without_the_rarest_idle_times() {
        let often = std::iter::repeat_n(MINUTE / 2, 995);
        let windows = minutes(&told(often.chain(std::iter::repeat_n(200 * MINUTE, 5))));
        assert!((windows[0].1 - 1.1).abs() < 1e-9, "{windows:?}");
    }

    #[test]
    fn counts_that_are_even_say_nothing() {
        let history = told((0..240).map(|minute| minute * MINUTE));
        assert_eq!(minutes(&history), [(0.0, 240.0)]);
    }

    #[test]
    fn what_lies_beyond_the_range_is_forecast() {
        let windows = minutes(&told([6 * HOUR, 6 * HOUR, 48 * HOUR, 6 * HOUR]));
        assert!((windows[0].0 - 306.0).abs() < 0.01 && (windows[0].1 - 414.0).abs() < 0.01, "{windows:?}");
    }

    #[test]
    fn old_habits_fade() {
        let mut history = told(std::iter::repeat_n(30 * MINUTE, 70_000));
        (0..70_000).for_each(|_| history.observe(2 * MINUTE, 1));
        let halves = history.counts[30];
        assert!(halves < 35_000 && history.counts[2] > halves, "{halves}");
    }

    proptest! {
        #[test]
        fn whatever_is_told_the_size_stays_and_windows_hold(
            idle_times in proptest::collection::vec(0u64..1_000_000_000, 0..300),
            range_minutes in 0u16..3_000,
        ) {
            let settings = Settings { range_minutes, ..Settings::default() };
            let mut history = History::new(&settings);
            let bytes = history.heap_bytes();
            for idle_ms in idle_times {
                history.observe(Duration::from_millis(idle_ms), 1);
                let plan = history.plan(&settings);
                prop_assert!(plan.windows().iter().all(|window| window.from_ms < window.until_ms));
            }
            prop_assert_eq!(history.heap_bytes(), bytes);
            prop_assert!(bytes <= 2 * usize::from(BINS_MAX));
        }
    }
}
