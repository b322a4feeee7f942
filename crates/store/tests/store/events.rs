//! Asynchronous events, told by cases.

use updraft_store::events::{
    AcceptError, Ages, DeadLetter, Follow, Lease, Pick, Progress, Retention, Settled, Settlement,
};
use updraft_types::{Event, RequestId, Timestamp};

use crate::fixture::{Fixture, function, id};

pub(crate) const RETENTION: Retention = Retention { letters_max: 3, bytes_max: 1_000 };

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

pub(crate) fn event(name: &str, accepted_at: u64) -> Event {
    Event {
        request: RequestId::random(),
        function: id(name),
        qualifier: accepted_at.is_multiple_of(2).then(|| "live".parse().unwrap()),
        client_context: accepted_at.is_multiple_of(3).then(|| "{\"custom\":{\"ü\":1}}".to_owned()),
        trace: format!("Root=1-{accepted_at:08x}-b"),
        payload: vec![b'1'; accepted_at as usize % 9_000].into(),
        accepted_at: at(accepted_at),
    }
}

pub(crate) fn letter(name: &str, number: u64, length: usize) -> DeadLetter {
    DeadLetter {
        function: id(name),
        request: RequestId::random(),
        at: at(number),
        reason: format!("reason {number}"),
        record: format!("\"{}\"", "x".repeat(length)),
    }
}

/// An event of one function that follows from one of another.
pub(crate) fn follow(event: Event, source: &str, number: u64) -> Option<Box<Follow>> {
    let (source, otherwise) = (id(source), format!("reason {number}"));
    Some(Box::new(Follow { event, source, request: RequestId::random(), otherwise }))
}

pub(crate) fn pick(name: &str, count: u32) -> Pick {
    Pick { function: id(name), count }
}

pub(crate) fn end() -> Settlement {
    Settlement::End { follow: None, letter: None, retention: RETENTION }
}

async fn with_functions(names: &[&str]) -> Fixture {
    let fixture = Fixture::open().await;
    for name in names {
        fixture.store.functions().create(function(name, 1)).await.unwrap();
    }
    fixture
}

/// Leases from one function, until 1,000 ms later.
async fn lease(fixture: &Fixture, name: &str, count: u32, now: u64) -> (Vec<(Lease, Event)>, Option<Timestamp>) {
    let picks = vec![pick(name, count)];
    let mut taken = fixture.store.events().lease(picks, at(now), at(now + 1_000), u64::MAX).await.unwrap();
    let taken = taken.remove(0);
    (taken.leased.into_iter().map(|leased| (leased.lease, leased.event)).collect(), taken.next_due)
}

#[tokio::test]
async fn events_are_leased_whole_in_order_and_once() {
    let fixture = with_functions(&["f", "g"]).await;
    let events = [event("f", 12), event("f", 3), event("f", 12), event("g", 1)];
    for event in &events {
        fixture.store.events().accept(event.clone(), None).await.unwrap();
    }
    let (leased, next) = lease(&fixture, "f", 2, 12).await;
    let leased_events: Vec<&Event> = leased.iter().map(|(_, event)| event).collect();
    assert_eq!((leased_events, next), (vec![&events[1], &events[0]], Some(at(12))));
    let (rest, next) = lease(&fixture, "f", 9, 12).await;
    assert_eq!((rest.len(), &rest[0].1, next), (1, &events[2], Some(at(1_012))), "the next is the end of a lease");
    assert_eq!(lease(&fixture, "f", 9, 1_011).await.0, []);
    assert_eq!(lease(&fixture, "nobody", 9, 99).await, (vec![], None));
}

