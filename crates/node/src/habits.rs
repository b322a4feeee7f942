//! What is known about when each function is called, for as long as the function exists.
//!
//! A [`Habit`] belongs to the function's pool while it has one, where it is told of calls under the pool's lock, and
//! rests here otherwise: a pool comes and goes with its instances, and each deployment makes a new one. What has changed
//! goes to the store now and then (`kept`), so that a restart does not begin anew.
//! Invariant: at most [`HABITS_MAX`] rest here, each of bounded size.

mod kept;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use updraft_engine::keep_alive::{Plan, Policy, Record, Verdict, Window};
use updraft_types::VersionId;

/// Most habits at rest, about half a kilobyte each. Beyond it those idle longest are forgotten.
const HABITS_MAX: usize = 100_000;
/// An instance is started ahead by this much: the reaper looks once a second, and a start takes time as well.
const LEAD: Duration = Duration::from_secs(2);
/// Pauses shorter than this are counted on the way of a call, and told to the policy later.
const BRIEF: Duration = Duration::from_secs(1);

/// The habits of functions without a pool.
pub(crate) struct Habits {
    policy: Policy,
    resting: Mutex<HashMap<VersionId, Habit>>,
    resting_max: usize,
    /// What the store has of them; locked after `resting`, where both are.
    kept: Mutex<kept::Kept>,
}

/// One function's.
pub(crate) struct Habit {
    record: Record,
    /// Calls running now.
    busy: u32,
    /// When the last of them ended; none while one runs, or before the first.
    idle_from: Option<Instant>,
    /// Brief pauses not told to the record yet.
    brief: u32,
    /// No start ahead before this.
    ahead_not_before: Option<Instant>,
    /// Whether it is known of a call that the store does not know of.
    is_changed: bool,
}

/// How a pool's idle instances are judged at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    plan: Plan,
    idle_from: Option<Instant>,
    now: Instant,
}

impl Habits {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, resting: Mutex::default(), resting_max: HABITS_MAX, kept: Mutex::default() }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The function's habit, for the pool that is being opened; a new one if none is known.
    pub(crate) fn take(&self, id: &VersionId) -> Habit {
        self.resting.lock().remove(id).unwrap_or_else(|| Habit::new(&self.policy))
    }

    /// Keeps the habit of a function whose pool has closed.
    pub(crate) fn rest(&self, id: VersionId, habit: Habit, now: Instant) {
        let mut resting = self.resting.lock();
        if resting.len() >= self.resting_max {
            forget_oldest(&mut resting, now);
        }
        resting.insert(id, habit.at_rest(now));
    }

    /// Forgets versions that are no more.
    pub(crate) fn forget(&self, is_gone: impl Fn(&VersionId) -> bool) {
        self.resting.lock().retain(|id, _| !is_gone(id));
        self.kept.lock().forget(is_gone);
    }

    /// At most `limit` functions that should have an instance soon and have none. Each is named once for
    /// each of its windows. `memory_mb` says how large a function's instance is, and none if it cannot run.
    pub(crate) fn due(
        &self,
        now: Instant,
        limit: usize,
        memory_mb: impl Fn(&VersionId) -> Option<u32>,
    ) -> Vec<VersionId> {
        let mut due = Vec::new();
        for (id, habit) in self.resting.lock().iter_mut() {
            if due.len() == limit {
                break;
            }
            if habit.is_waiting(now)
                && let Some(memory_mb) = memory_mb(id)
                && habit.is_due(now, &self.policy, memory_mb)
            {
                due.push(id.clone());
            }
        }
        due
    }
}

/// Forgets a tenth at once, so that a full house does not look for the oldest at every turn.
fn forget_oldest(resting: &mut HashMap<VersionId, Habit>, now: Instant) {
    let mut ages: Vec<Duration> = resting.values().map(|habit| habit.idle(now)).collect();
    let tenth = ages.len() / 10;
    let (_, age, _) = ages.select_nth_unstable_by(tenth, |one, other| other.cmp(one));
    let age = *age;
    resting.retain(|_, habit| habit.idle(now) < age);
}

