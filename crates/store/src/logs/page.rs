//! Reads the lines of a group page by page, in either direction.
//!
//! Lines have one order for good: by time, then by when their chunk was appended, then by place in the chunk. A
//! [`Place`] in that order tells a line from all others, and a page from the next. Chunks are read one at a time and
//! never all of them: a page ends when it is full, when no chunk left can hold a line before its last, or when enough
//! has been looked at ([`SCAN_BYTES_MAX`], [`SCAN_TIME_MAX`]); then it may be empty and still say where to go on.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rusqlite::{Connection, Row};
use updraft_types::{LogGroupId, Timestamp};

use super::{chunk, groups, lines};

/// Most bytes of one page, lines and [`LINE_BYTES`] for each; one line at least.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// What a line counts for beside its text, bytes.
const LINE_BYTES: usize = 26;
/// A page ends after the chunk with which this much has been looked at, bytes.
const SCAN_BYTES_MAX: usize = 32 << 20;
/// A page ends after the chunk with which it has taken this long.
const SCAN_TIME_MAX: Duration = Duration::from_secs(1);

/// A line's place in the order of all lines of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    at: Timestamp,
    chunk: i64,
    index: u64,
}

/// Text that is not a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place among log lines")]
pub struct NoPlace;

impl Place {
    /// Before every line of that time.
    pub fn before(at: Timestamp) -> Self {
        Self { at, ..Self::default() }
    }

    /// Behind every line.
    pub const END: Self = Self { at: Timestamp::from_ms(u64::MAX), chunk: i64::MAX, index: u64::MAX };

    /// Right behind the line here.
    pub fn behind(self) -> Self {
        Self { index: self.index.saturating_add(1), ..self }
    }
}

/// As 59 digits, whose order is that of places.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}{:019}{:020}", self.at.as_ms(), self.chunk, self.index)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if text.len() != 59 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoPlace);
        }
        let at = text[..20].parse().map(Timestamp::from_ms).map_err(|_| NoPlace)?;
        let chunk = text[20..39].parse().map_err(|_| NoPlace)?;
        Ok(Self { at, chunk, index: text[39..].parse().map_err(|_| NoPlace)? })
    }
}

/// Says of a line's text whether it is wanted.
pub type Filter = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Whose lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    /// All streams'.
    All,
    /// Those of one stream.
    One(String),
    /// Those of these.
    These(Vec<String>),
    /// Of those whose names begin so.
    Prefix(String),
}

/// From which end lines are read; a page has them in their order all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The earliest first.
    Forward,
    /// The latest first.
    Backward,
}

/// What a page is to hold.
#[derive(Clone)]
pub struct Query {
    /// The group.
    pub group: LogGroupId,
    /// Of these streams.
    pub streams: Streams,
    /// Lines from here,
    pub from: Place,
    /// and before here.
    pub until: Place,
    /// Which of them, if they do not fit.
    pub direction: Direction,
    /// Most lines.
    pub limit: usize,
    /// Only lines that it wants.
    pub filter: Option<Filter>,
}

/// A line read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it is; no other line of any group is there.
    pub place: Place,
    /// When it was written.
    pub at: Timestamp,
    /// When it came here.
    pub ingested_at: Timestamp,
    /// Its stream.
    pub stream: Arc<str>,
    /// Its bytes.
    pub text: Bytes,
}

/// Lines in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The lines.
    pub events: Vec<Event>,
    /// Where to go on: the next page's `from`, or `until` when reading backward. `None` if nothing is left.
    pub next: Option<Place>,
}

impl Streams {
    fn has(&self, stream: &str) -> bool {
        match self {
            Streams::All => true,
            Streams::One(name) => name == stream,
            Streams::These(names) => names.iter().any(|name| name == stream),
            Streams::Prefix(prefix) => stream.starts_with(&prefix[..]),
        }
    }
}

/// A page; `None` if there is no such group.
pub(super) fn find(connection: &Connection, query: &Query) -> rusqlite::Result<Option<Page>> {
    let Some((group, span_ms)) = groups::find(connection, &query.group)? else { return Ok(None) };
    if query.from >= query.until {
        return Ok(Some(Page { events: Vec::new(), next: None }));
    }
    let only = match &query.streams {
        Streams::One(name) => Some(name),
        _ => None,
    };
    let stream = if only.is_some() { "AND stream = ?4" } else { "AND ?4 IS NULL" };
    let direction = match query.direction {
        Direction::Forward => "ASC",
        Direction::Backward => "DESC",
    };
    let sql = format!(
        "SELECT id, stream, first_at, last_at, ingested_at, lines FROM chunk
         WHERE log_group = ?1 AND last_at BETWEEN ?2 AND ?3 {stream} ORDER BY last_at {direction}, id {direction}"
    );
    let latest = chunk::column(query.until.at).saturating_add(span_ms);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((group, chunk::column(query.from.at), latest, only))?;
    let mut reading = Reading::new(query, span_ms);
    while let Some(row) = rows.next()? {
        if reading.is_over(row.get(3)?) {
            break;
        }
        reading.chunk(row)?;
    }
    Ok(Some(reading.page()))
}

