//! A trace made up after the published shape of Azure Functions in July 2019.
//!
//! Figures marked \[W\] are printed in Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, section 3, and held to
//! by tests here. What the paper only draws, or leaves open, is marked \[A\], an assumption. A function here is
//! what is called an application there: the unit that is kept warm.

use crate::{
    rng::Rng,
    trace::{DAY_MS, Profile, Stretch},
};

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
/// Lambda's longest invocation.
const DURATION_MS_MAX: f64 = 900_000.0;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    /// Another seed, another trace of the same shape.
    pub seed: u64,
    /// How many functions.
    pub functions: u32,
    /// How many days.
    pub days: u32,
    /// How regular the calls are.
    pub shape: Shape,
    /// Most instances of one function at once; 1 counts a function as loaded or not, as the papers do.
    pub instances_max: u32,
}

/// How regular the calls are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As published.
    Published,
    /// Every call independent of the one before, at the published rates: nothing to learn but the rate.
    Memoryless,
}

/// What makes a function run \[W\], figure 2. The paper leaves storage and others together at 5 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// An HTTP request.
    Http,
    /// A queue's message.
    Queue,
    /// A stream of events.
    Event,
    /// The clock.
    Timer,
    /// A durable function's step.
    Orchestration,
    /// Storage and the rest.
    Other,
}

const TRIGGERS: [(Trigger, f64); 6] = [
    (Trigger::Http, 55.0),
    (Trigger::Queue, 15.2),
    (Trigger::Event, 2.2),
    (Trigger::Timer, 15.6),
    (Trigger::Orchestration, 7.0),
    (Trigger::Other, 5.0),
];

/// Mean calls a day of functions without a timer, by quantile. Chosen so that of all functions 45 % run at most once an
/// hour and 81 % at most once a minute \[W\], over 8 orders of magnitude \[W\]; between and beyond \[A\].
const RATES: [(f64, f64); 6] =
    [(0.0, 1.0 / 14.0), (0.46, 24.0), (0.784, 1_440.0), (0.95, 30_000.0), (0.99, 1e6), (1.0, 1e8)];

/// Periods of timers in minutes \[A\]. 95 % fire at most once a minute \[W\].
const PERIODS: [(f64, f64); 13] = [
    (0.25, 5.0),
    (1.0, 14.0),
    (5.0, 20.0),
    (10.0, 8.0),
    (15.0, 8.0),
    (30.0, 7.0),
    (60.0, 13.0),
    (120.0, 2.0),
    (240.0, 2.0),
    (360.0, 3.0),
    (720.0, 3.0),
    (1_440.0, 13.0),
    (10_080.0, 2.0),
];

/// How calls without a timer follow each other. With the timers, 40 % of functions come to a coefficient of variation
/// above 1 \[W\]. About a fifth are close to 0, and the rest lie between (drawn in figure 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A machine's, nearly periodic.
    Machine,
    /// Gaps that vary less than chance would have it.
    Paced,
    /// Sessions with pauses between them.
    Bursts,
    Chance,
}

const MANNERS: [(Manner, f64); 3] = [(Manner::Machine, 0.07), (Manner::Paced, 0.56), (Manner::Bursts, 0.37)];

/// One function: what it is like, and its calls in order.
#[derive(Debug, Clone)]
pub struct Function {
    /// What never changes.
    pub profile: Profile,
    /// What makes it run.
    pub trigger: Trigger,
    /// Mean calls a day it was made for.
    pub rate: f64,
    duration_ms: u64,
    instances_max: u32,
    pace: Pace,
    is_human: bool,
    rng: Rng,
    now_ms: f64,
    end_ms: f64,
    /// Calls left in the session that goes on.
    session: u32,
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Every so often, late by up to `jitter_ms`.
    Clock { period_ms: f64, jitter_ms: f64 },
    /// Gaps of this mean; a greater shape is more regular, 1 is chance.
    Gaps { mean_ms: f64, shape: f64 },
    /// Sessions of `size` calls on average, `gap_ms` apart within.
    Sessions { mean_ms: f64, size: f64, gap_ms: f64 },
    /// So many an hour, without a pause.
    Stream { per_hour: f64 },
}

