//! One node under one policy, with a virtual clock.
//!
//! The driver hands over each function's stretches in order of time ([`Replay::arrive`]); between them the node's own
//! events happen: an instance comes free, is ended, or is started ahead. Which of these, and when, is for
//! `engine::keep_alive`; whether one may start at all for `engine::placement`. Starting takes no time here. A start
//! ahead that finds no room is given up until the next window, and never makes room by ending another.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use updraft_engine::{
    keep_alive::{Plan, Policy, Record, Verdict},
    placement::{self, Arrival, FunctionView, Growth, NodeRoom},
};

use crate::trace::{Profile, Stretch};

const NEVER: u64 = u64::MAX;

/// What bounds a replay.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Figures are taken from here on: what comes before only teaches.
    pub measured_from_ms: u64,
    /// The end of the trace.
    pub end_ms: u64,
    /// Memory of the node, if it is short of any.
    pub memory_mb_max: Option<u64>,
}

/// What one node came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Invocations that were measured.
    pub invocations: u64,
    /// Those of them that had to wait for an instance to start, or found no room.
    pub cold: u64,
    /// Those of them that found no room at all.
    pub refused: u64,
    /// Instances started ahead.
    pub ahead: u64,
    /// Idle instances ended to make room.
    pub evicted: u64,
    /// Memory held by instances without work, megabytes times seconds.
    pub idle_mb_s: f64,
    /// Most memory held at once.
    pub memory_mb_peak: u64,
    /// For each function invoked while measured: its share of cold invocations.
    pub rates: Vec<f32>,
}

/// One node.
pub struct Replay {
    policy: Policy,
    limits: Limits,
    slots: Vec<Slot>,
    /// When each function next has something to do; entries that no longer hold are skipped.
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    memory_mb: u64,
    idle: u32,
    outcome: Outcome,
}

/// One function on the node.
struct Slot {
    memory_mb: u32,
    record: Record,
    plan: Plan,
    /// Instances without work, the most recently used last.
    idle: Vec<Idle>,
    /// Instances at work, by when they finish.
    busy: Vec<Busy>,
    /// When the function was last left without work.
    idle_from_ms: u64,
    /// No start ahead before this.
    ahead_from_ms: u64,
    timer_ms: u64,
    invocations: u64,
    cold: u64,
}

struct Idle {
    since_ms: u64,
    /// The moment from which its plan counts.
    judged_ms: u64,
}

struct Busy {
    until_ms: u64,
    count: u32,
}

impl Replay {
    /// A node with these functions, none of which has an instance.
    pub fn new(policy: Policy, limits: Limits, functions: &[Profile]) -> Self {
        let mut replay = Self {
            policy,
            limits,
            slots: Vec::with_capacity(functions.len()),
            timers: BinaryHeap::new(),
            memory_mb: 0,
            idle: 0,
            outcome: Outcome::default(),
        };
        functions.iter().for_each(|profile| replay.add(*profile));
        replay
    }

    /// Adds a function that comes up later in the trace.
    pub fn add(&mut self, profile: Profile) {
        let mut record = Record::new(&self.policy);
        let plan = record.plan(&self.policy, profile.memory_mb);
        self.slots.push(Slot {
            memory_mb: profile.memory_mb,
            record,
            plan,
            idle: Vec::new(),
            busy: Vec::new(),
            idle_from_ms: NEVER,
            ahead_from_ms: 0,
            timer_ms: NEVER,
            invocations: 0,
            cold: 0,
        });
    }

    /// One function's next stretch. Stretches come in order of time, over all functions.
    pub fn arrive(&mut self, function: u32, stretch: &Stretch) {
        let now_ms = stretch.at_ms;
        self.advance(now_ms);
        let index = at(function);
        let slot = &mut self.slots[index];
        if slot.busy.is_empty() && slot.idle_from_ms != NEVER {
            slot.record.observe(Duration::from_millis(now_ms - slot.idle_from_ms), 1);
        }
        if stretch.parallel == 1 && stretch.count > 1 {
            let pauses = u64::from(stretch.count - 1);
            let pause_ms = (stretch.span_ms.saturating_sub(stretch.work_ms) / pauses).min(59_000);
            slot.record.observe(Duration::from_millis(pause_ms), stretch.count - 1);
        }

        let (mut warm, mut started) = (0, 0);
        while warm < stretch.parallel && self.take_idle(index, now_ms) {
            warm += 1;
        }
        while warm + started < stretch.parallel && self.start(index, now_ms, warm + started, stretch.parallel) {
            started += 1;
        }
        let running = warm + started;
        if running > 0 {
            let until_ms = now_ms + stretch.span_ms;
            self.slots[index].busy.push(Busy { until_ms, count: running });
            let held = u64::from(running) * stretch.span_ms;
            let share = held.saturating_sub(stretch.work_ms) as f64 / held.max(1) as f64;
            self.waste(index, now_ms, until_ms, share * f64::from(running));
        }
        if now_ms >= self.limits.measured_from_ms {
            let cold = u64::from(stretch.parallel - warm);
            let slot = &mut self.slots[index];
            slot.invocations += u64::from(stretch.count);
            slot.cold += cold;
            self.outcome.refused += u64::from(stretch.parallel - running);
        }
        self.schedule(index, now_ms);
    }

