//! What functions write, and the platform's START, END and REPORT lines around it.
//!
//! Each instance has a [`Sink`] that splits output into lines and holds them for a moment; a flusher moves them
//! to followers and, in few large rows, to the store. Writing never waits: a sink that is full loses lines and
//! says how many. Reading flushes first, so a reader sees everything written before it asked.

mod groups;

pub use groups::{FilterPattern, stored};

use std::{collections::HashMap, fmt, io::Write, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use updraft_store::{
    Store,
    logs::{Entry, Lines, Retention, Sweep},
};
use updraft_types::{
    InstanceId, LogGroupId, Timestamp, Version,
    limits::{LOG_LINE_BYTES_MAX, LOG_TAIL_BYTES},
    logging::Logging,
};

/// Bytes one sink holds between two flushes.
const SINK_BYTES_MAX: usize = 2 << 20;
/// Room that a sink keeps for the start of a line, bytes.
const PARTIAL_BYTES_KEPT: usize = 1 << 10;
/// Time between two flushes.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two rounds of retention.
const RETAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Lines a follower may fall behind before it misses some.
const FOLLOW_LINES_MAX: usize = 4_096;

/// How long logs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Lines older than this are removed from groups that do not say for themselves.
    pub age_max: Duration,
    /// Each group's oldest lines are removed beyond this size, bytes.
    pub bytes_max_per_function: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { age_max: Duration::from_secs(14 * 24 * 3600), bytes_max_per_function: 64 << 20 }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// The instance's log stream: `2026/11/23/[$LATEST]`, with the version, and 32 hexadecimal digits.
    pub stream: Arc<str>,
    /// The text, without its newline; not necessarily UTF-8.
    pub text: Bytes,
}

/// The name of an instance's log stream.
pub fn stream_name(version: Version, instance: InstanceId, at: Timestamp) -> String {
    format!("{}/[{version}]{instance}", at.to_day_path())
}

/// Reads and follows logs, and makes the sinks they come from.
#[derive(Clone)]
pub struct Handle {
    hub: Arc<Hub>,
}

struct Hub {
    config: Config,
    store: Store,
    /// Sinks with lines to flush, each here once.
    dirty: Mutex<Vec<Arc<Sink>>>,
    followers: Mutex<HashMap<LogGroupId, broadcast::Sender<Line>>>,
    /// Held while flushing, so a reader that flushed sees what a flush under way was moving.
    flushing: Arc<tokio::sync::Mutex<()>>,
}

impl Handle {
    /// Logs kept in `store`. [`Handle::run`] must be running for followers to see anything.
    pub(crate) fn new(config: Config, store: Store) -> Self {
        let hub = Hub { config, store, dirty: Mutex::default(), followers: Mutex::default(), flushing: Arc::default() };
        Self { hub: Arc::new(hub) }
    }

    /// Flushes and retains for ever.
    pub(crate) async fn run(self) {
        let flushing = async {
            loop {
                tokio::time::sleep(FLUSH_INTERVAL).await;
                self.flush().await;
            }
        };
        let retaining = async {
            loop {
                tokio::time::sleep(RETAIN_INTERVAL).await;
                self.retain().await;
            }
        };
        tokio::join!(flushing, retaining);
    }

    /// The newest `limit` lines of a group since `since`, oldest first.
    pub async fn read(&self, group: impl Into<LogGroupId>, since: Timestamp, limit: usize) -> Vec<Line> {
        self.flush().await;
        match self.hub.store.logs().read(group, since, limit).await {
            Ok(lines) => lines
                .into_iter()
                .map(|line| Line { at: line.at, stream: line.stream.as_str().into(), text: line.text })
                .collect(),
            Err(error) => {
                tracing::error!(%error, "reading logs");
                Vec::new()
            }
        }
    }

