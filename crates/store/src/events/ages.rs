//! Events that have become too old to be tried, of one function at a time.
//!
//! How old is too old depends on the name the function was invoked by, and is said by the caller. They are found by the index
//! of deliveries alone; an event is read when it is leased.

use rusqlite::{Connection, params};
use updraft_types::{Qualifier, Timestamp, Version};

use super::{Leased, Pick, lease, rows};

/// Before when an event was accepted that is too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ages {
    /// Of those whose function was invoked by one of these names.
    pub named: Vec<(String, Timestamp)>,
    /// Of the others.
    pub others: Timestamp,
}

impl Ages {
    /// What was accepted at this time or later is not too old, whatever its name.
    pub fn latest(&self) -> Timestamp {
        self.named.iter().map(|(_, before)| *before).fold(self.others, Timestamp::max)
    }

    fn before(&self, name: &str) -> Timestamp {
        self.named.iter().find(|(named, _)| named == name).map_or(self.others, |(_, before)| *before)
    }
}

/// What was leased of the events that are too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aged {
    /// Those longest due first.
    pub leased: Vec<Leased>,
    /// No event of the function's was accepted earlier; `None` while there may be more that are too old.
    pub oldest: Option<Timestamp>,
}

/// Leases them from the first time until the second. What is leased already is left to whoever has it.
pub(super) fn take(
    connection: &Connection,
    pick: &Pick,
    ages: &Ages,
    (now, until): (Timestamp, Timestamp),
    bytes_max: u64,
) -> rusqlite::Result<Aged> {
    let (account, name) = (pick.function.account.as_str(), pick.function.name.as_str());
    let is_free = "SELECT 1 FROM delivery WHERE event = ?1 AND (is_leased = 0 OR due_at <= ?2)";
    let mut is_free = connection.prepare_cached(is_free)?;
    let sql = "SELECT event, bytes, accepted_at, qualifier FROM delivery
               WHERE account = ?1 AND name = ?2 AND accepted_at < ?3 ORDER BY due_at, event";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params![account, name, rows::ms(ages.latest())])?;
    let latest = Qualifier::Version(Version::Latest).to_string();
    let (mut old, mut in_hand) = (Vec::new(), 0_u64);
    let mut is_all = true;
    while let Some(row) = found.next()? {
        let (event, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        let qualifier = row.get_ref(3)?.as_str_or_null()?.unwrap_or(&latest);
        if rows::timestamp(row, 2)? >= ages.before(qualifier) || !is_free.exists((event, rows::ms(now)))? {
            continue;
        }
        if old.len() >= pick.count as usize || in_hand >= bytes_max {
            is_all = false;
            break;
        }
        in_hand = in_hand.saturating_add(bytes.unsigned_abs());
        old.push(event);
    }
    // Leasing changes what is walked through here.
    drop(found);
    let leased = old.into_iter().map(|event| lease(connection, event, &pick.function, until));
    let leased = leased.collect::<rusqlite::Result<_>>()?;
    if !is_all {
        return Ok(Aged { leased, oldest: None });
    }
    let sql = "SELECT min(accepted_at) FROM delivery WHERE account = ?1 AND name = ?2";
    let oldest: Option<i64> = connection.prepare_cached(sql)?.query_row((account, name), |row| row.get(0))?;
    Ok(Aged { leased, oldest: Some(oldest.map_or(now, rows::instant)) })
}
