//! Lines about egress in the function's own log, as many as help and no more.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use updraft_executor::Guest;

/// Lines that may come at once.
const BURST: u32 = 10;
/// Time after which there may be one more.
const REFILL: Duration = Duration::from_secs(2);
/// Most characters of a line.
const CHARACTERS_MAX: usize = 600;

/// Writes them.
pub(super) struct Notes {
    guest: Arc<dyn Guest>,
    bucket: Mutex<Bucket>,
}

impl Notes {
    /// Into the log that the guest's output goes to.
    pub(super) fn new(guest: Arc<dyn Guest>) -> Self {
        Self { guest, bucket: Mutex::new(Bucket { lines: BURST, since: Instant::now(), left_out: 0 }) }
    }

    /// One line, unless there were too many.
    pub(super) fn write(&self, text: &dyn fmt::Display) {
        let Some(left_out) = self.bucket.lock().take(Instant::now()) else { return };
        let mut line: String = text.to_string().chars().take(CHARACTERS_MAX).collect();
        if left_out > 0 {
            line.push_str(&format!(" ({left_out} lines like this were left out)"));
        }
        line.push('\n');
        self.guest.log(line.as_bytes());
    }
}

struct Bucket {
    lines: u32,
    since: Instant,
    left_out: u64,
}

impl Bucket {
    /// Takes one line; answers how many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        while self.lines < BURST && now.duration_since(self.since) >= REFILL {
            self.lines += 1;
            self.since += REFILL;
        }
        if self.lines == 0 {
            self.left_out += 1;
            return None;
        }
        if self.lines == BURST {
            self.since = now;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let start = Instant::now();
        let mut bucket = Bucket { lines: BURST, since: start, left_out: 0 };
        let taken = (0..1000).filter(|_| bucket.take(start).is_some()).count();
        assert_eq!(taken, BURST as usize);
        assert_eq!(bucket.take(start + REFILL), Some(990));
        assert_eq!(bucket.take(start + REFILL), None);
        assert_eq!(bucket.take(start + 100 * REFILL), Some(1));
        let taken = (0..1000).filter(|_| bucket.take(start + 100 * REFILL).is_some()).count();
        assert_eq!(taken, BURST as usize - 1);
    }
}