#[tokio::test]
async fn a_stale_lease_settles_nothing() {
    let fixture = with_functions(&["f", "g"]).await;
    let events = fixture.store.events();
    events.accept(event("f", 1), None).await.unwrap();
    let first = lease(&fixture, "f", 1, 1).await.0[0].0;
    // It ran out, and somebody else has it.
    let second = lease(&fixture, "f", 1, 1_001).await.0[0].0;
    let follow = Settlement::End {
        follow: follow(event("g", 2), "f", 1),
        letter: Some(letter("f", 2, 1)),
        retention: RETENTION,
    };
    assert_eq!(events.settle(first, follow.clone()).await.unwrap(), Settled::Stale);
    assert_eq!(
        (lease(&fixture, "g", 1, 9).await.0.len(), events.dead_letters(id("f"), 9).await.unwrap().len()),
        (0, 0)
    );
    let progress = Progress { attempts: 1, refusals: 2 };
    let again = Settlement::Again { due: at(5_000), progress };
    assert_eq!(events.settle(second, again.clone()).await.unwrap(), Settled::Done { followed: false });
    assert_eq!(events.settle(second, again).await.unwrap(), Settled::Stale, "once");
    let mut taken = events.lease(vec![pick("f", 1)], at(5_000), at(6_000), u64::MAX).await.unwrap();
    let third = taken[0].leased.remove(0);
    assert_eq!(third.progress, progress);
    assert_eq!(events.settle(third.lease, follow).await.unwrap(), Settled::Done { followed: true });
    assert_eq!(lease(&fixture, "g", 1, 9).await.0.len(), 1);
    assert_eq!(events.dead_letters(id("f"), 9).await.unwrap()[0].reason, "reason 2");
}

#[tokio::test]
async fn an_event_can_be_accepted_and_leased_in_one() {
    let mut fixture = with_functions(&["f"]).await;
    let lease = fixture.store.events().accept(event("f", 1), Some(at(500))).await.unwrap();
    assert_eq!(self::lease(&fixture, "f", 1, 499).await.0, []);
    assert_eq!(fixture.store.events().settle(lease, end()).await.unwrap(), Settled::Done { followed: false });
    fixture.store.events().accept(event("f", 2), Some(at(500))).await.unwrap();
    fixture.crash().await;
    let backlog = fixture.store.events().recover(at(7)).await.unwrap();
    assert_eq!((backlog.len(), backlog[0].events, backlog[0].next_due), (1, 1, at(7)), "whoever had it is gone");
    assert_eq!(backlog[0].oldest, at(2));
    assert_eq!(self::lease(&fixture, "f", 1, 7).await.0[0].1.accepted_at, at(2));
}

#[tokio::test]
async fn leasing_stops_at_its_bytes() {
    let fixture = with_functions(&["f"]).await;
    for number in 0..4 {
        fixture.store.events().accept(event("f", 1_000 + number), None).await.unwrap();
    }
    let taken = fixture.store.events().lease(vec![pick("f", 9)], at(2_000), at(9_000), 1_500).await.unwrap();
    assert_eq!((taken[0].leased.len(), taken[0].next_due), (2, Some(at(1_002))));
}

#[tokio::test]
async fn what_is_too_old_is_leased_due_or_not_by_the_name_it_was_invoked_by() {
    let fixture = with_functions(&["f", "g"]).await;
    let events = fixture.store.events();
    // Even numbers came by an alias.
    for number in [1, 2, 3, 4, 5] {
        events.accept(event("f", number), None).await.unwrap();
    }
    events.accept(event("g", 1), None).await.unwrap();
    // The first is at work, the second is due in a while.
    let first = lease(&fixture, "f", 1, 5).await.0[0].0;
    let second = lease(&fixture, "f", 1, 5).await.0[0].0;
    let progress = Progress { attempts: 1, refusals: 0 };
    events.settle(second, Settlement::Again { due: at(800), progress }).await.unwrap();

    let take = async |live: u64, others: u64, now: u64, count: u32, bytes_max: u64| {
        let ages = Ages { named: vec![("live".to_owned(), at(live))], others: at(others) };
        let aged = events.lease_aged(pick("f", count), ages, at(now), at(now + 1_000), bytes_max).await.unwrap();
        let accepted = aged.leased.iter().map(|leased| leased.event.accepted_at.as_ms()).collect::<Vec<_>>();
        (accepted, aged.oldest, aged.leased)
    };
    assert_eq!(take(1, 1, 6, 9, u64::MAX).await, (vec![], Some(at(1)), vec![]), "nothing is");
    let (accepted, oldest, leased) = take(3, 1, 6, 9, u64::MAX).await;
    assert_eq!((accepted, oldest, leased[0].progress), (vec![2], Some(at(1)), progress));
    let (accepted, oldest, _) = take(1, 9, 6, 1, u64::MAX).await;
    assert_eq!((accepted, oldest), (vec![3], None), "there are more, but none that somebody has");
    let (accepted, oldest, _) = take(9, 9, 6, 9, 1).await;
    assert_eq!((accepted, oldest), (vec![4], None), "the bytes are full");
    assert_eq!(take(9, 9, 6, 9, u64::MAX).await.0, [5]);
    // Whose lease has run out is nobody's.
    assert_eq!(take(9, 9, 1_006, 1, u64::MAX).await.0, [1]);
    assert_eq!(events.settle(first, end()).await.unwrap(), Settled::Stale);
    let nobody = Ages { named: Vec::new(), others: at(9) };
    let aged = events.lease_aged(pick("nobody", 1), nobody, at(6), at(7), 9).await.unwrap();
    assert_eq!((aged.leased.len(), aged.oldest), (0, Some(at(6))));
    assert_eq!(lease(&fixture, "g", 1, 6).await.0.len(), 1);
}