    /// Lets the node's own events happen up to and including this moment.
    fn advance(&mut self, now_ms: u64) {
        while let Some(Reverse((due_ms, function))) = self.timers.peek().copied() {
            if due_ms > now_ms {
                return;
            }
            self.timers.pop();
            let index = at(function);
            if self.slots[index].timer_ms == due_ms {
                self.slots[index].timer_ms = NEVER;
                self.act(index, due_ms);
                self.schedule(index, due_ms);
            }
        }
    }

    /// What is due for one function.
    fn act(&mut self, index: usize, now_ms: u64) {
        self.finish(index, now_ms);
        let slot = &mut self.slots[index];
        let plan = slot.plan;
        let ended: Vec<Idle> =
            slot.idle.extract_if(.., |idle| plan.at(since(idle.judged_ms, now_ms)) == Verdict::Reap).collect();
        for idle in ended {
            self.leave_idle(index, &idle, now_ms);
            self.memory_mb -= u64::from(self.slots[index].memory_mb);
        }
        let slot = &self.slots[index];
        if !slot.busy.is_empty() || !slot.idle.is_empty() || slot.ahead_from_ms > now_ms {
            return;
        }
        let elapsed = since(slot.idle_from_ms, now_ms);
        let Some(window) = slot.plan.upcoming(elapsed) else { return };
        if u128::from(window.from_ms) > elapsed.as_millis() {
            return;
        }
        let memory_mb = u64::from(slot.memory_mb);
        if self.fits(memory_mb) {
            self.hold(memory_mb);
            self.outcome.ahead += u64::from(now_ms >= self.limits.measured_from_ms);
            self.idle += 1;
            let slot = &mut self.slots[index];
            slot.idle.push(Idle { since_ms: now_ms, judged_ms: slot.idle_from_ms });
        } else {
            let slot = &mut self.slots[index];
            slot.ahead_from_ms = slot.idle_from_ms + u64::from(window.until_ms);
        }
    }

    /// Takes what is done out of work.
    fn finish(&mut self, index: usize, now_ms: u64) {
        let slot = &mut self.slots[index];
        let mut done: Vec<Busy> = slot.busy.extract_if(.., |busy| busy.until_ms <= now_ms).collect();
        done.sort_by_key(|busy| busy.until_ms);
        for busy in &done {
            self.idle += busy.count;
            let entry = || Idle { since_ms: busy.until_ms, judged_ms: busy.until_ms };
            slot.idle.extend(std::iter::repeat_with(entry).take(at(busy.count)));
        }
        if let Some(last) = done.last()
            && slot.busy.is_empty()
        {
            slot.idle_from_ms = last.until_ms;
            slot.plan = slot.record.plan(&self.policy, slot.memory_mb);
        }
    }

    /// Notes when the function next has something to do.
    fn schedule(&mut self, index: usize, now_ms: u64) {
        let slot = &mut self.slots[index];
        let finishes = slot.busy.iter().map(|busy| busy.until_ms);
        let ends = slot.idle.iter().map(|idle| match slot.plan.at(since(idle.judged_ms, now_ms)) {
            Verdict::Keep(left) => now_ms + u64::try_from(left.as_millis()).unwrap_or(NEVER / 2),
            Verdict::Reap => now_ms,
        });
        let mut next_ms = finishes.chain(ends).min().unwrap_or(NEVER);
        if slot.busy.is_empty() && slot.idle.is_empty() && slot.idle_from_ms != NEVER {
            let from_ms = now_ms.max(slot.ahead_from_ms);
            if let Some(window) = slot.plan.upcoming(since(slot.idle_from_ms, from_ms)) {
                next_ms = (slot.idle_from_ms + u64::from(window.from_ms)).max(from_ms);
            }
        }
        if next_ms != slot.timer_ms && next_ms <= self.limits.end_ms {
            slot.timer_ms = next_ms;
            self.timers.push(Reverse((next_ms, u32::try_from(index).expect("functions are counted in 32 bits"))));
        }
    }

