//! Buys warm time where it prevents most cold starts: the default.
//!
//! For a function that has been idle for a while, the hazard (the chance that its call comes in the next second, if
//! it has not come yet) is what a second of warmth is worth, and its memory is what that second costs. Warm exactly
//! where worth exceeds cost is the best any policy can do with given memory, if the hazard is known. So the
//! plan follows from an estimate of it, and one number sets the trade: what a prevented cold start may cost. Fixed
//! periods, bursts with long pauses between them, and mixtures need no categories of their own: they are hazards that
//! are high in one place, at the beginning, or in several places.
//!
//! The estimate is a histogram whose bins widen with time (16 to an octave), seen through three smoothing widths.
//! Each width is weighed by how well it has predicted so far: a timer is soon judged by the sharp one, a person's
//! visits by the broad one. A prior stands in for what has not been seen, so that an unknown function is kept a
//! little, and a function whose habit has just been broken as well.

use std::time::Duration;

use super::{
    plan::{Plan, WINDOWS_MAX, Window, millis},
    stored::{Reader, read_bins, write_bins},
};

/// Width of the first bins.
const UNIT_MS: u32 = 30_000;
/// Bins to an octave, after as many of one unit each.
const OCTAVE: usize = 16;
/// 208 bins reach to 2^16 units, 22 days.
const BINS: usize = OCTAVE * 13;
/// Nothing is kept or started ahead after this long: a week, and the bin around it.
const WAIT_MS_MAX: u32 = 8 * 24 * 3_600_000;
/// Smoothing half-widths in bins.
const WIDTHS: [usize; 3] = [1, 4, 16];
/// What one observation adds to its bin: a counter that is halved again and again forgets slowly.
const STEP: u16 = 16;
/// Most observations told at once that count.
const TIMES_MAX: u32 = 1_000;
/// How fast past predictions fade when the widths are weighed.
const FADING: f32 = 0.97;
/// What the prior counts for: seven tenths of an observation.
const PRIOR: f32 = 0.7 * STEP as f32;
/// The prior's share for the first minute.
const PRIOR_FIRST: f32 = 0.3;
/// The prior's share for no call ever again, so that what has stopped is let go. The rest is even over the logarithm
/// of time.
const PRIOR_NEVER: f32 = 0.2;

/// What can be chosen about the policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// What preventing one cold start may cost: megabytes of memory held idle, times seconds. At least 0.
    pub worth_mb_s: f64,
    /// How much more a cold start of a rarely called function is worth than one of a busy one: the worth grows with
    /// the mean idle time to this power. 0 counts all cold starts alike, 1 all functions.
    pub fairness: f64,
}

impl Default for Settings {
    /// An hour of a middling function's memory (170 MB) for a cold start. On the replayed trace that holds a little
    /// less memory idle than a fixed window of ten minutes; with a fairness of a half it also has fewer cold starts by
    /// every measure (`docs/keep-alive.md`).
    fn default() -> Self {
        Self { worth_mb_s: 170.0 * 3_600.0, fairness: 0.5 }
    }
}

/// The mean idle time of a function whose cold starts are worth `worth_mb_s` as it stands.
const REFERENCE_S: f64 = 3_600.0;

/// One function's idle times, in 428 bytes.
#[derive(Debug, Clone)]
pub struct History {
    /// [`STEP`] for each observation; all are halved when one is full.
    counts: [u16; BINS],
    /// How well each of [`WIDTHS`] has predicted: the logarithm of its likelihood, the best being 0.
    scores: [f32; WIDTHS.len()],
}

impl Default for History {
    fn default() -> Self {
        Self { counts: [0; BINS], scores: [0.0; WIDTHS.len()] }
    }
}

