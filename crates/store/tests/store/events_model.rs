//! Asynchronous events against a model in memory: random verbs, leases that run out, reopening and crashing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use updraft_store::events::{AcceptError, Ages, Backlog, DeadLetter, Follow, Lease, Progress, Settled, Settlement};
use updraft_types::{Event, Timestamp};

use crate::{
    events::{RETENTION, at, event, letter, pick},
    fixture::{Fixture, function, id},
};

#[derive(Debug, Clone)]
enum Step {
    Create {
        name: u8,
    },
    Delete {
        name: u8,
    },
    Accept {
        name: u8,
        leased_ms: Option<u64>,
    },
    Lease {
        name: u8,
        count: u32,
        for_ms: u64,
    },
    /// Leases what is older than so much.
    Age {
        name: u8,
        count: u32,
        age_ms: u64,
        for_ms: u64,
    },
    /// Settles one of all leases there ever were.
    Settle {
        lease: usize,
        how: How,
    },
    Wait {
        ms: u64,
    },
    Reopen,
    Crash,
}

#[derive(Debug, Clone, Copy)]
enum How {
    End,
    Bury,
    Follow { name: u8 },
    Again { in_ms: u64, attempts: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..3_u8;
    let how = prop_oneof![
        3 => Just(How::End),
        1 => Just(How::Bury),
        2 => name().prop_map(|name| How::Follow { name }),
        3 => (0..40_u64, 0..4_u32).prop_map(|(in_ms, attempts)| How::Again { in_ms, attempts }),
    ];
    let step = prop_oneof![
        3 => name().prop_map(|name| Step::Create { name }),
        1 => name().prop_map(|name| Step::Delete { name }),
        8 => (name(), prop::option::weighted(0.3, 0..30_u64)).prop_map(|(name, leased_ms)| Step::Accept { name, leased_ms }),
        8 => (name(), 0..4_u32, 0..30_u64).prop_map(|(name, count, for_ms)| Step::Lease { name, count, for_ms }),
        4 => (name(), 1..4_u32, 0..40_u64, 0..30_u64)
            .prop_map(|(name, count, age_ms, for_ms)| Step::Age { name, count, age_ms, for_ms }),
        8 => (any::<prop::sample::Index>(), how).prop_map(|(lease, how)| Step::Settle { lease: lease.index(1 << 20), how }),
        4 => (1..30_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..80)
}

/// One pending event.
struct Pending {
    event: Event,
    due: u64,
    /// The last lease, if it counts.
    lease: Option<Lease>,
    progress: Progress,
}

#[derive(Default)]
struct Model {
    now: u64,
    functions: BTreeMap<u8, ()>,
    /// In the order they were accepted.
    pending: BTreeMap<u64, Pending>,
    accepted: u64,
    letters: BTreeMap<u8, Vec<DeadLetter>>,
    leases: Vec<Lease>,
}

fn text(name: u8) -> String {
    format!("f{name}")
}

impl Model {
    fn add(&mut self, event: Event, due: u64, lease: Option<Lease>) {
        self.accepted += 1;
        self.pending.insert(self.accepted, Pending { event, due, lease, progress: Progress::default() });
    }

    fn of(&self, name: u8) -> impl Iterator<Item = (&u64, &Pending)> {
        self.pending.iter().filter(move |(_, pending)| pending.event.function == id(&text(name)))
    }

    /// The pending events of a name in the order they are leased in.
    fn in_line(&self, name: u8) -> Vec<(u64, u64)> {
        let mut line: Vec<(u64, u64)> = self.of(name).map(|(number, pending)| (pending.due, *number)).collect();
        line.sort_unstable();
        line
    }

    fn oldest(&self, name: u8) -> Option<Timestamp> {
        self.of(name).map(|(_, pending)| pending.event.accepted_at).min()
    }

    fn bury(&mut self, name: u8, letter: DeadLetter) {
        let letters = self.letters.entry(name).or_default();
        letters.insert(0, letter);
        letters.truncate(RETENTION.letters_max as usize);
    }

    fn backlogs(&self) -> Vec<Backlog> {
        let backlog = |name: u8| Backlog {
            function: id(&text(name)),
            events: self.of(name).count() as u64,
            bytes: self.of(name).map(|(_, pending)| pending.event.size_bytes()).sum(),
            next_due: at(self.in_line(name)[0].0),
            oldest: self.oldest(name).unwrap(),
        };
        (0..3).filter(|name| self.of(*name).next().is_some()).map(backlog).collect()
    }
}

async fn apply(fixture: &mut Fixture, model: &mut Model, step: Step) {
    let store = fixture.store.clone();
    match step {
        Step::Create { name } => {
            if store.functions().create(function(&text(name), 1)).await.is_ok() {
                model.functions.insert(name, ());
            }
        }
        Step::Delete { name } => {
            let Ok(dropped) = store.functions().delete(id(&text(name))).await else {
                return assert!(!model.functions.contains_key(&name));
            };
            assert_eq!(dropped.events, model.of(name).count() as u64);
            assert_eq!(dropped.bytes, model.of(name).map(|(_, pending)| pending.event.size_bytes()).sum::<u64>());
            model.functions.remove(&name);
            model.pending.retain(|_, pending| pending.event.function != id(&text(name)));
            model.letters.remove(&name);
        }
        Step::Accept { name, leased_ms } => {
            let event = event(&text(name), model.now);
            let until = leased_ms.map(|ms| model.now + ms);
            match store.events().accept(event.clone(), until.map(at)).await {
                Ok(lease) => {
                    assert!(model.functions.contains_key(&name));
                    let lease = until.map(|_| lease);
                    model.leases.extend(lease);
                    model.add(event, until.unwrap_or(model.now), lease);
                }
                Err(AcceptError::NotFound) => assert!(!model.functions.contains_key(&name)),
                Err(other) => panic!("{other}"),
            }
        }
        Step::Lease { name, count, for_ms } => {
            let (now, until) = (at(model.now), at(model.now + for_ms));
            let mut taken = store.events().lease(vec![pick(&text(name), count)], now, until, u64::MAX).await.unwrap();
            let taken = taken.remove(0);
            let line = model.in_line(name);
            let due: Vec<u64> = line
                .iter()
                .filter(|(due, _)| *due <= model.now)
                .take(count as usize)
                .map(|(_, number)| *number)
                .collect();
            assert_eq!(taken.leased.len(), due.len());
            for (number, leased) in due.iter().zip(taken.leased) {
                let pending = model.pending.get_mut(number).unwrap();
                assert_eq!((&leased.event, leased.progress), (&pending.event, pending.progress));
                assert!(!model.leases.contains(&leased.lease), "a lease is given once");
                model.leases.push(leased.lease);
                (pending.lease, pending.due) = (Some(leased.lease), until.as_ms());
            }
            let next = model.in_line(name).first().map(|(due, _)| at(*due));
            assert_eq!(taken.next_due, next);
        }
        Step::Age { name, count, age_ms, for_ms } => {
            let (now, until) = (at(model.now), at(model.now + for_ms));
            let ages = Ages { named: Vec::new(), others: at(model.now.saturating_sub(age_ms)) };
            let pick = pick(&text(name), count);
            let aged = store.events().lease_aged(pick, ages.clone(), now, until, u64::MAX).await.unwrap();
            let is_old = |number: &u64| {
                let pending = &model.pending[number];
                let is_free = pending.lease.is_none() || pending.due <= model.now;
                is_free && pending.event.accepted_at < ages.others
            };
            let mut old: Vec<u64> = model.in_line(name).into_iter().map(|(_, number)| number).collect();
            old.retain(is_old);
            let is_all = old.len() <= count as usize;
            old.truncate(count as usize);
            assert_eq!(aged.leased.len(), old.len());
            for (number, leased) in old.iter().zip(aged.leased) {
                let pending = model.pending.get_mut(number).unwrap();
                assert_eq!((&leased.event, leased.progress), (&pending.event, pending.progress));
                assert!(!model.leases.contains(&leased.lease), "a lease is given once");
                model.leases.push(leased.lease);
                (pending.lease, pending.due) = (Some(leased.lease), until.as_ms());
            }
            assert_eq!(aged.oldest, is_all.then(|| model.oldest(name).unwrap_or(now)));
        }
        Step::Settle { lease, how } => {
            if model.leases.is_empty() {
                return;
            }
            let lease = model.leases[lease % model.leases.len()];
            let number =
                model.pending.iter().find(|(_, pending)| pending.lease == Some(lease)).map(|(number, _)| *number);
            settle(&store, model, lease, number, how).await;
        }
        Step::Wait { ms } => model.now += ms,
        Step::Reopen | Step::Crash => {
            drop(store);
            match step {
                Step::Reopen => fixture.reopen().await,
                _ => fixture.crash().await,
            }
            for pending in model.pending.values_mut().filter(|pending| pending.lease.is_some()) {
                (pending.lease, pending.due) = (None, model.now);
            }
            assert_eq!(fixture.store.events().recover(at(model.now)).await.unwrap(), model.backlogs());
        }
    }
}

async fn settle(store: &updraft_store::Store, model: &mut Model, lease: Lease, number: Option<u64>, how: How) {
    // Of an event that is gone there is no name; any will do.
    let name = number.map_or(0, |number| {
        let name = model.pending[&number].event.function.name.to_string();
        name[1..].parse().unwrap()
    });
    let mut buried = letter(&text(name), model.now, 10);
    let (settlement, follows) = match how {
        How::End => (Settlement::End { follow: None, letter: None, retention: RETENTION }, None),
        How::Bury => (Settlement::End { follow: None, letter: Some(buried.clone()), retention: RETENTION }, None),
        How::Follow { name } => {
            let event = event(&text(name), model.now);
            // What it would be buried as, its function being gone.
            buried.record = String::from_utf8(event.payload.to_vec()).unwrap();
            let (source, otherwise) = (buried.function.clone(), buried.reason.clone());
            let follow = Follow { event: event.clone(), source, request: buried.request, otherwise };
            let follow = Some(Box::new(follow));
            (Settlement::End { follow, letter: None, retention: RETENTION }, Some((name, event)))
        }
        How::Again { in_ms, attempts } => {
            let progress = Progress { attempts, refusals: attempts + 1 };
            (Settlement::Again { due: at(model.now + in_ms), progress }, None)
        }
    };
    let settled = store.events().settle(lease, settlement).await.unwrap();
    let Some(number) = number else { return assert_eq!(settled, Settled::Stale) };
    let has_followed = follows.as_ref().is_some_and(|(name, _)| model.functions.contains_key(name));
    assert_eq!(settled, Settled::Done { followed: has_followed });
    if let How::Again { in_ms, attempts } = how {
        let due = model.now + in_ms;
        let pending = model.pending.get_mut(&number).unwrap();
        (pending.lease, pending.due) = (None, due);
        pending.progress = Progress { attempts, refusals: attempts + 1 };
        return;
    }
    model.pending.remove(&number);
    match follows {
        Some((_, event)) if has_followed => model.add(event, model.now, None),
        Some(_) => model.bury(name, buried),
        None if matches!(how, How::Bury) => model.bury(name, buried),
        None => {}
    }
}

async fn agree(fixture: &Fixture, model: &Model) {
    for name in 0..3 {
        let letters = fixture.store.events().dead_letters(id(&text(name)), 99).await.unwrap();
        assert_eq!(letters, model.letters.get(&name).cloned().unwrap_or_default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn events_agree_with_a_model_through_reopening_and_crashes(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut fixture, mut model) = (Fixture::open().await, Model::default());
            for step in steps {
                apply(&mut fixture, &mut model, step).await;
                agree(&fixture, &model).await;
            }
            // Whatever is left is all there, and nothing else.
            apply(&mut fixture, &mut model, Step::Crash).await;
            let late = Timestamp::from_ms(model.now + 1_000);
            for name in 0..3 {
                let picks = vec![pick(&text(name), u32::MAX)];
                let taken = fixture.store.events().lease(picks, late, late, u64::MAX).await.unwrap();
                let line = model.in_line(name);
                let left: Vec<&Event> = line.iter().map(|(_, number)| &model.pending[number].event).collect();
                let found: Vec<&Event> = taken[0].leased.iter().map(|leased| &leased.event).collect();
                assert_eq!(found, left);
            }
        });
    }
}