impl Trace {
    /// When the trace ends.
    pub fn end_ms(&self) -> u64 {
        u64::from(self.days) * DAY_MS
    }

    /// One of its functions.
    pub fn function(&self, index: u32) -> Function {
        let mut rng = Rng::new(self.seed, u64::from(index));
        let trigger = rng.choose(&TRIGGERS);
        // Log-normal over functions, seconds [W], figure 7.
        let duration_ms = ((-0.38 + 2.36 * rng.normal()).exp() * 1_000.0).clamp(1.0, DURATION_MS_MAX);
        // Burr, megabytes [W], figure 8; cut off at Lambda's largest size.
        let memory_mb = 107.083 * (rng.unit().powf(-1.0 / 0.221) - 1.0).powf(1.0 / 11.652);
        let profile = Profile { memory_mb: memory_mb.clamp(1.0, 10_240.0) as u32 };
        let (pace, rate) = match trigger {
            Trigger::Timer if self.shape == Shape::Published => clock(&mut rng),
            _ => pace(&mut rng, self.shape),
        };
        // Half of the load does not vary with the day [W], figure 4; here half of the functions [A].
        let is_human = trigger != Trigger::Timer && rng.unit() < 0.5;
        let mut function = Function {
            profile,
            trigger,
            rate,
            duration_ms: duration_ms as u64,
            instances_max: self.instances_max,
            pace,
            is_human,
            rng,
            now_ms: 0.0,
            end_ms: self.end_ms() as f64,
            session: 0,
        };
        function.begin();
        function
    }
}

fn clock(rng: &mut Rng) -> (Pace, f64) {
    let period_min = rng.choose(&PERIODS);
    // The clock is exact; the queue behind it is not, by a second or so [A].
    let pace = Pace::Clock { period_ms: period_min * MINUTE_MS as f64, jitter_ms: 2_000.0 };
    (pace, 1_440.0 / period_min)
}

fn pace(rng: &mut Rng, shape: Shape) -> (Pace, f64) {
    let rate = rate_at(rng.unit());
    let mean_ms = DAY_MS as f64 / rate;
    let manner = if shape == Shape::Memoryless { Manner::Chance } else { rng.choose(&MANNERS) };
    let pace = match manner {
        Manner::Bursts => {
            // [A]: sessions of 2 to 50 calls, 5 seconds to 5 minutes apart, and shorter than the pauses between them.
            let size = rng.log_even(2.0, 50.0).max(rate / 500.0);
            let gap_ms = rng.log_even(5_000.0, 300_000.0).min(mean_ms / 4.0);
            Pace::Sessions { mean_ms: mean_ms * size, size, gap_ms }
        }
        _ if rate >= 1_440.0 => Pace::Stream { per_hour: rate / 24.0 },
        Manner::Machine => Pace::Clock { period_ms: mean_ms, jitter_ms: mean_ms * 0.05 },
        // A coefficient of variation even over 0.1 to 1.
        Manner::Paced => Pace::Gaps { mean_ms, shape: (0.1 + 0.9 * rng.unit()).powi(-2) },
        Manner::Chance => Pace::Gaps { mean_ms, shape: 1.0 },
    };
    (pace, rate)
}

fn rate_at(quantile: f64) -> f64 {
    let above = RATES.iter().position(|(at, _)| *at >= quantile).unwrap_or(RATES.len() - 1).max(1);
    let ((from, low), (to, high)) = (RATES[above - 1], RATES[above]);
    let share = (quantile - from) / (to - from);
    (low.ln() + share * (high.ln() - low.ln())).exp()
}

/// How lively people are at this time, 1 on average over the week: most in the afternoon, less on weekends \[A\].
fn liveliness(now_ms: f64) -> f64 {
    let day = now_ms / DAY_MS as f64;
    let hour = day.fract() * 24.0;
    let weekday = if day.rem_euclid(7.0) < 5.0 { 1.16 } else { 0.6 };
    (1.0 + 0.8 * ((hour - 14.0) / 24.0 * 2.0 * std::f64::consts::PI).cos()) * weekday
}

