//! Decides where an invocation runs: on a free instance, on a new one, or later.
//!
//! Instances are started for demand that nothing already started will serve, and for no other.
//! Invariants: no limit is exceeded; a caller waits only while something will serve or refuse it; an
//! invocation never waits while an instance of its function is free.

use std::time::Duration;

/// One function's instances and callers at the moment of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FunctionView {
    /// Calls that running instances could take now.
    pub slots_free: u32,
    /// Instances being started.
    pub starting: u32,
    /// Instances running or being started.
    pub instances: u32,
    /// Calls one instance takes at once; at least 1.
    pub concurrency: u32,
    /// Callers already waiting.
    pub waiting: u32,
}

/// The node's room at the moment of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRoom {
    /// There is room for one more instance of this function.
    Free,
    /// There is none, or others are waiting for it: [`crate::fair`] decides who gets some and when.
    Full,
}

/// The node's processors at the moment of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processors {
    /// Some of their time is left.
    Calm,
    /// All of it is used, or it is not known.
    Busy,
}

/// What bounds one function, and the queues of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most instances of one function.
    pub instances_max: u32,
    /// Most callers waiting for one function.
    pub waiting_max: u32,
    /// Most callers waiting on the whole node.
    pub node_waiting_max: u32,
    /// Instances of one function that are started however busy the processors are; see [`is_crowded`].
    pub busy_instances_max: u32,
    /// How often one more is started nevertheless, while callers wait.
    pub busy_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances_max: 1_000,
            waiting_max: 1_000,
            node_waiting_max: 10_000,
            busy_instances_max: 8,
            busy_patience: Duration::from_secs(1),
        }
    }
}

/// What to do with one arriving caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Give it a free slot.
    Run,
    /// Queue it, then ask [`grow`].
    Queue,
    /// The queue is full.
    Refuse,
}

/// Decides for one arriving caller while `node_waiting` wait on the whole node.
pub fn arrive(function: FunctionView, node_waiting: u32, limits: Limits) -> Arrival {
    if function.slots_free > 0 {
        Arrival::Run
    } else if function.waiting < limits.waiting_max && node_waiting < limits.node_waiting_max {
        Arrival::Queue
    } else {
        Arrival::Refuse
    }
}

/// Whether a function with waiting callers should have one more instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// What is starting will serve everyone who waits.
    Enough,
    /// Start one.
    Start,
    /// The node is full: wait for one's turn.
    Blocked,
    /// The function has all the instances it may have: those that run will come free.
    AtLimit,
}

/// Decides for the callers that wait now, with none arriving.
pub fn grow(function: FunctionView, room: NodeRoom, limits: Limits) -> Growth {
    if unserved(function) == 0 {
        return Growth::Enough;
    }
    if function.instances >= limits.instances_max {
        return Growth::AtLimit;
    }
    match room {
        NodeRoom::Free => Growth::Start,
        NodeRoom::Full => Growth::Blocked,
    }
}

/// How many instances a function on a full node has room made for at once, so that one need not end before the next is
/// thought of: as many as its callers need, but no more than it has, or a small function may have.
pub fn grow_by(function: FunctionView, limits: Limits) -> u32 {
    let needed = unserved(function).div_ceil(function.concurrency.max(1));
    let allowed = limits.instances_max.saturating_sub(function.instances);
    needed.min(allowed).min(function.instances.max(limits.busy_instances_max)).max(1)
}

/// Callers that wait and that nothing free or starting will serve.
fn unserved(function: FunctionView) -> u32 {
    let slots_starting = function.starting.saturating_mul(function.concurrency.max(1));
    function.waiting.saturating_sub(slots_starting.saturating_add(function.slots_free))
}

/// What surrounds a function that wants to grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// The node's processors.
    pub processors: Processors,
    /// Whether other functions are active.
    pub has_company: bool,
    /// How long a caller has been waiting with no start in that time either.
    pub pressing: Duration,
}

