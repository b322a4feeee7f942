//! A record as bytes, so that what was learned of a function outlives the process that learned it.
//!
//! Little-endian, behind one byte that names the format; only bins that hold something are written. Invariant: bytes of
//! another policy, of another shape or of no meaning make no record, and never one that its policy could not have made.

use super::{History, Policy, Record, adaptive, histogram};

/// The formats. One that changes gets a new number.
const HISTOGRAM: u8 = 1;
const ADAPTIVE: u8 = 2;

/// Most bytes of a record: every bin of the longest histogram in use.
pub const BYTES_MAX: usize = 8 * 1024;

impl Record {
    /// What is known, as bytes; none where the policy learns nothing.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.history {
            History::None => {}
            History::Histogram(history) => {
                bytes.push(HISTOGRAM);
                history.write(&mut bytes);
            }
            History::Adaptive(history) => {
                bytes.push(ADAPTIVE);
                history.write(&mut bytes);
            }
        }
        bytes
    }

    /// What [`Record::to_bytes`] made under the same policy; `None` if it did not.
    pub fn from_bytes(policy: &Policy, bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let mut rest = Reader(rest);
        let history = match (*format, policy) {
            (HISTOGRAM, Policy::Histogram(settings)) => {
                History::Histogram(Box::new(histogram::History::read(settings, &mut rest)?))
            }
            (ADAPTIVE, Policy::Adaptive(_)) => History::Adaptive(Box::new(adaptive::History::read(&mut rest)?)),
            _ => return None,
        };
        rest.0.is_empty().then_some(Self { history, plan: None, unplanned: 0 })
    }
}

/// Takes numbers off the front.
pub(super) struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    pub(super) fn u16(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_le_bytes(*number))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }
}

/// Writes the bins that hold something: how many, then each with its place.
pub(super) fn write_bins(bytes: &mut Vec<u8>, bins: &[u16]) {
    let filled = || bins.iter().zip(0_u16..).filter(|(count, _)| **count > 0);
    let number = u16::try_from(filled().count()).unwrap_or(u16::MAX);
    bytes.extend(number.to_le_bytes());
    for (count, place) in filled() {
        bytes.extend(place.to_le_bytes());
        bytes.extend(count.to_le_bytes());
    }
}

/// Fills bins that are empty.
pub(super) fn read_bins(bins: &mut [u16], reader: &mut Reader<'_>) -> Option<()> {
    for _ in 0..reader.u16()? {
        let bin = bins.get_mut(usize::from(reader.u16()?))?;
        *bin = reader.u16()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MB: u32 = 170;

    fn policies() -> [Policy; 2] {
        [Policy::Histogram(histogram::Settings::default()), Policy::default()]
    }

    proptest! {
        #[test]
        fn what_was_learned_is_read_back(idle_times_s in proptest::collection::vec(0u64..2_000_000, 0..400)) {
            for policy in policies() {
                let mut record = Record::new(&policy);
                idle_times_s.iter().for_each(|seconds| record.observe(Duration::from_secs(*seconds), 1));
                let bytes = record.to_bytes();
                prop_assert!(bytes.len() <= BYTES_MAX);
                let mut again = Record::from_bytes(&policy, &bytes).unwrap();
                prop_assert_eq!(again.observations(), record.observations());
                prop_assert_eq!(again.plan(&policy, MB), Record::plan_now(&record, &policy, MB));
                prop_assert_eq!(again.to_bytes(), bytes);
            }
        }

        #[test]
        fn any_bytes_make_a_record_that_can_be_used_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            for policy in policies() {
                for format in [HISTOGRAM, ADAPTIVE] {
                    let bytes = [&[format], bytes.as_slice()].concat();
                    if let Some(mut record) = Record::from_bytes(&policy, &bytes) {
                        record.observe(Duration::from_secs(60), 1);
                        record.plan(&policy, MB);
                    }
                }
            }
        }
    }

    #[test]
    fn a_record_of_another_policy_or_cut_short_is_none() {
        let [histogram, adaptive] = policies();
        let mut record = Record::new(&adaptive);
        record.observe(Duration::from_secs(60), 1);
        let bytes = record.to_bytes();
        assert!(Record::from_bytes(&histogram, &bytes).is_none());
        assert!((0..bytes.len()).all(|length| Record::from_bytes(&adaptive, &bytes[..length]).is_none()));
        assert!(Record::from_bytes(&adaptive, &[bytes.as_slice(), &[0]].concat()).is_none());
        let longer = Policy::Histogram(histogram::Settings { range_minutes: 1_440, ..Default::default() });
        let shorter = Policy::Histogram(histogram::Settings { range_minutes: 10, ..Default::default() });
        let mut record = Record::new(&longer);
        record.observe(Duration::from_secs(3_600), 1);
        assert!(Record::from_bytes(&shorter, &record.to_bytes()).is_none(), "it has no such bin");
        assert!(Record::new(&Policy::Fixed(Duration::ZERO)).to_bytes().is_empty());
    }
}