impl Function {
    /// Puts the first call somewhere in the first gap, as if the function had been there before the trace began.
    fn begin(&mut self) {
        let first = match self.pace {
            Pace::Clock { period_ms, .. } => period_ms,
            Pace::Gaps { mean_ms, .. } | Pace::Sessions { mean_ms, .. } => mean_ms,
            Pace::Stream { .. } => 0.0,
        };
        self.now_ms = first * self.rng.unit();
    }

    /// Moves on by a gap; people's clocks run by their liveliness.
    fn advance(&mut self, gap_ms: f64) {
        if !self.is_human {
            self.now_ms += gap_ms;
            return;
        }
        let mut left = gap_ms;
        while self.now_ms < self.end_ms {
            let until = ((self.now_ms / HOUR_MS as f64).floor() + 1.0) * HOUR_MS as f64;
            let speed = liveliness(self.now_ms);
            let passes = (until - self.now_ms) * speed;
            if left < passes {
                self.now_ms += left / speed;
                return;
            }
            left -= passes;
            self.now_ms = until;
        }
    }

    fn single(&self, late_ms: f64) -> Stretch {
        Stretch::single((self.now_ms + late_ms) as u64, self.duration_ms)
    }

    fn spread(&self, count: u32, span_ms: f64) -> Stretch {
        Stretch::spread(self.now_ms as u64, count, span_ms as u64, self.duration_ms, self.instances_max)
    }
}