    /// A group's lines from now on. A reader that falls behind misses lines and is told so by a line saying how many.
    pub fn follow(&self, group: LogGroupId) -> impl Stream<Item = Line> + Send + use<> + 'static {
        let receiver = match self.hub.followers.lock().entry(group) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.get().subscribe(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let (sender, receiver) = broadcast::channel(FOLLOW_LINES_MAX);
                entry.insert(sender);
                receiver
            }
        };
        stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(line) => Some((line, receiver)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let text = format!("[updraft] this reader fell behind and missed {missed} lines");
                    let line = Line { at: Timestamp::now(), stream: "updraft".into(), text: text.into() };
                    Some((line, receiver))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }

    /// A sink for one instance.
    pub(crate) fn sink(&self, group: LogGroupId, stream: &str, logging: Logging) -> Arc<Sink> {
        Arc::new(Sink { group, stream: stream.into(), logging, hub: self.hub.clone(), state: Mutex::default() })
    }

    /// Moves everything written so far to followers and the store.
    pub(crate) async fn flush(&self) {
        let flushing = self.hub.flushing.clone().lock_owned().await;
        let dirty = std::mem::take(&mut *self.hub.dirty.lock());
        if dirty.is_empty() {
            return;
        }
        let entries: Vec<Entry> = dirty.iter().filter_map(|sink| sink.take()).collect();
        self.tell_followers(&entries);
        let store = self.hub.store.clone();
        // On a task of its own: a reader that hangs up takes no lines along.
        let appending = tokio::spawn(async move {
            if let Err(error) = store.logs().append(entries).await {
                tracing::error!(%error, "log lines were lost");
            }
            drop(flushing);
        });
        if let Err(error) = appending.await {
            tracing::error!(%error, "log lines were lost");
        }
    }

    fn tell_followers(&self, entries: &[Entry]) {
        let mut followers = self.hub.followers.lock();
        followers.retain(|_, sender| sender.receiver_count() > 0);
        if followers.is_empty() {
            return;
        }
        for entry in entries {
            let Some(sender) = followers.get(&entry.group) else { continue };
            for (at, text) in entry.lines.iter() {
                let text = Bytes::copy_from_slice(text);
                // An error means that the last follower has just left.
                let _ = sender.send(Line { at, stream: entry.stream.clone(), text });
            }
        }
    }

    async fn retain(&self) {
        let config = self.hub.config;
        let age_max_ms = u64::try_from(config.age_max.as_millis()).unwrap_or(u64::MAX);
        let now = Timestamp::now();
        let older_than = Timestamp::from_ms(now.as_ms().saturating_sub(age_max_ms));
        let retention = Retention { now, older_than, bytes_max_per_function: config.bytes_max_per_function };
        loop {
            match self.hub.store.logs().retain(retention).await {
                Ok(Sweep::Finished) => return,
                // Between two steps, so that a large sweep does not keep lines from being written.
                Ok(Sweep::Unfinished) => tokio::time::sleep(FLUSH_INTERVAL).await,
                Err(error) => return tracing::error!(%error, "log retention"),
            }
        }
    }
}

/// One instance's output.
pub(crate) struct Sink {
    group: LogGroupId,
    stream: Arc<str>,
    /// How the platform's own lines are written to it.
    pub(crate) logging: Logging,
    hub: Arc<Hub>,
    state: Mutex<SinkState>,
}

#[derive(Default)]
struct SinkState {
    /// The start of a line whose newline has not come yet.
    partial: Vec<u8>,
    lines: Lines,
    lost: u64,
    is_dirty: bool,
    /// The end of what was written since [`Sink::begin_tail`].
    tail: Option<Vec<u8>>,
}

impl Sink {
    /// Adds one whole line of the platform's own.
    pub(crate) fn line(self: &Arc<Self>, at: Timestamp, text: fmt::Arguments<'_>) {
        let mut state = self.state.lock();
        state.end_partial();
        // Formatted where partial lines are gathered: that buffer is empty now, and kept.
        state.partial.write_fmt(text).expect("memory takes what is written");
        state.end_partial_at(at);
        self.mark_dirty(&mut state);
    }

    /// Starts collecting the end of the log for a caller that wants it.
    pub(crate) fn begin_tail(&self) {
        self.state.lock().tail = Some(Vec::new());
    }

    /// Takes what [`Sink::begin_tail`] began.
    pub(crate) fn take_tail(&self) -> Bytes {
        let mut state = self.state.lock();
        state.end_partial();
        let tail = state.tail.take().unwrap_or_default();
        Bytes::from(tail).split_off_last(LOG_TAIL_BYTES)
    }

    fn mark_dirty(self: &Arc<Self>, state: &mut SinkState) {
        if !state.is_dirty {
            state.is_dirty = true;
            self.hub.dirty.lock().push(self.clone());
        }
    }

    fn take(&self) -> Option<Entry> {
        let mut state = self.state.lock();
        state.is_dirty = false;
        if state.lost > 0 {
            let text = format!("[updraft] {} lines were lost: output came faster than it is kept", state.lost);
            state.lost = 0;
            state.lines.push(Timestamp::now(), text.as_bytes());
        }
        // As much as this time is the best guess for the next.
        let next = Lines::expecting(state.lines.size_bytes());
        let lines = std::mem::replace(&mut state.lines, next);
        (!lines.is_empty()).then(|| Entry {
            group: self.group.clone(),
            stream: self.stream.clone(),
            ingested_at: Timestamp::now(),
            lines,
        })
    }
}

/// What a guest writes to, as its executor sees it.
pub(crate) struct Output(pub(crate) Arc<Sink>);

impl updraft_executor::Guest for Output {
    fn log(&self, output: &[u8]) {
        let mut state = self.0.state.lock();
        state.write(output);
        self.0.mark_dirty(&mut state);
    }
}