    fn take_idle(&mut self, index: usize, now_ms: u64) -> bool {
        let Some(idle) = self.slots[index].idle.pop() else { return false };
        self.leave_idle(index, &idle, now_ms);
        true
    }

    fn leave_idle(&mut self, index: usize, idle: &Idle, now_ms: u64) {
        self.idle -= 1;
        self.waste(index, idle.since_ms, now_ms, 1.0);
    }

    /// Starts one instance for the stretch's next caller, if there is or can be made room.
    fn start(&mut self, index: usize, now_ms: u64, running: u32, wanted: u32) -> bool {
        let memory_mb = u64::from(self.slots[index].memory_mb);
        loop {
            let fits = self.fits(memory_mb);
            let room = if fits { NodeRoom::Free } else { NodeRoom::Full };
            let waiting = wanted - running;
            let instances = self.slots[index].busy.iter().map(|busy| busy.count).sum::<u32>() + running;
            let view = FunctionView { slots_free: 0, starting: 0, instances, concurrency: 1, waiting };
            let limits = placement::Limits::default();
            if placement::arrive(FunctionView { waiting: waiting - 1, ..view }, waiting - 1, limits) != Arrival::Queue {
                return false;
            }
            match placement::grow(view, room, limits) {
                Growth::Start => {
                    self.hold(memory_mb);
                    return true;
                }
                Growth::Blocked if self.idle > 0 => self.evict(now_ms),
                Growth::Enough | Growth::Blocked | Growth::AtLimit => return false,
            }
        }
    }

    /// Ends the instance idle longest, whoever's it is. (`node` weighs what a start would cost as well, which a trace does
    /// not tell.)
    fn evict(&mut self, now_ms: u64) {
        let oldest = |slot: &Slot| slot.idle.iter().map(|idle| idle.since_ms).min();
        let found = self.slots.iter().enumerate().filter_map(|(index, slot)| Some((oldest(slot)?, index))).min();
        let (since_ms, index) = found.expect("idle instances are counted");
        let slot = &mut self.slots[index];
        let place = slot.idle.iter().position(|idle| idle.since_ms == since_ms).expect("it was just seen");
        let idle = slot.idle.remove(place);
        // It is not started ahead in the window it was evicted from.
        if let Some(window) = slot.plan.upcoming(since(slot.idle_from_ms.min(now_ms), now_ms)) {
            slot.ahead_from_ms = slot.idle_from_ms.saturating_add(u64::from(window.until_ms));
        }
        self.leave_idle(index, &idle, now_ms);
        self.memory_mb -= u64::from(self.slots[index].memory_mb);
        self.outcome.evicted += u64::from(now_ms >= self.limits.measured_from_ms);
        self.schedule(index, now_ms);
    }

    fn fits(&self, memory_mb: u64) -> bool {
        self.limits.memory_mb_max.is_none_or(|most| self.memory_mb + memory_mb <= most)
    }

    fn hold(&mut self, memory_mb: u64) {
        self.memory_mb += memory_mb;
        self.outcome.memory_mb_peak = self.outcome.memory_mb_peak.max(self.memory_mb);
    }

    fn waste(&mut self, index: usize, from_ms: u64, until_ms: u64, instances: f64) {
        let from_ms = from_ms.max(self.limits.measured_from_ms);
        let until_ms = until_ms.min(self.limits.end_ms);
        let seconds = until_ms.saturating_sub(from_ms) as f64 / 1_000.0;
        self.outcome.idle_mb_s += seconds * instances * f64::from(self.slots[index].memory_mb);
    }

    /// Ends the replay: what is idle now has been so in vain.
    pub fn finished(mut self) -> Outcome {
        let end_ms = self.limits.end_ms;
        self.advance(end_ms);
        for index in 0..self.slots.len() {
            while self.take_idle(index, end_ms) {}
        }
        for slot in self.slots.iter().filter(|slot| slot.invocations > 0) {
            self.outcome.invocations += slot.invocations;
            self.outcome.cold += slot.cold;
            self.outcome.rates.push((slot.cold as f64 / slot.invocations as f64) as f32);
        }
        self.outcome
    }
}

fn at(number: u32) -> usize {
    usize::try_from(number).expect("a 32-bit number is an index")
}

fn since(from_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(from_ms))
}

#[cfg(test)]
mod tests {
    use updraft_engine::keep_alive::histogram;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const LIMITS: Limits = Limits { measured_from_ms: 0, end_ms: 1_000 * HOUR_MS, memory_mb_max: None };
    const MB_100: Profile = Profile { memory_mb: 100 };

    fn fixed(minutes: u64) -> Policy {
        Policy::Fixed(Duration::from_secs(60 * minutes))
    }