impl History {
    /// Takes note of an idle time that came this many times in a row.
    pub fn observe(&mut self, idle: Duration, times: u32) {
        let bin = bin_of(millis(idle));
        self.weigh(bin);
        let more = STEP * u16::try_from(times.min(TIMES_MAX)).unwrap_or(u16::MAX);
        while self.counts[bin].checked_add(more).is_none() {
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
        self.counts[bin] += more;
    }

    /// Idle times it remembers, those that have faded left out.
    pub fn observations(&self) -> u32 {
        self.total() / u32::from(STEP)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        self.scores.iter().for_each(|score| bytes.extend(score.to_bits().to_le_bytes()));
        write_bins(bytes, &self.counts);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut history = Self::default();
        for score in &mut history.scores {
            // Logarithms, the best of them 0.
            *score = Some(f32::from_bits(reader.u32()?)).filter(|score| score.is_finite() && *score <= 0.0)?;
        }
        if history.scores.iter().all(|score| *score < 0.0) {
            return None;
        }
        read_bins(&mut history.counts, reader)?;
        Some(history)
    }

    fn total(&self) -> u32 {
        self.counts.iter().copied().map(u32::from).sum()
    }

    /// When to have an instance of `memory_mb` warm.
    pub fn plan(&self, settings: &Settings, memory_mb: u32) -> Plan {
        let chances = self.chances();
        let mean_s: f64 = chances.iter().enumerate().map(|(bin, chance)| f64::from(*chance) * middle_s(bin)).sum();
        let worth = settings.worth_mb_s.max(0.0) * (mean_s / REFERENCE_S).powf(settings.fairness);
        let memory = f64::from(memory_mb.max(1));
        let mut found = Found::default();
        let mut left = 1.0;
        for (bin, chance) in chances.iter().copied().map(f64::from).enumerate() {
            if start_ms(bin) >= WAIT_MS_MAX {
                break;
            }
            // Who comes in this bin ends the wait half-way through it, on average.
            let cost = (left - chance / 2.0).max(0.0) * width_s(bin) * memory;
            found.bin(bin, chance * worth - cost);
            left -= chance;
        }
        found.plan()
    }

    /// The chance of each bin for the next idle time. They add up to 1, less the chance that none comes.
    fn chances(&self) -> [f32; BINS] {
        let weights = self.scores.map(f32::exp);
        let weight_sum: f32 = weights.iter().sum();
        let mut chances = [0.0; BINS];
        for (bin, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            for (width, weight) in WIDTHS.into_iter().zip(weights) {
                let scale = f32::from(*count) * weight / (weight_sum * ((width + 1) * (width + 1)) as f32);
                for (distance, up) in offsets(width) {
                    chances[mirrored(bin, distance, up)] += scale * (width + 1 - distance) as f32;
                }
            }
        }
        let sum = self.total() as f32 + PRIOR;
        for (bin, chance) in chances.iter_mut().enumerate() {
            *chance = (*chance + PRIOR * prior(bin)) / sum;
        }
        chances
    }

    /// Raises the scores of the widths that expected an idle time in `bin`.
    fn weigh(&mut self, bin: usize) {
        if self.total() == 0 {
            return;
        }
        for (score, width) in self.scores.iter_mut().zip(WIDTHS) {
            let near: f32 = offsets(width)
                .map(|(distance, up)| {
                    f32::from(self.counts[mirrored(bin, distance, up)]) * (width + 1 - distance) as f32
                })
                .sum();
            let expected = near / ((width + 1) * (width + 1)) as f32;
            *score = *score * FADING + (expected + PRIOR * prior(bin)).ln();
        }
        let best = self.scores.iter().copied().fold(f32::MIN, f32::max);
        self.scores.iter_mut().for_each(|score| *score -= best);
    }
}

/// The bins from `-width` to `width`, as distances and directions.
fn offsets(width: usize) -> impl Iterator<Item = (usize, bool)> {
    (0..=width).map(|distance| (distance, true)).chain((1..=width).map(|distance| (distance, false)))
}

/// The bin at a distance; what would fall off either end comes back in.
fn mirrored(bin: usize, distance: usize, up: bool) -> usize {
    if up {
        let there = bin + distance;
        if there < BINS { there } else { 2 * BINS - 1 - there }
    } else if distance <= bin {
        bin - distance
    } else {
        distance - bin - 1
    }
}

fn prior(bin: usize) -> f32 {
    let even = (1.0 - PRIOR_FIRST - PRIOR_NEVER) / BINS as f32;
    if bin < 2 { even + PRIOR_FIRST / 2.0 } else { even }
}

fn bin_of(idle_ms: u32) -> usize {
    let units = idle_ms / UNIT_MS;
    let octave = units.max(1).ilog2().saturating_sub(OCTAVE.ilog2());
    let bin = OCTAVE * usize::try_from(octave).unwrap_or(0) + usize::try_from(units >> octave).unwrap_or(0);
    bin.min(BINS - 1)
}

/// The first millisecond of a bin; of the one after the last, the end.
fn start_ms(bin: usize) -> u32 {
    let octave = (bin / OCTAVE).saturating_sub(1);
    let units = (bin - OCTAVE * octave) << octave;
    u32::try_from(units).unwrap_or(u32::MAX).saturating_mul(UNIT_MS)
}

fn width_s(bin: usize) -> f64 {
    f64::from(start_ms(bin + 1) - start_ms(bin)) / 1_000.0
}

fn middle_s(bin: usize) -> f64 {
    f64::from(start_ms(bin)) / 1_000.0 + width_s(bin) / 2.0
}

/// The most rewarding windows, collected bin by bin.
#[derive(Default)]
struct Found {
    /// Each with what it gains over its cost.
    windows: Vec<(Window, f64)>,
    open: Option<(Window, f64)>,
}

impl Found {
    fn bin(&mut self, bin: usize, gain: f64) {
        if gain <= 0.0 {
            self.windows.extend(self.open.take());
            return;
        }
        let (window, sum) = self.open.get_or_insert((Window { from_ms: start_ms(bin), until_ms: 0 }, 0.0));
        window.until_ms = start_ms(bin + 1);
        *sum += gain;
    }

