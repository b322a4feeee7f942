//! Remembers log lines, many at a time.
//!
//! Lines belong to a group of an account; each function has one. What a stream of a group wrote between two flushes is
//! one row (a chunk), so that a burst of lines costs little.
//! Kept in `logs.db`, whose writer shares nothing with the platform's. Lines survive the process being killed; the
//! machine losing power may lose the last few seconds of them, and never damages what is older.
//!
//! Logs never stop the platform: a damaged `logs.db` is renamed to `logs.db.damaged` (one such file is kept, the
//! latest) and a new one begun, with a warning, whether the damage shows on opening or later. Should that fail too, the
//! verbs fail until the next start.

mod chunk;
mod groups;
mod lines;
mod page;
mod read;
mod retention;

pub use groups::{Change, GROUPS_MAX, Group, Order, Pattern, STREAMS_MAX, Stream, StreamCursor};
pub use lines::Lines;
pub use page::{Direction, Event, Filter, PAGE_BYTES_MAX, Page, Place, Query, Streams};
pub use read::READ_BYTES_MAX;
pub use retention::{Retention, Sweep};

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use updraft_types::{AccountId, LogGroupId, Timestamp};

use crate::{
    database::Database,
    failure::{Failure, passes_outward},
    lock::Lock,
    open, schema,
};

/// Most bytes of lines in appends that have not returned yet; further appends wait.
pub const APPENDING_BYTES_MAX: u32 = 64 << 20;

/// The logs of every group.
pub struct Logs {
    directory: PathBuf,
    lock: Weak<Lock>,
    database: Mutex<Arc<Database>>,
    /// Held while a damaged database is replaced, so that it is replaced once.
    replacing: tokio::sync::Mutex<()>,
    room: Arc<Semaphore>,
}

/// What one stream of one group wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The group the lines belong to; made if it is not there.
    pub group: LogGroupId,
    /// The log stream: `2026/11/23/[$LATEST]` and 32 hexadecimal digits.
    pub stream: Arc<str>,
    /// When they came here.
    pub ingested_at: Timestamp,
    /// The lines in the order they were written.
    pub lines: Lines,
}

/// One line read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// Its log stream.
    pub stream: String,
    /// Its bytes, without a newline.
    pub text: Bytes,
}

/// Why log lines could not be stored, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("log storage failed: {0}")]
    Internal(String),
}

passes_outward!(Error);

impl From<open::Error> for Error {
    fn from(error: open::Error) -> Self {
        match error {
            open::Error::Full { .. } => Error::Full,
            other => Error::Internal(other.to_string()),
        }
    }
}

impl Logs {
    /// Opens `logs.db` in `directory`, which `lock` keeps for us.
    pub(crate) fn open(directory: &Path, lock: &Arc<Lock>) -> Result<Self, open::Error> {
        let database = match Database::open(directory, &schema::LOGS, lock.clone()) {
            Err(open::Error::Damaged { reason, .. }) => begin_anew(directory, lock.clone(), &reason)?,
            other => other?,
        };
        Ok(Self {
            directory: directory.to_owned(),
            lock: Arc::downgrade(lock),
            database: Mutex::new(Arc::new(database)),
            replacing: tokio::sync::Mutex::default(),
            room: Arc::new(Semaphore::new(APPENDING_BYTES_MAX as usize)),
        })
    }

