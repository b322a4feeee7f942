//! Many nodes, each function on one of them by its hash, and many policies on one pass through the trace.
//!
//! Without a limit on memory, nodes have no bearing on each other: they only share out the work. A synthetic trace is
//! replayed node by node and never held; of a dataset one day is held at a time. Results are put together in order of
//! nodes, whatever order threads finish them in.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use updraft_engine::keep_alive::Policy;

use crate::{
    azure::{Dataset, Error},
    figures::Figures,
    replay::{Limits, Replay},
    rng::mix,
    synthetic::Trace,
    trace::{DAY_MS, Profile},
};

/// How a trace is replayed.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// Nodes that share the functions; at least 1.
    pub nodes: u32,
    /// Memory of each, if it is short of any.
    pub memory_mb_max: Option<u64>,
    /// Days at the beginning that only teach.
    pub days_unmeasured: u32,
    /// Threads to work on, at least 1.
    pub threads: usize,
}

impl Default for Fleet {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self { nodes: 64, memory_mb_max: None, days_unmeasured: 7, threads }
    }
}

impl Fleet {
    /// Replays a synthetic trace under each policy. The result has one entry a policy, in order.
    pub fn replay(&self, trace: &Trace, policies: &[Policy]) -> Vec<Figures> {
        let mut by_node = vec![Vec::new(); self.nodes()];
        (0..trace.functions).for_each(|index| by_node[self.node_of(index)].push(index));
        let limits = self.limits(trace.end_ms());
        let done = self.each(by_node.len(), |node| replay_node(trace, &by_node[node], limits, policies));
        let mut figures = vec![Figures::default(); policies.len()];
        for outcomes in done {
            figures.iter_mut().zip(outcomes).for_each(|(figures, outcome)| figures.add(outcome));
        }
        figures.iter_mut().for_each(Figures::sort);
        figures
    }

    /// Replays a dataset under each policy, day by day.
    pub fn replay_dataset(&self, dataset: &mut Dataset, policies: &[Policy]) -> Result<Vec<Figures>, Error> {
        let days = dataset.days();
        let limits = self.limits(u64::from(days) * DAY_MS);
        let nodes: Vec<Mutex<Node>> = (0..self.nodes()).map(|_| Mutex::new(Node::new(policies, limits))).collect();
        let mut places: Vec<(usize, u32)> = Vec::new();
        for day in 0..days {
            let today = dataset.read(day)?;
            for index in u32::try_from(places.len()).unwrap_or(u32::MAX)..dataset.functions() {
                let mut node = nodes[self.node_of(index)].lock().unwrap_or_else(PoisonError::into_inner);
                places.push((self.node_of(index), node.add(dataset.profile(index))));
            }
            let mut by_node = vec![Vec::new(); nodes.len()];
            for calls in today {
                let (node, slot) = places[usize::try_from(calls.function).expect("an index")];
                by_node[node].push((slot, calls));
            }
            self.each(nodes.len(), |index| {
                let mut node = nodes[index].lock().unwrap_or_else(PoisonError::into_inner);
                let mut stretches: Vec<_> = by_node[index]
                    .iter()
                    .flat_map(|(slot, calls)| calls.stretches(day).map(move |stretch| (stretch.at_ms, *slot, stretch)))
                    .collect();
                stretches.sort_unstable_by_key(|(at_ms, slot, _)| (*at_ms, *slot));
                for (_, slot, stretch) in &stretches {
                    node.replays.iter_mut().for_each(|replay| replay.arrive(*slot, stretch));
                }
            });
        }
        let mut figures = vec![Figures::default(); policies.len()];
        for node in nodes {
            let node = node.into_inner().unwrap_or_else(PoisonError::into_inner);
            figures.iter_mut().zip(node.replays).for_each(|(figures, replay)| figures.add(replay.finished()));
        }
        figures.iter_mut().for_each(Figures::sort);
        Ok(figures)
    }

    fn limits(&self, end_ms: u64) -> Limits {
        let measured_from_ms = u64::from(self.days_unmeasured) * DAY_MS;
        Limits { measured_from_ms, end_ms, memory_mb_max: self.memory_mb_max }
    }

    fn nodes(&self) -> usize {
        usize::try_from(self.nodes.max(1)).expect("a 32-bit number is an index")
    }

    fn node_of(&self, index: u32) -> usize {
        usize::try_from(mix(u64::from(index)) % self.nodes() as u64).expect("smaller than the number of nodes")
    }

    /// Does `work` for each node on all threads. Results come back in order of nodes.
    fn each<T: Send>(&self, nodes: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Option<T>>> = Mutex::new((0..nodes).map(|_| None).collect());
        thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, nodes.max(1)) {
                scope.spawn(|| {
                    loop {
                        let node = next.fetch_add(1, Ordering::Relaxed);
                        if node >= nodes {
                            return;
                        }
                        let result = work(node);
                        done.lock().unwrap_or_else(PoisonError::into_inner)[node] = Some(result);
                    }
                });
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().map(|result| result.expect("every node was worked on")).collect()
    }
}

/// A node under every policy, for a trace that comes day by day.
struct Node {
    replays: Vec<Replay>,
    functions: u32,
}

impl Node {
    fn new(policies: &[Policy], limits: Limits) -> Self {
        let replays = policies.iter().map(|policy| Replay::new(*policy, limits, &[])).collect();
        Self { replays, functions: 0 }
    }

    fn add(&mut self, profile: Profile) -> u32 {
        self.replays.iter_mut().for_each(|replay| replay.add(profile));
        self.functions += 1;
        self.functions - 1
    }
}

fn replay_node(trace: &Trace, functions: &[u32], limits: Limits, policies: &[Policy]) -> Vec<crate::replay::Outcome> {
    let mut functions: Vec<_> = functions.iter().map(|index| trace.function(*index)).collect();
    let profiles: Vec<_> = functions.iter().map(|function| function.profile).collect();
    let mut replays: Vec<_> = policies.iter().map(|policy| Replay::new(*policy, limits, &profiles)).collect();
    let mut next: Vec<_> = functions.iter_mut().map(Iterator::next).collect();
    let mut queue: BinaryHeap<_> = next
        .iter()
        .enumerate()
        .filter_map(|(index, stretch)| Some(Reverse((stretch.as_ref()?.at_ms, index))))
        .collect();
    while let Some(Reverse((_, index))) = queue.pop() {
        let Some(stretch) = next[index].take() else { continue };
        let slot = u32::try_from(index).expect("functions are counted in 32 bits");
        replays.iter_mut().for_each(|replay| replay.arrive(slot, &stretch));
        next[index] = functions[index].next();
        queue.extend(next[index].iter().map(|following| Reverse((following.at_ms, index))));
    }
    replays.into_iter().map(Replay::finished).collect()
}
