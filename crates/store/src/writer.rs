//! The one thread that writes to a database, and group commit.
//!
//! Takes whatever is queued, up to [`BATCH_VERBS_MAX`] verbs, into one transaction and so one sync of the disk.
//! Each verb runs in a savepoint: one that fails undoes itself and leaves its neighbours alone.
//!
//! Invariant: a verb's answer is given after the commit that holds it. If the commit fails, so do all its verbs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{failure::Failure, lock::Lock};

/// Most verbs in one transaction.
const BATCH_VERBS_MAX: usize = 256;
/// Most verbs waiting; further callers wait to be let in.
const QUEUE_VERBS_MAX: usize = 2 * BATCH_VERBS_MAX;

/// Carries a verb out, or (given a failure) tells its caller why that was not tried.
type Verb = Box<dyn FnOnce(Result<&Connection, Failure>) -> Ran + Send>;

/// Answers a verb's caller, given how the commit went.
type Settle = Box<dyn FnOnce(Result<(), Failure>)>;

/// A verb that has had its turn and waits for the commit.
struct Ran {
    settle: Settle,
    /// Why the verb failed, if it did.
    failure: Option<Failure>,
}

/// The way in to the writer thread.
pub(crate) struct Writer {
    /// Emptied by close; the thread ends when the last sender is gone.
    queue: Mutex<Option<mpsc::Sender<Verb>>>,
    /// Its sender is dropped when the thread has ended.
    ended: watch::Receiver<()>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. It owns `connection`, and holds `lock` until after it has closed it.
    pub(crate) fn start(connection: Connection, lock: Arc<Lock>) -> io::Result<Self> {
        let (queue, verbs) = mpsc::channel(QUEUE_VERBS_MAX);
        let (end, ended) = watch::channel(());
        let commits = Arc::new(AtomicU64::new(0));
        let counter = commits.clone();
        thread::Builder::new().name("store-writer".into()).spawn(move || {
            serve(&connection, verbs, &counter);
            checkpoint(&connection);
            drop(connection);
            drop(lock);
            drop(end);
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), ended, commits })
    }

    /// Queues a verb and waits until it is committed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let verb: Verb = Box::new(move |connection| {
            let outcome = connection.and_then(|connection| Ok(in_savepoint(connection, body)?));
            let failure = outcome.as_ref().err().cloned();
            let settle = Box::new(move |commit: Result<(), Failure>| {
                // A caller that has gone away does not want the answer.
                let _ = reply.send(outcome.and_then(|value| commit.map(|()| value)));
            });
            Ran { settle, failure }
        });
        let queue = self.queue.lock().clone().ok_or(Failure::Closed)?;
        queue.send(verb).await.map_err(|_| Failure::Closed)?;
        drop(queue);
        answer.await.unwrap_or_else(|_| Err(Failure::Internal("the writer thread ended unexpectedly".into())))
    }

    /// Transactions committed so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Refuses new verbs, and returns when those queued are committed and the connection is closed.
    pub(crate) async fn close(&self) {
        self.queue.lock().take();
        // An error is what is awaited here: it says that the thread has dropped its end.
        let _ = self.ended.clone().changed().await;
    }
}

fn serve(connection: &Connection, mut verbs: mpsc::Receiver<Verb>, commits: &AtomicU64) {
    let mut batch = Vec::with_capacity(BATCH_VERBS_MAX);
    while verbs.blocking_recv_many(&mut batch, BATCH_VERBS_MAX) > 0 {
        let mut settles = Vec::with_capacity(batch.len());
        let outcome = transact(connection, batch.drain(..), &mut settles);
        if outcome.is_ok() {
            commits.fetch_add(1, Ordering::Relaxed);
        } else if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "could not roll a failed transaction back");
        }
        for settle in settles {
            settle(outcome.clone());
        }
    }
}

/// Runs a batch in one transaction, as far as committing it.
fn transact(
    connection: &Connection,
    batch: impl Iterator<Item = Verb>,
    settles: &mut Vec<Settle>,
) -> Result<(), Failure> {
    let mut transaction = connection.execute_batch("BEGIN IMMEDIATE").map_err(Failure::from);
    for verb in batch {
        let ran = verb(transaction.clone().map(|()| connection));
        settles.push(ran.settle);
        // After some errors (disk full, I/O, out of memory) SQLite rolls the whole transaction back by itself; then
        // what ran before is gone too, and what has yet to run must not run outside a transaction.
        if transaction.is_ok() && connection.is_autocommit() {
            let cause = ran.failure.unwrap_or_else(|| Failure::Internal("SQLite ended the transaction".into()));
            transaction = Err(cause);
        }
    }
    transaction?;
    Ok(connection.execute_batch("COMMIT")?)
}