impl Iterator for Function {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        loop {
            if self.now_ms >= self.end_ms {
                return None;
            }
            match self.pace {
                Pace::Clock { period_ms, jitter_ms } => {
                    let late_ms = (self.rng.normal().abs() * jitter_ms).min(period_ms / 2.0);
                    let stretch = self.single(late_ms);
                    self.now_ms += period_ms;
                    return Some(stretch);
                }
                Pace::Gaps { mean_ms, shape } => {
                    let stretch = self.single(0.0);
                    let gap_ms = mean_ms * self.rng.gamma(shape);
                    self.advance(gap_ms);
                    return Some(stretch);
                }
                Pace::Sessions { mean_ms, size, gap_ms } if gap_ms < 45_000.0 => {
                    let count = self.rng.geometric(size);
                    let stretch = self.spread(count, gap_ms * f64::from(count - 1));
                    self.now_ms += stretch.span_ms as f64;
                    let pause_ms = (mean_ms - gap_ms * size).max(mean_ms / 2.0) * self.rng.exponential();
                    self.advance(pause_ms);
                    return Some(stretch);
                }
                Pace::Sessions { mean_ms, size, gap_ms } => {
                    if self.session == 0 {
                        self.session = self.rng.geometric(size);
                    }
                    self.session -= 1;
                    let stretch = self.single(0.0);
                    if self.session > 0 {
                        self.now_ms += gap_ms * self.rng.exponential();
                    } else {
                        let pause_ms = (mean_ms - gap_ms * size).max(mean_ms / 2.0) * self.rng.exponential();
                        self.advance(pause_ms);
                    }
                    return Some(stretch);
                }
                Pace::Stream { per_hour } => {
                    let speed = if self.is_human { liveliness(self.now_ms) } else { 1.0 };
                    let count = (per_hour * speed + self.rng.unit()).min(1e9) as u32;
                    let stretch = (count > 0).then(|| self.spread(count, HOUR_MS as f64));
                    self.now_ms += HOUR_MS as f64;
                    if stretch.is_some() {
                        return stretch;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: Trace = Trace { seed: 7, functions: 4_000, days: 14, shape: Shape::Published, instances_max: 1_000 };

    struct Seen {
        per_day: f64,
        /// Of the gaps between single calls; none with fewer than five.
        variation: Option<f64>,
    }

    fn seen(function: Function) -> Seen {
        let stretches: Vec<Stretch> = function.collect();
        let count: f64 = stretches.iter().map(|stretch| f64::from(stretch.count)).sum();
        // Gaps and how often each occurs.
        let mut gaps: Vec<(f64, f64)> = Vec::new();
        for pair in stretches.windows(2) {
            let inner = f64::from(pair[0].count - 1);
            let within = pair[0].span_ms as f64 / f64::from(pair[0].count);
            gaps.push((within, inner));
            gaps.push(((pair[1].at_ms - pair[0].at_ms) as f64 - within * inner, 1.0));
        }
        let number: f64 = gaps.iter().map(|(_, times)| times).sum();
        let mean = gaps.iter().map(|(gap, times)| gap * times).sum::<f64>() / number;
        let variance = gaps.iter().map(|(gap, times)| (gap - mean).powi(2) * times).sum::<f64>() / number;
        Seen { per_day: count / f64::from(TRACE.days), variation: (number >= 5.0).then(|| variance.sqrt() / mean) }
    }

    fn share(of: usize, all: usize) -> f64 {
        of as f64 / all as f64
    }

    #[test]
    fn the_trace_has_the_published_shape() {
        let functions: Vec<Function> = (0..TRACE.functions).map(|index| TRACE.function(index)).collect();
        let all = functions.len();
        let timers = functions.iter().filter(|function| function.trigger == Trigger::Timer).count();
        assert!((share(timers, all) - 0.156).abs() < 0.02, "timers: {}", share(timers, all));

        let mut memory: Vec<u32> = functions.iter().map(|function| function.profile.memory_mb).collect();
        memory.sort_unstable();
        assert!((120..=200).contains(&memory[all / 2]), "median memory: {}", memory[all / 2]);
        let mut durations: Vec<u64> = functions.iter().map(|function| function.duration_ms).collect();
        durations.sort_unstable();
        assert!((400..=1_000).contains(&durations[all / 2]), "half run for less than a second: {}", durations[all / 2]);

        let mut seen: Vec<Seen> = functions.into_iter().map(seen).collect();
        let hourly = seen.iter().filter(|seen| seen.per_day <= 24.0).count();
        let minutely = seen.iter().filter(|seen| seen.per_day <= 1_440.0).count();
        assert!((share(hourly, all) - 0.45).abs() < 0.04, "at most hourly: {}", share(hourly, all));
        assert!((share(minutely, all) - 0.81).abs() < 0.04, "at most once a minute: {}", share(minutely, all));

        let varied: Vec<f64> = seen.iter().filter_map(|seen| seen.variation).collect();
        let bursty = varied.iter().filter(|variation| **variation > 1.0).count();
        assert!((share(bursty, varied.len()) - 0.40).abs() < 0.07, "above 1: {}", share(bursty, varied.len()));
        let regular = varied.iter().filter(|variation| **variation < 0.1).count();
        // Busy functions add to these: their calls are spread evenly over a stretch.
        assert!((share(regular, varied.len()) - 0.20).abs() < 0.08, "about 0: {}", share(regular, varied.len()));

        seen.sort_by(|one, other| other.per_day.total_cmp(&one.per_day));
        let total: f64 = seen.iter().map(|seen| seen.per_day).sum();
        let top: f64 = seen[..all * 186 / 1_000].iter().map(|seen| seen.per_day).sum();
        assert!(top / total > 0.99, "the most popular 18.6 %: {}", top / total);
    }

    #[test]
    fn calls_come_in_order_and_stretches_hold() {
        for index in 0..300 {
            let mut last = 0;
            for stretch in TRACE.function(index) {
                assert!(stretch.at_ms >= last, "function {index}");
                assert!((1..=stretch.count).contains(&stretch.parallel));
                assert!(stretch.work_ms <= stretch.span_ms * u64::from(stretch.parallel));
                last = stretch.at_ms;
            }
        }
    }

    #[test]
    fn a_function_is_the_same_whenever_it_is_made() {
        let once: Vec<Stretch> = TRACE.function(3).collect();
        let again: Vec<Stretch> = TRACE.function(3).collect();
        assert_eq!(once, again);
        let other = Trace { seed: 8, ..TRACE };
        assert_ne!(once, other.function(3).collect::<Vec<_>>());
    }
}