    /// Stores lines: all of them or none. An entry becomes one row, or several if it is very large.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let chunks: Arc<[_]> = entries.into_iter().flat_map(chunk::rows).collect();
        let size_bytes = chunks.iter().map(chunk::Chunk::size_bytes).sum::<u64>();
        let room = self.room.clone().acquire_many_owned(room_for(size_bytes)).await.map_err(|_| Failure::Closed)?;
        // The verb keeps its room, for it stays queued even if this future is dropped.
        let room = Arc::new(room);
        self.write(move |connection| {
            let _room = room;
            chunks.iter().try_for_each(|chunk| chunk::insert(connection, chunk))
        })
        .await?;
        Ok(())
    }

    /// The newest `limit` lines of a group written at `since` or later, oldest first. Fewer if they come to more
    /// than [`READ_BYTES_MAX`]: then the oldest are left out.
    pub async fn read(&self, group: impl Into<LogGroupId>, since: Timestamp, limit: usize) -> Result<Vec<Line>, Error> {
        let group = group.into();
        self.look_up(move |connection| read::newest(connection, &group, since, limit)).await
    }

    /// Deletes a group with its streams and lines; answers whether it was there. Lines appended afterwards make it anew.
    pub async fn delete(&self, group: impl Into<LogGroupId>) -> Result<bool, Error> {
        let group = group.into();
        match self.write(move |connection| groups::hide(connection, &group)).await? {
            Some(id) => self.empty(id).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Deletes every group of an account.
    pub async fn delete_all(&self, account: AccountId) -> Result<(), Error> {
        for id in self.write(move |connection| groups::hide_all(connection, &account)).await? {
            self.empty(id).await?;
        }
        Ok(())
    }

    /// Removes the lines of a group that nobody sees any more, and then the group. Should this end early, retention goes on
    /// with it.
    async fn empty(&self, id: i64) -> Result<(), Error> {
        let trim = move |connection: &Connection| retention::trim(connection, id, Retention::NOTHING);
        while self.write(trim).await? == Sweep::Unfinished {}
        Ok(())
    }

    /// Removes what `retention` does not keep, oldest first and whole chunks at a time. Does a bounded amount of
    /// work; after [`Sweep::Unfinished`] call again.
    pub async fn retain(&self, retention: Retention) -> Result<Sweep, Error> {
        let overdue = self.look_up(move |connection| retention::overdue(connection, retention)).await?;
        let mut left = overdue.into_iter().peekable();
        for _ in 0..retention::SWEEP_VERBS_MAX {
            let Some(&group) = left.peek() else { break };
            let trim = move |connection: &Connection| retention::trim(connection, group, retention);
            if self.write(trim).await? == Sweep::Finished {
                left.next();
            }
        }
        self.write(retention::give_back_pages).await?;
        Ok(if left.peek().is_none() { Sweep::Finished } else { Sweep::Unfinished })
    }

    /// A page of a group's lines; `None` if there is no such group.
    pub async fn page(&self, query: Query) -> Result<Option<Page>, Error> {
        self.look_up(move |connection| page::find(connection, &query)).await
    }

    /// Makes a group.
    pub async fn create_group(
        &self,
        group: LogGroupId,
        tags: BTreeMap<String, String>,
        at: Timestamp,
    ) -> Result<Change, Error> {
        self.write(move |connection| groups::create(connection, &group, &tags, at)).await
    }

    /// A group, if it is there.
    pub async fn group(&self, group: LogGroupId) -> Result<Option<Group>, Error> {
        self.look_up(move |connection| groups::get(connection, &group)).await
    }

    /// At most `limit` groups of an account in order of their names, those after `after`.
    pub async fn groups(
        &self,
        account: AccountId,
        pattern: Pattern,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Group>, Error> {
        self.look_up(move |connection| groups::list(connection, &account, &pattern, after.as_deref(), limit)).await
    }

    /// Says how long a group's lines are kept, days; `None`: as long as the platform keeps them.
    pub async fn set_retention(&self, group: LogGroupId, days: Option<u32>) -> Result<Change, Error> {
        self.write(move |connection| groups::set_retention(connection, &group, days)).await
    }

    /// Replaces a group's tags.
    pub async fn set_tags(&self, group: LogGroupId, tags: BTreeMap<String, String>) -> Result<Change, Error> {
        self.write(move |connection| groups::set_tags(connection, &group, &tags)).await
    }

    /// Makes a stream in a group.
    pub async fn create_stream(&self, group: LogGroupId, name: String, at: Timestamp) -> Result<Change, Error> {
        self.write(move |connection| groups::create_stream(connection, &group, &name, at)).await
    }

    /// At most `limit` streams of a group, those after `after`; `None` if there is no such group.
    pub async fn streams(
        &self,
        group: LogGroupId,
        prefix: String,
        order: Order,
        after: Option<StreamCursor>,
        limit: usize,
    ) -> Result<Option<Vec<Stream>>, Error> {
        self.look_up(move |connection| groups::streams(connection, &group, &prefix, order, after.as_ref(), limit)).await
    }

    /// [`Change::Done`] if the group has all of these streams.
    pub async fn find_streams(&self, group: LogGroupId, names: Vec<String>) -> Result<Change, Error> {
        self.look_up(move |connection| {
            for name in &names {
                match groups::has_stream(connection, &group, name)? {
                    Change::Done => {}
                    missing => return Ok(missing),
                }
            }
            Ok(Change::Done)
        })
        .await
    }

    /// Stores the lines of one stream, as [`Logs::append`] does, if the stream is there.
    pub async fn put(&self, entry: Entry) -> Result<Change, Error> {
        let (group, stream) = (entry.group.clone(), entry.stream.clone());
        let room = self.room.clone().acquire_many_owned(room_for(entry.lines.size_bytes() as u64)).await;
        let room = Arc::new(room.map_err(|_| Failure::Closed)?);
        let chunks: Arc<[_]> = chunk::rows(entry).collect();
        self.write(move |connection| {
            let _room = room;
            let found = groups::has_stream(connection, &group, &stream)?;
            if found == Change::Done {
                chunks.iter().try_for_each(|chunk| chunk::insert(connection, chunk))?;
            }
            Ok(found)
        })
        .await
    }

    /// Carries out what is queued and ends the writer.
    pub(crate) async fn close(&self) {
        let _replacing = self.replacing.lock().await;
        self.current().close().await;
    }

    fn current(&self) -> Arc<Database> {
        self.database.lock().clone()
    }

    /// Looks something up; in a new database, if the present one turns out to be damaged.
    async fn look_up<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.current();
        let found = match database.read(query.clone()).await {
            Err(Failure::Damaged(reason)) => self.replace(&database, reason).await?.read(query).await,
            other => other,
        };
        Ok(found?)
    }

    /// Carries a verb out; on a new database, if the present one turns out to be damaged.
    async fn write<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Connection) -> rusqlite::Result<T> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.current();
        let done = match database.write(verb.clone()).await {
            Err(Failure::Damaged(reason)) => self.replace(&database, reason).await?.write(verb).await,
            other => other,
        };
        Ok(done?)
    }

    /// The database to use instead of `damaged`: a new one, unless another verb has made it meanwhile.
    async fn replace(&self, damaged: &Arc<Database>, reason: String) -> Result<Arc<Database>, Error> {
        let _replacing = self.replacing.lock().await;
        let current = self.current();
        if !Arc::ptr_eq(&current, damaged) {
            return Ok(current);
        }
        // Every connection must be closed before its file's name goes to another: the last one to close deletes the
        // write-ahead log of that name.
        damaged.close().await;
        let lock = self.lock.upgrade().ok_or(Failure::Closed)?;
        let directory = self.directory.clone();
        let begun = tokio::task::spawn_blocking(move || begin_anew(&directory, lock, &reason));
        let database = Arc::new(begun.await.map_err(|error| Error::Internal(error.to_string()))??);
        *self.database.lock() = database.clone();
        Ok(database)
    }
}

/// What lines of so many bytes take of the room for appends.
fn room_for(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).min(APPENDING_BYTES_MAX)
}

/// Sets a damaged `logs.db` aside and begins a new one.
fn begin_anew(directory: &Path, lock: Arc<Lock>, reason: &str) -> Result<Database, open::Error> {
    let path = directory.join(schema::LOGS.file);
    let aside = directory.join(format!("{}.damaged", schema::LOGS.file));
    tracing::warn!(
        path = %path.display(), aside = %aside.display(), reason,
        "the log database is damaged: it is set aside and a new one begun; earlier log lines are not shown any more"
    );
    fs::rename(&path, &aside).map_err(|error| open::Error::io(&path, error))?;
    // The write-ahead log belongs to the file set aside; beside a new one it would be taken for its own.
    for companion in ["-wal", "-shm"] {
        let companion = directory.join(format!("{}{companion}", schema::LOGS.file));
        match fs::remove_file(&companion) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(open::Error::io(&companion, error));
            }
            _ => {}
        }
    }
    Database::open(directory, &schema::LOGS, lock)
}