impl Habit {
    fn new(policy: &Policy) -> Self {
        Self {
            record: Record::new(policy),
            busy: 0,
            idle_from: None,
            brief: 0,
            ahead_not_before: None,
            is_changed: false,
        }
    }

    /// A call begins. The clock is looked at when it is the only one.
    pub(crate) fn began(&mut self, now: impl FnOnce() -> Instant) {
        self.busy += 1;
        if let Some(from) = self.idle_from.take() {
            let idle = now().saturating_duration_since(from);
            if idle < BRIEF {
                self.brief = self.brief.saturating_add(1);
            } else {
                self.observe(idle);
            }
        }
    }

    /// A call has ended.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.busy = self.busy.saturating_sub(1);
        self.is_changed = true;
        self.idle_from = (self.busy == 0).then_some(now);
    }

    /// Takes note of a pause between calls.
    pub(crate) fn observe(&mut self, idle: Duration) {
        self.tell_brief();
        self.record.observe(idle, 1);
    }

    /// How the pool's idle instances, of `memory_mb` each, are to be judged now.
    pub(crate) fn judge(&mut self, now: Instant, policy: &Policy, memory_mb: u32) -> Judge {
        self.tell_brief();
        Judge { plan: self.record.plan(policy, memory_mb), idle_from: self.idle_from, now }
    }

    fn tell_brief(&mut self) {
        let brief = std::mem::take(&mut self.brief);
        if brief > 0 {
            self.record.observe(Duration::ZERO, brief);
        }
    }

    /// Without a pool no call runs, or only on instances of code that was replaced.
    fn at_rest(mut self, now: Instant) -> Self {
        if std::mem::take(&mut self.busy) > 0 {
            self.idle_from = Some(now);
        }
        self
    }

    fn idle(&self, now: Instant) -> Duration {
        self.idle_from.map_or(Duration::MAX, |from| now.saturating_duration_since(from))
    }

    /// Whether a start ahead may be due at all: cheap enough to ask everyone every second.
    fn is_waiting(&self, now: Instant) -> bool {
        self.idle_from.is_some() && self.ahead_not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether an instance should be started ahead; true once in each window.
    fn is_due(&mut self, now: Instant, policy: &Policy, memory_mb: u32) -> bool {
        let Some(from) = self.idle_from else { return false };
        let soon = now.saturating_duration_since(from) + LEAD;
        let judge = self.judge(now, policy, memory_mb);
        match judge.plan.upcoming(soon) {
            // The first window keeps an instance that was there: when it has gone, it was for a reason.
            Some(Window { from_ms: 0, until_ms }) => {
                self.ahead_not_before = Some(from + millis(until_ms).saturating_sub(LEAD));
                false
            }
            Some(window) if millis(window.from_ms) <= soon => {
                self.ahead_not_before = Some(from + millis(window.until_ms));
                true
            }
            Some(window) => {
                self.ahead_not_before = Some(from + millis(window.from_ms).saturating_sub(LEAD));
                false
            }
            None => {
                self.ahead_not_before = Some(now + Duration::from_secs(3_600));
                false
            }
        }
    }
}

impl Judge {
    /// Whether an instance without work since `idle_since` stays. One that was started ahead is judged as the one
    /// that it stands in for would be.
    pub(crate) fn keeps(&self, idle_since: Instant) -> bool {
        let from = self.idle_from.map_or(idle_since, |from| from.min(idle_since));
        let idle = self.now.saturating_duration_since(from);
        self.plan.at(idle) != Verdict::Reap || self.plan.at(idle + LEAD) != Verdict::Reap
    }
}

fn millis(milliseconds: u32) -> Duration {
    Duration::from_millis(u64::from(milliseconds))
}

#[cfg(test)]
mod tests {
    use updraft_engine::keep_alive::histogram;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const MB: u32 = 128;

    fn id(name: &str) -> VersionId {
        VersionId::latest(updraft_types::FunctionId {
            account: "000000000000".parse().unwrap(),
            name: name.parse().unwrap(),
        })
    }

    fn hourly() -> Policy {
        Policy::Histogram(histogram::Settings::default())
    }