    fn plan(mut self) -> Plan {
        self.windows.extend(self.open.take());
        self.windows.sort_by(|(_, gain), (_, other)| other.total_cmp(gain));
        self.windows.truncate(WINDOWS_MAX);
        self.windows.sort_by_key(|(window, _)| window.from_ms);
        let windows: Vec<_> = self.windows.into_iter().map(|(window, _)| window).collect();
        Plan::of(&windows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);
    const MB: u32 = 170;

    fn told(idle_times: impl IntoIterator<Item = Duration>) -> History {
        let mut history = History::default();
        idle_times.into_iter().for_each(|idle| history.observe(idle, 1));
        history
    }

    fn minutes(history: &History, memory_mb: u32) -> Vec<(f64, f64)> {
        let plan = history.plan(&Settings::default(), memory_mb);
        let minutes = |milliseconds: u32| f64::from(milliseconds) / 60_000.0;
        plan.windows().iter().map(|window| (minutes(window.from_ms), minutes(window.until_ms))).collect()
    }

    #[test]
    fn bins_follow_each_other_without_gap() {
        for bin in 0..BINS {
            assert_eq!(bin_of(start_ms(bin)), bin);
            assert_eq!(bin_of(start_ms(bin + 1) - 1), bin);
        }
        assert_eq!(bin_of(u32::MAX), BINS - 1);
    }

    #[test]
    fn chances_add_up_to_all_but_never() {
        for (idle_times, never) in [
            (&[][..], 0.2),
            (&[Duration::ZERO], 0.2 * 0.7 / 1.7),
            (&[MINUTE, HOUR, 30 * HOUR, 800 * HOUR], 0.2 * 0.7 / 4.7),
        ] {
            let sum: f32 = told(idle_times.iter().copied()).chances().iter().sum();
            assert!((sum + never - 1.0).abs() < 1e-3, "{sum}");
        }
    }

    #[test]
    fn what_has_stopped_is_let_go() {
        let rarely = told((0..30).map(|step| (5 + step) * HOUR));
        for history in [told([]), told([MINUTE; 50]), told([HOUR; 50]), rarely] {
            for memory_mb in [1, 128, 10_240] {
                let end = minutes(&history, memory_mb).last().map_or(0.0, |(_, until)| *until);
                assert!(end < 9.0 * 24.0 * 60.0, "{end} minutes with {memory_mb} MB");
            }
        }
    }

    #[test]
    fn the_unknown_is_kept_for_a_while() {
        let windows = minutes(&told([]), MB);
        assert!(windows.len() == 1 && windows[0].0 == 0.0 && windows[0].1 >= 1.0, "{windows:?}");
    }

    #[test]
    fn a_timer_is_warm_around_its_time_only() {
        let windows = minutes(&told([HOUR; 30]), MB);
        let last = windows.last().unwrap();
        assert!(last.0 > 54.0 && last.0 <= 60.0 && last.1 > 60.0 && last.1 < 68.0, "{windows:?}");
        let warm: f64 = windows.iter().map(|(from, until)| until - from).sum();
        assert!(warm < 12.0, "{windows:?}");
    }

    #[test]
    fn bursts_between_long_pauses_are_kept_at_their_beginning() {
        let burst = |_| std::iter::repeat_n(MINUTE / 2, 20).chain([10 * HOUR]);
        let windows = minutes(&told((0..10).flat_map(burst)), MB);
        assert!(windows[0].0 == 0.0 && windows[0].1 < 30.0, "{windows:?}");
    }

    #[test]
    fn what_takes_more_memory_is_kept_for_less_time() {
        let history = told((1..40).map(|step| step * step * MINUTE));
        let warm = |memory_mb| minutes(&history, memory_mb).iter().map(|(from, until)| until - from).sum::<f64>();
        assert!(warm(100) > warm(1_000), "{} {}", warm(100), warm(1_000));
    }

    #[test]
    fn nothing_is_bought_for_nothing() {
        let settings = Settings { worth_mb_s: 0.0, ..Settings::default() };
        assert_eq!(told([MINUTE; 9]).plan(&settings, MB).windows(), []);
    }

    #[test]
    fn old_habits_fade() {
        let mut history = told([HOUR; 300]);
        (0..300).for_each(|_| history.observe(5 * MINUTE, 1));
        let windows = minutes(&history, MB);
        assert!(windows.iter().any(|(from, until)| *from <= 5.0 && 5.0 < *until), "{windows:?}");
    }

    #[test]
    fn its_size_is_stated() {
        assert_eq!(size_of::<History>(), 428);
    }

    proptest! {
        #[test]
        fn whatever_is_told_plans_hold_and_depend_on_nothing_else(
            idle_times in proptest::collection::vec(0u64..5_000_000_000, 0..600),
            worth_mb_s in 0.0f64..1e9,
            fairness in 0.0f64..1.0,
            memory_mb in 0u32..20_000,
        ) {
            let told = || told(idle_times.iter().copied().map(Duration::from_millis));
            let settings = Settings { worth_mb_s, fairness };
            let (history, plan) = (told(), told().plan(&settings, memory_mb));
            prop_assert!(plan.windows().iter().all(|window| window.from_ms < window.until_ms));
            prop_assert_eq!(history.plan(&settings, memory_mb), plan);
            prop_assert!(history.scores.iter().all(|score| *score <= 0.0));
            prop_assert!(history.scores.contains(&0.0) || idle_times.is_empty());
        }
    }
}