#[tokio::test]
async fn nothing_is_accepted_for_a_function_that_is_not_there_nor_left_of_one_that_was() {
    let fixture = with_functions(&["f", "g"]).await;
    let events = fixture.store.events();
    assert!(matches!(events.accept(event("nobody", 1), None).await, Err(AcceptError::NotFound)));
    let (of_f, of_g) = (event("f", 100), event("g", 1));
    let bytes = of_f.size_bytes();
    let lease = events.accept(of_f, Some(at(999))).await.unwrap();
    let other = events.accept(of_g, Some(at(999))).await.unwrap();
    let follow = follow(event("f", 3), "g", 1);
    let dropped = fixture.store.functions().delete(id("f")).await.unwrap();
    assert_eq!((dropped.events, dropped.bytes), (1, bytes));
    assert_eq!(events.settle(lease, end()).await.unwrap(), Settled::Stale);
    let passed = Settlement::End { follow, letter: None, retention: RETENTION };
    assert_eq!(events.settle(other, passed).await.unwrap(), Settled::Done { followed: false });
    let letters = events.dead_letters(id("g"), 9).await.unwrap();
    assert_eq!((letters.len(), letters[0].record.as_str()), (1, "111"), "its destination was gone");
    assert_eq!(events.recover(at(1)).await.unwrap(), []);
}

#[tokio::test]
async fn dead_letters_are_bounded_by_number_bytes_and_age() {
    let fixture = with_functions(&["f", "g"]).await;
    let events = fixture.store.events();
    let bury = async |name: &str, number: u64, length: usize| {
        let lease = events.accept(event(name, number), Some(at(1))).await.unwrap();
        let letter = Some(letter(name, number, length));
        events.settle(lease, Settlement::End { follow: None, letter, retention: RETENTION }).await.unwrap();
    };
    let kept = async |name: &str| {
        let letters = events.dead_letters(id(name), 9).await.unwrap();
        letters.iter().map(|letter| letter.at.as_ms()).collect::<Vec<_>>()
    };
    bury("g", 0, 1).await;
    for number in 1..=5 {
        bury("f", number, 10).await;
    }
    assert_eq!((kept("f").await, kept("g").await), (vec![5, 4, 3], vec![0]));
    bury("f", 6, 900).await;
    assert_eq!(kept("f").await, [6, 5, 4]);
    bury("f", 7, 90).await;
    assert_eq!(kept("f").await, [7, 6]);
    bury("f", 8, 5_000).await;
    assert_eq!(kept("f").await, [8], "the newest is kept whatever its size");
    assert_eq!(events.expire_letters(at(8)).await.unwrap(), 1);
    assert_eq!((kept("f").await, kept("g").await), (vec![8], vec![]));
}