    /// A habit of one call an hour, the last of which has ended now.
    fn taught(now: Instant) -> Habit {
        let mut habit = Habit::new(&hourly());
        (0..20).for_each(|_| habit.observe(60 * MINUTE));
        habit.began(|| now);
        habit.ended(now);
        habit
    }

    #[test]
    fn pauses_are_observed_when_a_call_comes_and_only_while_nothing_runs() {
        let now = Instant::now();
        let mut habit = Habit::new(&hourly());
        habit.began(|| now);
        habit.began(|| panic!("another call runs"));
        habit.ended(now);
        assert_eq!(habit.idle_from, None, "the other call runs");
        habit.ended(now);
        habit.began(|| now + 7 * MINUTE);
        assert_eq!(habit.record.observations(), 1);
        habit.ended(now + 7 * MINUTE);
        habit.began(|| now + 7 * MINUTE + BRIEF / 2);
        assert_eq!((habit.record.observations(), habit.brief), (1, 1), "brief pauses wait");
        habit.judge(now, &hourly(), MB);
        assert_eq!((habit.record.observations(), habit.brief), (2, 0));
    }

    #[test]
    fn an_instance_is_due_once_shortly_before_its_window() {
        let (now, habits) = (Instant::now(), Habits::new(hourly()));
        habits.rest(id("f"), taught(now), now);
        let due = |minutes: u32| habits.due(now + minutes * MINUTE, 9, |_| Some(MB));
        assert_eq!(due(0), []);
        assert_eq!(due(53), []);
        let early = now + 54 * MINUTE - LEAD - Duration::from_millis(1);
        assert_eq!(habits.due(early, 9, |_| Some(MB)), []);
        assert_eq!(habits.due(now + 54 * MINUTE - LEAD, 9, |_| None), [], "it cannot run");
        assert_eq!(habits.due(now + 54 * MINUTE - LEAD, 0, |_| Some(MB)), [], "enough are started");
        assert_eq!(habits.due(now + 54 * MINUTE - LEAD, 9, |_| Some(MB)), [id("f")]);
        assert_eq!(due(55), [], "it was started, or could not be");
        assert_eq!(due(600), [], "nothing is expected any more");
    }

    #[test]
    fn one_started_ahead_stays_to_the_end_of_the_window() {
        let now = Instant::now();
        let mut habit = taught(now);
        let started = now + 54 * MINUTE - LEAD;
        let mut keeps = |minutes: u32| habit.judge(now + minutes * MINUTE, &hourly(), MB).keeps(started);
        assert!(!keeps(53) && keeps(54) && keeps(60) && keeps(67) && !keeps(68));
        assert!(habit.judge(started, &hourly(), MB).keeps(started), "the lead is part of it");
    }

    #[test]
    fn a_window_from_the_beginning_starts_nothing() {
        let (now, habits) = (Instant::now(), Habits::new(Policy::Fixed(10 * MINUTE)));
        habits.rest(id("f"), taught(now), now);
        assert!((0..60).all(|minutes| habits.due(now + minutes * MINUTE, 9, |_| Some(MB)).is_empty()));
    }

    #[test]
    fn a_habit_at_rest_is_taken_up_again_or_forgotten() {
        let (now, habits) = (Instant::now(), Habits::new(hourly()));
        habits.rest(id("f"), taught(now), now);
        let habit = habits.take(&id("f"));
        assert_eq!(habit.record.observations(), 20);
        habits.rest(id("f"), habit, now);
        habits.forget(|resting| *resting == id("f"));
        assert_eq!(habits.take(&id("f")).record.observations(), 0);
    }

    #[test]
    fn the_number_at_rest_is_bounded_and_the_oldest_go() {
        let (now, habits) = (Instant::now(), Habits { resting_max: 20, ..Habits::new(hourly()) });
        for minute in 0..50 {
            let then = now + minute * MINUTE;
            habits.rest(id(&format!("f{minute}")), taught(then), then);
            assert!(habits.resting.lock().len() <= 20);
        }
        let resting = habits.resting.lock();
        assert!(resting.contains_key(&id("f49")) && !resting.contains_key(&id("f0")));
    }
}
