//! One database file: its writer thread and its readers.
//!
//! Verbs reach SQLite only through [`Database::write`] and [`Database::read`]; a connection never leaves this crate's
//! threads. The file and SQLite's companions to it are readable by their owner alone, for functions' environments
//! hold secrets.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::{
    failure::Failure,
    lock::Lock,
    open::{self, Error},
    readers::Readers,
    schema::{self, MigrateError, Schema},
    writer::Writer,
};

/// How long SQLite waits for another connection's lock. Only a reader that meets a checkpoint's end ever waits.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open database.
pub(crate) struct Database {
    writer: Writer,
    readers: Readers,
}

impl Database {
    /// Opens or makes `schema`'s file in `directory` and starts its writer, which holds `lock` until it has ended.
    pub(crate) fn open(directory: &Path, schema: &Schema, lock: Arc<Lock>) -> Result<Self, Error> {
        let path = directory.join(schema.file);
        let mut new = OpenOptions::new();
        new.write(true).create(true).truncate(false).mode(0o600);
        new.open(&path).map_err(|error| Error::io(&path, error))?;
        open::sync_directory(directory)?;

        let connection = connect(&path, schema).map_err(|error| match error {
            MigrateError::Newer { found, known } => Error::NewerVersion { path: path.clone(), found, known },
            MigrateError::Failure(failure) => Error::database(&path, failure),
        })?;
        let writer = Writer::start(connection, lock).map_err(|error| Error::io(&path, error))?;
        Ok(Self { writer, readers: Readers::new(path) })
    }

    /// Carries out a verb that changes something; whole or not at all, and committed when this returns.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.writer.run(verb).await
    }

    /// Looks something up. Sees every change acknowledged before the call.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        self.readers.run(query).await
    }

    /// Transactions committed since opening.
    pub(crate) fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Refuses new verbs, carries out those queued and closes every connection.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Opens the writer's connection, to a database that then has the version known here.
fn connect(path: &Path, schema: &Schema) -> Result<Connection, MigrateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // First of all, for what follows may write.
    let version = schema::version(&connection, schema.migrations)?;
    if version == 0 {
        // Before journal_mode, which writes the first page and with it fixes auto_vacuum.
        connection.pragma_update(None, "auto_vacuum", schema.auto_vacuum)?;
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let reason = format!("this file system allows no write-ahead log (journal mode {mode})");
        return Err(Failure::Internal(reason).into());
    }
    connection.pragma_update(None, "synchronous", schema.synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", schema.checkpoint_pages)?;
    // After a burst the write-ahead log gives its room back instead of staying at its largest.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    schema::migrate(&mut connection, schema.migrations)?;
    Ok(connection)
}
