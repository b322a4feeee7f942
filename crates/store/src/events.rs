//! Remembers asynchronous events: each with its one delivery until that is settled, and what was given up as dead letters.
//!
//! An event is written once; what changes (when it is due, its lease, what has happened to it) is in a small row of its own.
//! A lease makes a delivery due again only when it ends, and has a number that no other lease of the delivery has.
//! Decides nothing: what is due when, who is served and what is given up comes with the verbs.
//!
//! Invariants: an accepted event is pending, settled or a dead letter, at every commit; a delivery has one live lease at
//! most; a settlement whose lease is not the last one changes nothing at all; nothing is kept of a function that is deleted.

mod ages;
mod letters;
mod rows;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use updraft_types::{Event, FunctionId, RequestId, Timestamp};

pub use self::{
    ages::{Aged, Ages},
    letters::{DeadLetter, Retention},
};
use crate::{database::Database, failure::passes_outward};

/// The events of every account.
#[derive(Clone)]
pub struct Events {
    database: Arc<Database>,
}

/// One try's claim on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    event: i64,
    number: i64,
}

/// What has happened to an event. Kept, not understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How often the function ran.
    pub attempts: u32,
    /// How often in a row it could not be run.
    pub refusals: u32,
}

/// An event and the right to try it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The right.
    pub lease: Lease,
    /// What has happened to it.
    pub progress: Progress,
    /// The event.
    pub event: Event,
}

/// How many events of a function to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// The function.
    pub function: FunctionId,
    /// At most so many.
    pub count: u32,
}

/// What was leased of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Those longest due first.
    pub leased: Vec<Leased>,
    /// When the next of its events is due, or its lease ends; `None` if it has no other.
    pub next_due: Option<Timestamp>,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The event is done with, one way or the other.
    End {
        /// What follows from it.
        follow: Option<Box<Follow>>,
        /// What could not be passed on.
        letter: Option<DeadLetter>,
        /// How many letters of the function are kept; the oldest make room.
        retention: Retention,
    },
    /// It is tried again.
    Again {
        /// Not before this.
        due: Timestamp,
        /// What has happened to it by then.
        progress: Progress,
    },
}

/// An event that follows from another, and carries the record of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// It.
    pub event: Event,
    /// The function whose event came to an end. If the one that follows has none any more, the record becomes a dead letter
    /// of this one,
    pub source: FunctionId,
    /// of this event,
    pub request: RequestId,
    /// for this reason.
    pub otherwise: String,
}

impl Follow {
    fn letter(&self) -> DeadLetter {
        DeadLetter {
            function: self.source.clone(),
            request: self.request,
            at: self.event.accepted_at,
            reason: self.otherwise.clone(),
            record: String::from_utf8_lossy(&self.event.payload).into_owned(),
        }
    }
}

/// What a settlement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It holds.
    Done {
        /// Whether the event that follows was accepted; `false` also where there is none.
        followed: bool,
    },
    /// The lease was not the last one, or the event is gone: nothing was changed.
    Stale,
}

/// What is pending of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The function.
    pub function: FunctionId,
    /// Events.
    pub events: u64,
    /// What they take, by [`Event::size_bytes`].
    pub bytes: u64,
    /// When the first of them is due.
    pub next_due: Timestamp,
    /// When the oldest was accepted.
    pub oldest: Timestamp,
}

/// What was pending of a function that was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Events.
    pub events: u64,
    /// What they took.
    pub bytes: u64,
}

/// Why an event was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// There is no such function.
    #[error("there is no such function")]
    NotFound,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the event could not be stored: {0}")]
    Internal(String),
}

/// Why another verb did nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("events could not be read or changed: {0}")]
    Internal(String),
}

passes_outward!(AcceptError, Error);

impl Events {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Takes an event in, due at once. With `leased_until` it is leased in the same step, to whoever accepted it.
    pub async fn accept(&self, event: Event, leased_until: Option<Timestamp>) -> Result<Lease, AcceptError> {
        let accepted = self.database.write(move |connection| rows::insert(connection, &event, leased_until));
        accepted.await?.ok_or(AcceptError::NotFound)
    }

    /// Leases events that are due `now`, until `until`. Answers one [`Taken`] for each pick, in order. Stops leasing when it
    /// has `bytes_max` in hand.
    pub async fn lease(
        &self,
        picks: Vec<Pick>,
        now: Timestamp,
        until: Timestamp,
        bytes_max: u64,
    ) -> Result<Vec<Taken>, Error> {
        let taken = self.database.write(move |connection| {
            let mut bytes_left = bytes_max;
            picks.iter().map(|pick| take(connection, pick, now, until, &mut bytes_left)).collect()
        });
        Ok(taken.await?)
    }

    /// Leases events of a function that are too old to be tried, due or not, until `until`: whoever has them is to give
    /// them up. At most `pick` says, and until it has `bytes_max` in hand.
    pub async fn lease_aged(
        &self,
        pick: Pick,
        ages: Ages,
        now: Timestamp,
        until: Timestamp,
        bytes_max: u64,
    ) -> Result<Aged, Error> {
        let span = (now, until);
        Ok(self.database.write(move |connection| ages::take(connection, &pick, &ages, span, bytes_max)).await?)
    }

    /// Settles a try, whole or not at all.
    pub async fn settle(&self, lease: Lease, settlement: impl Into<Arc<Settlement>>) -> Result<Settled, Error> {
        let settlement = settlement.into();
        Ok(self.database.write(move |connection| settle(connection, lease, &settlement)).await?)
    }

