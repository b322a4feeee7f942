//! A small pool of read-only connections, used from blocking threads.
//!
//! A read sees a snapshot and never waits for the writer, nor the writer for it. At most [`READERS_MAX`] run at
//! once; the others wait their turn. A connection that met an error is not used again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::failure::Failure;

/// Most connections, and so most reads at once.
const READERS_MAX: u32 = 4;

/// The pool.
pub(crate) struct Readers {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// A pool for the database at `path`; connections are opened as they are needed.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, turns: Arc::new(Semaphore::new(READERS_MAX as usize)), idle: Arc::default() }
    }

    /// Runs `query` on a connection of its own.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Failure::Closed)?;
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let task = tokio::task::spawn_blocking(move || {
            let spare = idle.lock().pop();
            let connection = spare.map_or_else(|| connect(&path), Ok)?;
            let found = query(&connection)?;
            idle.lock().push(connection);
            drop(turn);
            Ok(found)
        });
        task.await.unwrap_or_else(|error| Err(Failure::Internal(error.to_string())))
    }

    /// Waits for the reads that run, refuses further ones and closes every connection.
    pub(crate) async fn close(&self) {
        // It fails when another close came first, which has then done the rest.
        let _every_turn = self.turns.acquire_many(READERS_MAX).await;
        self.turns.close();
        self.idle.lock().clear();
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(crate::database::BUSY_TIMEOUT)?;
    Ok(connection)
}