struct Reading<'a> {
    query: &'a Query,
    /// No chunk spans more than this, ms.
    span_ms: i64,
    began: Instant,
    scanned_bytes: usize,
    events: BTreeMap<Place, Event>,
    size_bytes: usize,
    /// What is known to be missing lies from here on: forward behind it, backward before it.
    edge: Option<Place>,
}

impl<'a> Reading<'a> {
    fn new(query: &'a Query, span_ms: i64) -> Self {
        let (events, began) = (BTreeMap::new(), Instant::now());
        Self { query, span_ms, began, scanned_bytes: 0, events, size_bytes: 0, edge: None }
    }

    /// Whether neither a chunk whose last line is of `last_at`, nor any that follows, is to be read.
    fn is_over(&mut self, last_at: i64) -> bool {
        let is_tired = self.scanned_bytes >= SCAN_BYTES_MAX || self.began.elapsed() >= SCAN_TIME_MAX;
        // All lines of this chunk and those that follow are from here on.
        let horizon = match self.query.direction {
            Direction::Forward => Place::before(time(last_at.saturating_sub(self.span_ms).max(0))),
            Direction::Backward => Place::before(time(last_at.saturating_add(1))),
        };
        match self.query.direction {
            Direction::Forward => {
                if self.edge.is_some_and(|edge| horizon > edge) {
                    return true;
                }
                if is_tired && horizon > self.query.from {
                    self.edge = Some(self.edge.map_or(horizon, |edge| edge.min(horizon)));
                    return true;
                }
            }
            Direction::Backward => {
                if self.edge.is_some_and(|edge| horizon <= edge) {
                    return true;
                }
                if is_tired && horizon < self.query.until {
                    self.edge = Some(self.edge.map_or(horizon, |edge| edge.max(horizon)));
                    return true;
                }
            }
        }
        false
    }

    fn is_wanted(&self, place: Place) -> bool {
        let is_within = (self.query.from..self.query.until).contains(&place);
        is_within
            && match self.query.direction {
                Direction::Forward => self.edge.is_none_or(|edge| place < edge),
                Direction::Backward => self.edge.is_none_or(|edge| place >= edge),
            }
    }

    fn chunk(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let stream = row.get_ref(1)?.as_str()?;
        let (first_at, last_at): (i64, i64) = (row.get(2)?, row.get(3)?);
        self.scanned_bytes += 64;
        let is_before_all = first_at > chunk::column(self.query.until.at);
        if is_before_all || !self.query.streams.has(stream) {
            return Ok(());
        }
        let id: i64 = row.get(0)?;
        let ingested_at = time(match row.get(4)? {
            0 => last_at,
            known => known,
        });
        let stream: Arc<str> = stream.into();
        let blob = row.get_ref(5)?.as_blob()?;
        self.scanned_bytes += blob.len();
        for (index, line) in lines::decode(blob).enumerate() {
            let (at, text) = match line {
                Ok(line) => line,
                Err(error) => {
                    tracing::warn!(chunk = id, %error, "the rest of a chunk of log lines is left out");
                    break;
                }
            };
            let place = Place { at, chunk: id, index: index as u64 };
            if self.is_wanted(place) && self.query.filter.as_ref().is_none_or(|is_wanted| is_wanted(text)) {
                let text = Bytes::copy_from_slice(text);
                self.add(Event { place, at, ingested_at, stream: stream.clone(), text });
            }
        }
        Ok(())
    }

    fn add(&mut self, event: Event) {
        self.size_bytes += event.text.len() + LINE_BYTES;
        self.events.insert(event.place, event);
        while self.events.len() > self.query.limit || (self.size_bytes > PAGE_BYTES_MAX && self.events.len() > 1) {
            let dropped = match self.query.direction {
                Direction::Forward => self.events.pop_last(),
                Direction::Backward => self.events.pop_first(),
            };
            let Some((place, dropped)) = dropped else { break };
            self.size_bytes -= dropped.text.len() + LINE_BYTES;
            self.edge = Some(match self.query.direction {
                Direction::Forward => place,
                Direction::Backward => place.behind(),
            });
        }
    }

    fn page(self) -> Page {
        let is_wanted = |place: &Place| self.is_wanted(*place);
        let events = self.events.iter().filter(|(place, _)| is_wanted(place)).map(|(_, event)| event.clone()).collect();
        Page { events, next: self.edge }
    }
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_ms(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_digits_and_back_in_the_same_order() {
        let places = [
            Place::default(),
            Place::default().behind(),
            Place { at: Timestamp::from_ms(1), chunk: 7, index: 3 },
            Place { at: Timestamp::from_ms(1), chunk: 7, index: 30 },
            Place::before(Timestamp::from_ms(1_795_000_000_000)),
            Place::END,
        ];
        assert!(places.is_sorted() && places.map(|place| place.to_string()).is_sorted());
        for place in places {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in ["", "1", &"9".repeat(59), &"x".repeat(59), &"ü".repeat(30)] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