    /// Ends every lease: nobody works on anything. For whoever opens the store. Answers what is pending, by function.
    pub async fn recover(&self, now: Timestamp) -> Result<Vec<Backlog>, Error> {
        let found = self.database.write(move |connection| {
            let sql = "UPDATE delivery SET is_leased = 0, due_at = ?1 WHERE is_leased = 1";
            connection.prepare_cached(sql)?.execute([rows::ms(now)])?;
            let sql = "SELECT account, name, count(*), sum(bytes), min(due_at), min(accepted_at) FROM delivery
                       GROUP BY account, name";
            let mut statement = connection.prepare_cached(sql)?;
            let backlog = |row: &rusqlite::Row<'_>| {
                Ok(Backlog {
                    function: rows::function(row, 0)?,
                    events: row.get::<_, i64>(2)?.unsigned_abs(),
                    bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                    next_due: rows::timestamp(row, 4)?,
                    oldest: rows::timestamp(row, 5)?,
                })
            };
            statement.query_map((), backlog)?.collect()
        });
        Ok(found.await?)
    }

    /// A function's dead letters, newest first.
    pub async fn dead_letters(&self, function: FunctionId, count_max: u32) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.database.read(move |connection| letters::read(connection, &function, count_max)).await?)
    }

    /// Removes dead letters older than `before`; answers how many.
    pub async fn expire_letters(&self, before: Timestamp) -> Result<u64, Error> {
        Ok(self.database.write(move |connection| letters::expire(connection, before)).await?)
    }
}

fn take(
    connection: &Connection,
    pick: &Pick,
    now: Timestamp,
    until: Timestamp,
    bytes_left: &mut u64,
) -> rusqlite::Result<Taken> {
    let (account, name) = (pick.function.account.as_str(), pick.function.name.as_str());
    let sql = "SELECT event, bytes FROM delivery WHERE account = ?1 AND name = ?2 AND due_at <= ?3
               ORDER BY due_at, event LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let due: Vec<(i64, i64)> = statement
        .query_map(params![account, name, rows::ms(now), pick.count], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut leased = Vec::with_capacity(due.len());
    for (event, bytes) in due {
        if *bytes_left == 0 {
            break;
        }
        *bytes_left = bytes_left.saturating_sub(bytes.unsigned_abs());
        leased.push(lease(connection, event, &pick.function, until)?);
    }
    let sql = "SELECT min(due_at) FROM delivery WHERE account = ?1 AND name = ?2";
    let next: Option<i64> = connection.prepare_cached(sql)?.query_row((account, name), |row| row.get(0))?;
    Ok(Taken { leased, next_due: next.map(rows::instant) })
}

/// Leases one event of a function's.
fn lease(connection: &Connection, event: i64, function: &FunctionId, until: Timestamp) -> rusqlite::Result<Leased> {
    let sql = "UPDATE delivery SET is_leased = 1, due_at = ?2, lease = lease + 1 WHERE event = ?1
               RETURNING lease, attempts, refusals";
    let (number, progress) = connection.prepare_cached(sql)?.query_row(params![event, rows::ms(until)], |row| {
        Ok((row.get(0)?, Progress { attempts: row.get(1)?, refusals: row.get(2)? }))
    })?;
    Ok(Leased { lease: Lease { event, number }, progress, event: rows::read(connection, event, function)? })
}

fn settle(connection: &Connection, lease: Lease, settlement: &Settlement) -> rusqlite::Result<Settled> {
    let is_live = "SELECT 1 FROM delivery WHERE event = ?1 AND lease = ?2 AND is_leased = 1";
    let key = (lease.event, lease.number);
    if connection.prepare_cached(is_live)?.query_row(key, |_| Ok(())).optional()?.is_none() {
        return Ok(Settled::Stale);
    }
    match settlement {
        Settlement::Again { due, progress } => {
            let sql = "UPDATE delivery SET is_leased = 0, due_at = ?2, attempts = ?3, refusals = ?4 WHERE event = ?1";
            let values = params![lease.event, rows::ms(*due), progress.attempts, progress.refusals];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(Settled::Done { followed: false })
        }
        Settlement::End { follow, letter, retention } => {
            rows::remove(connection, lease.event)?;
            let mut followed = false;
            if let Some(follow) = follow {
                followed = rows::insert(connection, &follow.event, None)?.is_some();
                if !followed {
                    letters::add(connection, &follow.letter(), *retention)?;
                }
            }
            if let Some(letter) = letter {
                letters::add(connection, letter, *retention)?;
            }
            Ok(Settled::Done { followed })
        }
    }
}

/// Removes all there is of a function's, in the transaction that deletes it.
pub(crate) fn forget(connection: &Connection, account: &str, name: &str) -> rusqlite::Result<Dropped> {
    let key = (account, name);
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM delivery WHERE account = ?1 AND name = ?2";
    let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (events, bytes) = connection.prepare_cached(sql)?.query_row(key, counts)?;
    for sql in [
        "DELETE FROM event WHERE id IN (SELECT event FROM delivery WHERE account = ?1 AND name = ?2)",
        "DELETE FROM delivery WHERE account = ?1 AND name = ?2",
        "DELETE FROM dead_letter WHERE account = ?1 AND name = ?2",
    ] {
        connection.prepare_cached(sql)?.execute(key)?;
    }
    Ok(Dropped { events: events.unsigned_abs(), bytes: bytes.unsigned_abs() })
}