impl SinkState {
    fn write(&mut self, output: &[u8]) {
        let mut rest = output;
        while let Some(newline) = rest.iter().position(|byte| *byte == b'\n') {
            if self.partial.is_empty() && newline <= LOG_LINE_BYTES_MAX {
                self.push_at(Timestamp::now(), &rest[..newline]);
            } else {
                self.extend_partial(&rest[..newline]);
                self.end_partial();
            }
            rest = &rest[newline + 1..];
        }
        self.extend_partial(rest);
    }

    fn extend_partial(&mut self, mut piece: &[u8]) {
        while self.partial.len() + piece.len() > LOG_LINE_BYTES_MAX {
            let (fits, rest) = piece.split_at(LOG_LINE_BYTES_MAX - self.partial.len());
            self.partial.extend_from_slice(fits);
            self.end_partial();
            piece = rest;
        }
        self.partial.extend_from_slice(piece);
    }

    fn end_partial(&mut self) {
        if !self.partial.is_empty() {
            self.end_partial_at(Timestamp::now());
        }
    }

    fn end_partial_at(&mut self, at: Timestamp) {
        let mut line = std::mem::take(&mut self.partial);
        self.push_at(at, &line);
        line.clear();
        line.shrink_to(PARTIAL_BYTES_KEPT);
        self.partial = line;
    }

    fn push_at(&mut self, at: Timestamp, text: &[u8]) {
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(text);
            tail.push(b'\n');
            if tail.len() > 4 * LOG_TAIL_BYTES {
                tail.drain(..tail.len() - LOG_TAIL_BYTES);
            }
        }
        if self.lines.size_bytes() + text.len() > SINK_BYTES_MAX {
            self.lost += 1;
            return;
        }
        self.lines.push(at, text);
    }
}

/// Keeping the end of a buffer.
trait SplitOffLast {
    /// The last `count` bytes, or all if there are fewer.
    fn split_off_last(self, count: usize) -> Self;
}

impl SplitOffLast for Bytes {
    fn split_off_last(mut self, count: usize) -> Self {
        let start = self.len().saturating_sub(count);
        self.split_off(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(state: &SinkState) -> Vec<&[u8]> {
        state.lines.iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn output_becomes_lines_however_it_is_cut() {
        let whole = b"one\ntwo\n\nthree";
        for cut in 0..whole.len() {
            let mut state = SinkState::default();
            state.write(&whole[..cut]);
            state.write(&whole[cut..]);
            state.end_partial();
            assert_eq!(texts(&state), [&b"one"[..], b"two", b"", b"three"], "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_line_is_cut_and_a_flood_is_counted() {
        let mut state = SinkState::default();
        state.write(&vec![b'x'; 2 * LOG_LINE_BYTES_MAX + 1]);
        assert_eq!(state.lines.iter().count(), 2);
        for _ in 0..SINK_BYTES_MAX / 1000 {
            state.write(&[b'y'; 1000]);
            state.write(b"\n");
        }
        assert!(state.lost > 0);
        assert!(state.lines.size_bytes() <= SINK_BYTES_MAX + LOG_LINE_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_reader_that_hangs_up_takes_no_lines_along() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(updraft_store::Config { directory: directory.path().to_owned() }).await.unwrap();
        let logs = Handle::new(Config::default(), store.clone());
        let group = |name: &str| LogGroupId { account: "000000000000".parse().unwrap(), name: name.parse().unwrap() };
        let now = Timestamp::now();
        logs.sink(group("read"), "s", Logging::default()).line(now, format_args!("kept"));
        // More than the store's writer lets in at a time, so that what comes now waits at its door.
        let others =
            (0..2_000).map(|number| store.logs().create_group(group(&number.to_string()), Default::default(), now));
        let mut others = std::pin::pin!(tokio::task::unconstrained(futures_util::future::join_all(others)));
        assert!(futures_util::poll!(others.as_mut()).is_pending());
        {
            let mut reading = std::pin::pin!(logs.flush());
            assert!(futures_util::poll!(reading.as_mut()).is_pending());
        }
        assert!(others.await.iter().all(Result::is_ok));
        assert_eq!(logs.read(group("read"), Timestamp::from_ms(0), 10).await.len(), 1);
        store.close().await;
    }

    #[test]
    fn the_tail_is_the_last_of_it() {
        let mut state = SinkState { tail: Some(Vec::new()), ..SinkState::default() };
        for number in 0..10_000 {
            state.write(format!("line {number}\n").as_bytes());
        }
        let tail = Bytes::from(state.tail.unwrap()).split_off_last(LOG_TAIL_BYTES);
        assert!(tail.ends_with(b"line 9999\n") && tail.len() == LOG_TAIL_BYTES);
    }
}