/// Whether one more instance should wait because more would only share the processors among more.
///
/// A function that is alone is in nobody's way. Beside others it may double what already runs while the processors have
/// time left; while they have none it grows to [`Limits::busy_instances_max`] and no further: a flood's callers wait in
/// its own queue, instead of as hundreds of runnable processes. After [`Limits::busy_patience`] one is started all the
/// same: what runs may be waiting for it.
pub fn is_crowded(function: FunctionView, surroundings: Surroundings, limits: Limits) -> bool {
    if !surroundings.has_company || surroundings.pressing >= limits.busy_patience {
        return false;
    }
    let running = function.instances.saturating_sub(function.starting);
    let most = match surroundings.processors {
        Processors::Calm => running.saturating_mul(2).max(limits.busy_instances_max),
        Processors::Busy => limits.busy_instances_max,
    };
    function.instances >= most.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        instances_max: 3,
        waiting_max: 2,
        node_waiting_max: 5,
        busy_instances_max: 8,
        busy_patience: Duration::from_secs(1),
    };

    #[test]
    fn a_free_slot_is_used_first() {
        let view = FunctionView { slots_free: 1, instances: 3, concurrency: 1, ..FunctionView::default() };
        assert_eq!(arrive(view, 0, LIMITS), Arrival::Run);
    }

    #[test]
    fn callers_wait_until_the_queue_is_full() {
        let view = FunctionView { instances: 3, concurrency: 1, waiting: 1, ..FunctionView::default() };
        assert_eq!(arrive(view, 0, LIMITS), Arrival::Queue);
        assert_eq!(arrive(FunctionView { waiting: 2, ..view }, 2, LIMITS), Arrival::Refuse);
        assert_eq!((arrive(view, 4, LIMITS), arrive(view, 5, LIMITS)), (Arrival::Queue, Arrival::Refuse));
    }

    #[test]
    fn one_start_for_each_waiting_caller_and_no_more() {
        let one_waits = FunctionView { concurrency: 1, waiting: 1, ..FunctionView::default() };
        assert_eq!(grow(one_waits, NodeRoom::Free, LIMITS), Growth::Start);
        let one_coming = FunctionView { starting: 1, instances: 1, ..one_waits };
        assert_eq!(grow(one_coming, NodeRoom::Free, LIMITS), Growth::Enough);
        let two_wait = FunctionView { waiting: 2, ..one_coming };
        assert_eq!(grow(two_wait, NodeRoom::Free, LIMITS), Growth::Start);
    }

    #[test]
    fn instances_with_many_slots_are_shared() {
        let view = FunctionView { concurrency: 10, starting: 1, instances: 1, waiting: 2, slots_free: 0 };
        assert_eq!(grow(view, NodeRoom::Free, LIMITS), Growth::Enough);
    }

    #[test]
    fn room_is_made_for_what_is_needed_and_for_twice_of_what_is_there_at_most() {
        let limits = Limits { instances_max: 100, ..LIMITS };
        let view = |instances, waiting| FunctionView { instances, waiting, concurrency: 1, starting: 0, slots_free: 0 };
        assert_eq!(
            [(0, 3), (0, 50), (20, 50), (95, 50)].map(|(has, waiting)| grow_by(view(has, waiting), limits)),
            [3, 8, 20, 5]
        );
        let shared = FunctionView { concurrency: 10, starting: 1, ..view(1, 31) };
        assert_eq!(grow_by(shared, limits), 3);
        assert_eq!(grow_by(view(0, 0), limits), 1, "what is provisioned has no caller");
    }

    #[test]
    fn limits_and_room_are_told_apart() {
        let view = FunctionView { instances: 3, concurrency: 1, waiting: 1, ..FunctionView::default() };
        assert_eq!(grow(view, NodeRoom::Free, LIMITS), Growth::AtLimit);
        let view = FunctionView { instances: 2, ..view };
        assert_eq!(grow(view, NodeRoom::Free, LIMITS), Growth::Start);
        assert_eq!(grow(view, NodeRoom::Full, LIMITS), Growth::Blocked);
    }

    #[test]
    fn a_function_doubles_while_the_processors_are_calm_and_stops_when_they_are_not() {
        let view =
            |running, starting| FunctionView { instances: running + starting, starting, ..FunctionView::default() };
        let beside = |processors| Surroundings { processors, has_company: true, pressing: Duration::ZERO };
        let crowded = |running, starting, processors| is_crowded(view(running, starting), beside(processors), LIMITS);
        assert!(!crowded(0, 0, Processors::Busy) && !crowded(3, 4, Processors::Busy));
        assert!(crowded(8, 0, Processors::Busy) && crowded(0, 8, Processors::Busy));
        assert!(!crowded(8, 7, Processors::Calm) && crowded(8, 8, Processors::Calm));
        assert!(!crowded(100, 99, Processors::Calm));
        let busy = beside(Processors::Busy);
        assert!(!is_crowded(view(100, 50), Surroundings { has_company: false, ..busy }, LIMITS), "it is alone");
        assert!(!is_crowded(view(8, 0), Surroundings { pressing: LIMITS.busy_patience, ..busy }, LIMITS));
        let none = Limits { busy_instances_max: 0, ..LIMITS };
        assert!(!is_crowded(view(0, 0), busy, none), "one is always had");
    }

    /// A model of one function on one node, driven by random events through the decisions above.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Arrive,
        Started,
        StartFailed,
        Finish,
        Reap,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Arrive),
            2 => Just(Event::Started),
            1 => Just(Event::StartFailed),
            3 => Just(Event::Finish),
            1 => Just(Event::Reap),
        ]
    }

    #[derive(Debug, Default)]
    struct Model {
        starting: u32,
        running: u32,
        busy: u32,
        waiting: u32,
    }

    const NODE_INSTANCES: u32 = 4;

    impl Model {
        fn view(&self, concurrency: u32) -> FunctionView {
            FunctionView {
                slots_free: self.running * concurrency - self.busy,
                starting: self.starting,
                instances: self.starting + self.running,
                concurrency,
                waiting: self.waiting,
            }
        }

        fn room(&self) -> NodeRoom {
            if self.starting + self.running < NODE_INSTANCES { NodeRoom::Free } else { NodeRoom::Full }
        }

        fn serve_waiting(&mut self, concurrency: u32) {
            let served = self.waiting.min(self.running * concurrency - self.busy);
            self.busy += served;
            self.waiting -= served;
        }

        fn pump(&mut self, concurrency: u32, limits: Limits) {
            self.serve_waiting(concurrency);
            while grow(self.view(concurrency), self.room(), limits) == Growth::Start {
                self.starting += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn limits_hold_and_nobody_waits_for_nothing(
            events in proptest::collection::vec(event(), 1..200),
            concurrency in 1u32..4,
            instances_max in 1u32..6,
            waiting_max in 0u32..6,
        ) {
            let limits = Limits { instances_max, waiting_max, ..Limits::default() };
            let mut model = Model::default();
            for event in events {
                match event {
                    Event::Arrive => match arrive(model.view(concurrency), model.waiting, limits) {
                        Arrival::Run => model.busy += 1,
                        Arrival::Queue => model.waiting += 1,
                        Arrival::Refuse => prop_assert_eq!(model.waiting, waiting_max),
                    },
                    Event::Started if model.starting > 0 => {
                        model.starting -= 1;
                        model.running += 1;
                    }
                    Event::StartFailed if model.starting > 0 => {
                        model.starting -= 1;
                        model.waiting = model.waiting.saturating_sub(1);
                    }
                    Event::Finish if model.busy > 0 => model.busy -= 1,
                    Event::Reap if model.running * concurrency >= model.busy + concurrency => model.running -= 1,
                    _ => {}
                }
                model.pump(concurrency, limits);

                prop_assert!(model.starting + model.running <= instances_max.min(NODE_INSTANCES));
                prop_assert!(model.waiting <= waiting_max);
                prop_assert!(model.busy <= model.running * concurrency);
                let free = model.running * concurrency - model.busy;
                prop_assert!(model.waiting == 0 || free == 0, "a caller waits beside a free slot");
                prop_assert!(model.waiting == 0 || model.starting + model.running > 0, "a caller waits for nothing");
            }
        }
    }
}
