//! Events that wait for a subscriber, and what is lost when there are too many.
//!
//! Pure: the time arrives as an argument. Invariants: no more is held than twice what a batch may have; what does not
//! fit is counted, and the count goes out with the next batch, as `platform.logsDropped`.

use std::{collections::VecDeque, time::Instant};

use super::subscription::Buffering;

/// How much more than one batch is held, for a subscriber that is busy with one.
const BATCHES_HELD: usize = 2;

/// What one subscriber is to have.
#[derive(Debug)]
pub(super) struct Buffer {
    limits: Buffering,
    /// Events as JSON, the oldest first.
    items: VecDeque<String>,
    bytes: usize,
    dropped: Dropped,
    /// When the oldest came.
    since: Option<Instant>,
    is_urgent: bool,
}

/// What was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Events to send at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) items: Vec<String>,
    pub(super) dropped: Dropped,
}

impl Batch {
    /// What is lost when the batch is.
    pub(super) fn as_dropped(&self) -> Dropped {
        let bytes: usize = self.items.iter().map(String::len).sum();
        Dropped { records: self.dropped.records + self.items.len() as u64, bytes: self.dropped.bytes + bytes as u64 }
    }
}

impl Buffer {
    pub(super) fn new(limits: Buffering) -> Self {
        let (items, dropped) = (VecDeque::new(), Dropped::default());
        Self { limits, items, bytes: 0, dropped, since: None, is_urgent: false }
    }

    /// Adds an event, or counts it as lost.
    pub(super) fn push(&mut self, item: String, now: Instant) {
        let has_room = self.items.len() < BATCHES_HELD * self.limits.items_max
            && self.bytes + item.len() <= BATCHES_HELD * self.limits.bytes_max;
        self.since.get_or_insert(now);
        if has_room {
            self.bytes += item.len();
            self.items.push_back(item);
        } else {
            self.lose(Dropped { records: 1, bytes: item.len() as u64 });
        }
    }

    /// Counts what was lost elsewhere.
    pub(super) fn lose(&mut self, dropped: Dropped) {
        self.dropped.records += dropped.records;
        self.dropped.bytes += dropped.bytes;
    }

    /// From now on nothing waits.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// When the next batch is to be sent; `None` while there is nothing.
    pub(super) fn due_at(&self, now: Instant) -> Option<Instant> {
        let since = self.since?;
        let is_full = self.items.len() >= self.limits.items_max || self.bytes >= self.limits.bytes_max;
        Some(if is_full || self.is_urgent { now } else { since + self.limits.timeout })
    }

    /// The next batch: at least one event if there are any, and no more than a batch may have.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch> {
        self.since?;
        let mut items = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.items.front() {
            if items.len() >= self.limits.items_max || (!items.is_empty() && bytes + item.len() > self.limits.bytes_max)
            {
                break;
            }
            bytes += item.len();
            items.extend(self.items.pop_front());
        }
        self.bytes -= bytes;
        self.since = (!self.items.is_empty()).then_some(now);
        Some(Batch { items, dropped: std::mem::take(&mut self.dropped) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Buffering = Buffering { items_max: 10, bytes_max: 100, timeout: Duration::from_millis(25) };

    #[test]
    fn a_batch_is_due_when_it_is_full_or_old() {
        let start = Instant::now();
        let mut buffer = Buffer::new(LIMITS);
        assert_eq!((buffer.due_at(start), buffer.take(start)), (None, None));
        buffer.push("x".into(), start);
        assert_eq!(buffer.due_at(start), Some(start + LIMITS.timeout));
        for _ in 0..9 {
            buffer.push("x".into(), start);
        }
        assert_eq!(buffer.due_at(start), Some(start));
        assert_eq!(buffer.take(start).unwrap().items.len(), 10);
        buffer.push("y".into(), start);
        buffer.hurry();
        assert_eq!(buffer.due_at(start), Some(start));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_event_goes_out_in_order_or_is_counted(steps in prop::collection::vec((any::<bool>(), 1..150_usize), 0..200)) {
            let now = Instant::now();
            let mut buffer = Buffer::new(LIMITS);
            let (mut pushed, mut seen, mut lost, mut last) = (0_u64, 0_u64, 0_u64, None);
            for (is_push, length) in steps {
                if is_push {
                    buffer.push(format!("{pushed:0length$}"), now);
                    pushed += 1;
                } else if let Some(batch) = buffer.take(now) {
                    prop_assert!(batch.items.len() <= LIMITS.items_max);
                    let bytes: usize = batch.items.iter().map(String::len).sum();
                    prop_assert!(batch.items.len() <= 1 || bytes <= LIMITS.bytes_max);
                    for item in &batch.items {
                        let number: u64 = item.parse().unwrap();
                        prop_assert!(last.is_none_or(|last| last < number));
                        last = Some(number);
                    }
                    seen += batch.items.len() as u64;
                    lost += batch.dropped.records;
                }
                prop_assert!(buffer.bytes <= 2 * LIMITS.bytes_max && buffer.items.len() <= 2 * LIMITS.items_max);
            }
            while let Some(batch) = buffer.take(now) {
                seen += batch.items.len() as u64;
                lost += batch.dropped.records;
            }
            prop_assert_eq!(seen + lost, pushed);
        }
    }
}