/// Runs `body` so that it takes effect whole or not at all, whatever becomes of the rest of the transaction.
fn in_savepoint<T>(
    connection: &Connection,
    body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let step = |sql: &str| connection.prepare_cached(sql)?.execute(()).map(|_| ());
    step("SAVEPOINT verb")?;
    let outcome = body(connection);
    if !connection.is_autocommit() {
        if outcome.is_err() {
            step("ROLLBACK TO verb")?;
        }
        step("RELEASE verb")?;
    }
    outcome
}

/// Moves the write-ahead log into the database, so that the file alone is complete.
fn checkpoint(connection: &Connection) {
    if let Err(error) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "could not move the write-ahead log into the database; the next start will");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use futures_util::future::join_all;
    use tempfile::TempDir;

    use super::*;

    struct Fixture {
        directory: TempDir,
        writer: Writer,
    }

    impl Fixture {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let connection = Connection::open(directory.path().join("test.db")).unwrap();
            let sql = "CREATE TABLE t (x INTEGER PRIMARY KEY, y REFERENCES t (x) DEFERRABLE INITIALLY DEFERRED)";
            connection.execute_batch(sql).unwrap();
            let lock = Arc::new(Lock::acquire(directory.path()).unwrap());
            let writer = Writer::start(connection, lock).unwrap();
            Self { directory, writer }
        }

        fn stored(&self) -> Vec<i64> {
            let connection = Connection::open(self.directory.path().join("test.db")).unwrap();
            let mut statement = connection.prepare("SELECT x FROM t ORDER BY x").unwrap();
            statement.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        }

        /// Runs statements as one verb each while the writer is held up, so that all of them are queued together.
        async fn together(&self, verbs: &[&'static str]) -> Vec<Result<(), Failure>> {
            let (release, held) = blocking::channel::<()>();
            let (entered, inside) = oneshot::channel();
            let hold = self.writer.run(move |_| {
                let _ = entered.send(());
                let _ = held.recv();
                Ok(())
            });
            let queue = async {
                let _ = inside.await;
                let verbs = verbs.iter().map(|&sql| self.writer.run(move |connection| connection.execute_batch(sql)));
                let mut verbs = std::pin::pin!(join_all(verbs));
                // The first poll queues every verb.
                assert!(futures_util::poll!(verbs.as_mut()).is_pending());
                drop(release);
                verbs.await
            };
            let (held, outcomes) = tokio::join!(hold, queue);
            held.unwrap();
            outcomes
        }
    }

    #[tokio::test]
    async fn what_is_queued_shares_a_commit_up_to_a_batch() {
        let fixture = Fixture::start();
        let outcomes = fixture.together(&["INSERT INTO t (x) VALUES (NULL)"; 300]).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(fixture.writer.commits(), 1 + 2);
        assert_eq!(fixture.stored().len(), 300);
    }

    #[tokio::test]
    async fn a_failing_verb_undoes_itself_and_leaves_its_neighbours() {
        let fixture = Fixture::start();
        let outcomes = fixture
            .together(&[
                "INSERT INTO t (x) VALUES (1)",
                "INSERT INTO t (x) VALUES (2); nonsense",
                "INSERT INTO t (x) VALUES (3)",
            ])
            .await;
        assert!(matches!(&outcomes[..], [Ok(()), Err(Failure::Internal(_)), Ok(())]), "{outcomes:?}");
        assert_eq!(fixture.stored(), [1, 3]);
    }

    #[tokio::test]
    async fn a_failed_commit_fails_every_verb_in_it_and_the_next_works() {
        let fixture = Fixture::start();
        let outcomes = fixture.together(&["INSERT INTO t (x) VALUES (1)", "INSERT INTO t VALUES (2, 99)"]).await;
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        assert_eq!(fixture.stored(), [0; 0]);
        fixture.together(&["INSERT INTO t (x) VALUES (3)"]).await.remove(0).unwrap();
        assert_eq!(fixture.stored(), [3]);
    }

    #[tokio::test]
    async fn a_transaction_sqlite_ends_by_itself_fails_every_verb_in_it() {
        let fixture = Fixture::start();
        let outcomes = fixture
            .together(&[
                "INSERT INTO t (x) VALUES (1)",
                "INSERT OR ROLLBACK INTO t (x) VALUES (1)",
                "INSERT INTO t (x) VALUES (2)",
            ])
            .await;
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        assert_eq!(fixture.stored(), [0; 0]);
    }

    #[tokio::test]
    async fn closing_carries_out_what_is_queued() {
        let fixture = Fixture::start();
        let verbs = (0..600)
            .map(|_| fixture.writer.run(|connection| connection.execute_batch("INSERT INTO t (x) VALUES (NULL)")));
        let mut verbs = std::pin::pin!(join_all(verbs));
        assert!(futures_util::poll!(verbs.as_mut()).is_pending());
        let (outcomes, ()) = tokio::join!(verbs, fixture.writer.close());
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(fixture.stored().len(), 600);
        let late = fixture.writer.run(|_| Ok(())).await;
        assert_eq!(late, Err(Failure::Closed));
    }
}