    fn replayed(policy: Policy, stretches: &[Stretch]) -> Outcome {
        let mut replay = Replay::new(policy, LIMITS, &[MB_100]);
        stretches.iter().for_each(|stretch| replay.arrive(0, stretch));
        replay.finished()
    }

    #[test]
    fn a_fixed_window_is_warm_within_and_wastes_what_it_keeps() {
        let minutes = |minute: u64| Stretch::single(minute * 60_000, 0);
        let outcome = replayed(fixed(10), &[minutes(0), minutes(9), minutes(30)]);
        assert_eq!((outcome.invocations, outcome.cold), (3, 2));
        assert!((outcome.idle_mb_s - 100.0 * 60.0 * (9.0 + 10.0 + 10.0)).abs() < 1.0, "{}", outcome.idle_mb_s);
    }

    #[test]
    fn a_call_at_the_very_end_of_a_window_is_cold() {
        let outcome = replayed(fixed(10), &[Stretch::single(0, 0), Stretch::single(600_000, 0)]);
        assert_eq!(outcome.cold, 2);
    }

    #[test]
    fn overlapping_calls_take_an_instance_each() {
        let outcome =
            replayed(fixed(10), &[Stretch::single(0, 5_000), Stretch::single(1_000, 5_000), Stretch::single(7_000, 1)]);
        assert_eq!((outcome.cold, outcome.memory_mb_peak), (2, 200));
    }

    #[test]
    fn a_stretch_wastes_what_its_instances_do_not_work() {
        let outcome = replayed(fixed(0), &[Stretch::spread(0, 10, 100_000, 1_000, 1_000)]);
        assert_eq!(outcome.cold, 1);
        assert!((outcome.idle_mb_s - 100.0 * 90.0).abs() < 1e-6, "{}", outcome.idle_mb_s);
    }

    #[test]
    fn a_timer_is_started_ahead_once_it_is_known() {
        let hourly: Vec<_> = (0..100).map(|hour| Stretch::single(hour * HOUR_MS, 1_000)).collect();
        let outcome = replayed(Policy::Histogram(histogram::Settings::default()), &hourly);
        assert_eq!(outcome.cold, 1);
        assert!(outcome.ahead > 90, "{}", outcome.ahead);
        let kept = replayed(fixed(61), &hourly);
        assert!(outcome.idle_mb_s < kept.idle_mb_s / 3.0);
    }

    #[test]
    fn without_windows_nothing_is_started_ahead_and_nothing_wasted() {
        let hourly: Vec<_> = (0..100).map(|hour| Stretch::single(hour * HOUR_MS, 1_000)).collect();
        let outcome = replayed(fixed(0), &hourly);
        assert_eq!((outcome.cold, outcome.ahead, outcome.idle_mb_s), (100, 0, 0.0));
    }

    #[test]
    fn only_what_is_measured_counts() {
        let limits = Limits { measured_from_ms: 2 * HOUR_MS, ..LIMITS };
        let mut replay = Replay::new(fixed(10), limits, &[MB_100]);
        (0..4).for_each(|hour| replay.arrive(0, &Stretch::single(hour * HOUR_MS, 0)));
        let outcome = replay.finished();
        assert_eq!((outcome.invocations, outcome.cold), (2, 2));
        assert!((outcome.idle_mb_s - 100.0 * 1_200.0).abs() < 1.0);
    }

    #[test]
    fn short_memory_evicts_the_longest_idle_and_never_more_than_there_is() {
        let limits = Limits { memory_mb_max: Some(250), ..LIMITS };
        let mut replay = Replay::new(fixed(600), limits, &[MB_100; 3]);
        (0..3).for_each(|function| replay.arrive(function, &Stretch::single(u64::from(function) * 60_000, 0)));
        replay.arrive(1, &Stretch::single(200_000, 0));
        replay.arrive(0, &Stretch::single(260_000, 0));
        let outcome = replay.finished();
        assert_eq!((outcome.cold, outcome.evicted, outcome.refused), (4, 2, 0));
        assert!(outcome.memory_mb_peak <= 250);
    }

    #[test]
    fn what_finds_no_room_is_refused() {
        let limits = Limits { memory_mb_max: Some(250), ..LIMITS };
        let mut replay = Replay::new(fixed(600), limits, &[MB_100]);
        replay.arrive(0, &Stretch { at_ms: 0, count: 5, parallel: 5, span_ms: 1_000, work_ms: 5_000 });
        let outcome = replay.finished();
        assert_eq!((outcome.cold, outcome.refused, outcome.memory_mb_peak), (5, 3, 200));
    }
}
