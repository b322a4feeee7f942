//! Whether the node's processors have any time left, by the kernel's own count.
//!
//! Looked at when somebody asks, and no more often than [`WINDOW`]: a node that starts nothing reads nothing. Where the
//! count cannot be read they count as calm, and only the other limits hold.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use updraft_engine::placement::Processors;

/// Time over which the share is taken. The kernel counts in hundredths of a second.
const WINDOW: Duration = Duration::from_millis(50);
/// A look further back than this says nothing about now.
const STALE: Duration = Duration::from_millis(400);
/// Share of the time that may be idle on a busy machine.
const IDLE_SHARE_BUSY: f64 = 0.08;

/// Answers by looks at `/proc/stat`.
pub(crate) struct Watch {
    last: Mutex<Option<(Instant, Ticks, Processors)>>,
}

/// Hundredths of seconds since the machine started, over all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// How busy they have been in the last window; busy where nothing is known of it yet.
    pub(crate) fn look(&self) -> Processors {
        let now = Instant::now();
        let mut last = self.last.lock();
        if let Some((at, _, verdict)) = *last
            && now.saturating_duration_since(at) < WINDOW
        {
            return verdict;
        }
        let Some(ticks) = std::fs::read_to_string("/proc/stat").ok().as_deref().and_then(parse) else {
            return Processors::Calm;
        };
        let verdict = match *last {
            Some((at, before, _)) if now.saturating_duration_since(at) < STALE => judge(before, ticks),
            _ => Processors::Busy,
        };
        *last = Some((now, ticks, verdict));
        verdict
    }
}

fn judge(before: Ticks, after: Ticks) -> Processors {
    let all = after.all.saturating_sub(before.all);
    let idle = after.idle.saturating_sub(before.idle);
    if all > 0 && idle as f64 <= all as f64 * IDLE_SHARE_BUSY { Processors::Busy } else { Processors::Calm }
}

/// proc(5): `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guest time is in user's already.
fn parse(text: &str) -> Option<Ticks> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let fields: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Ticks { idle: fields.get(3)? + fields.get(4)?, all: fields.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_taken_between_two_looks() {
        let before = parse("cpu  100 0 50 1000 20 0 5 0 7 0\ncpu0 1 1 1 1").unwrap();
        assert_eq!(before, Ticks { idle: 1020, all: 1175 });
        let after = |idle: u64, other: u64| Ticks { idle: 1020 + idle, all: 1175 + idle + other };
        assert_eq!(judge(before, after(0, 10)), Processors::Busy);
        assert_eq!(judge(before, after(8, 92)), Processors::Busy);
        assert_eq!(judge(before, after(9, 91)), Processors::Calm);
        assert_eq!(judge(before, before), Processors::Calm);
        assert_eq!(parse("intr 1 2 3"), None);
    }

    #[test]
    fn what_is_not_known_yet_counts_as_busy() {
        let watch = Watch::new();
        let can_be_read = std::fs::read_to_string("/proc/stat").is_ok();
        assert_eq!(watch.look(), if can_be_read { Processors::Busy } else { Processors::Calm });
    }
}
