//! Copies between a guest and the outside: at the pace of the slower, half-closes and all, until both are done or
//! nothing has moved for a while.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

/// Bytes on their way in each direction of one connection.
const BUFFER_BYTES: usize = 8 * 1024;

/// What an instance's egress amounts to.
#[derive(Debug, Default)]
pub(super) struct Totals {
    connections: AtomicU64,
    failures: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Totals {
    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.sent_bytes.load(Ordering::Relaxed), self.received_bytes.load(Ordering::Relaxed))
    }
}

/// A connection to the outside: counts what it carries.
pub(super) struct Metered<S> {
    stream: S,
    totals: Arc<Totals>,
    beats: Beats,
}

/// Changes whenever bytes move.
#[derive(Clone, Default)]
pub(super) struct Beats(Arc<AtomicU64>);

impl Beats {
    /// Returns once nothing has moved for `idle_max`, and before that has been so for twice as long.
    pub(super) async fn stopped(&self, idle_max: Duration) {
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            tokio::time::sleep(idle_max).await;
            if self.0.load(Ordering::Relaxed) == seen {
                return;
            }
        }
    }

    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S> Metered<S> {
    /// Counts towards `totals`.
    pub(super) fn new(stream: S, totals: &Arc<Totals>) -> Self {
        Self { stream, totals: totals.clone(), beats: Beats::default() }
    }

    pub(super) fn beats(&self) -> Beats {
        self.beats.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let count = (into.filled().len() - before) as u64;
        self.totals.received_bytes.fetch_add(count, Ordering::Relaxed);
        self.beats.beat();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.totals.sent_bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.beats.beat();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Copies until both sides have closed.
///
/// # Errors
/// One side has failed, or nothing has moved for `idle_max`: the guest is owed a reset, or it would take what came
/// so far for all there is.
pub(super) async fn relay<G, O>(guest: &mut G, outside: O, totals: &Arc<Totals>, idle_max: Duration) -> io::Result<()>
where
    G: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let mut outside = Metered::new(outside, totals);
    let beats = outside.beats();
    tokio::select! {
        copied = copy_bidirectional_with_sizes(guest, &mut outside, BUFFER_BYTES, BUFFER_BYTES) => copied.map(drop),
        () = beats.stopped(idle_max) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
    };

    use super::*;

    /// A relay between two pipes of little room; the guest's end, the outside's, and what runs between.
    fn relayed(idle_max: Duration) -> (DuplexStream, DuplexStream, JoinHandle<io::Result<()>>, Arc<Totals>) {
        let ((guest, mut inner_guest), (outside, inner_outside)) = (duplex(1000), duplex(1000));
        let totals = Arc::new(Totals::default());
        let counted = totals.clone();
        let task = tokio::spawn(async move { relay(&mut inner_guest, inner_outside, &counted, idle_max).await });
        (guest, outside, task, totals)
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut guest, mut outside, task, totals) = relayed(Duration::from_secs(600));
        guest.write_all(b"question").await.unwrap();
        guest.shutdown().await.unwrap();
        let mut text = String::new();
        outside.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        // The question has ended; the answer has not begun.
        let answer = vec![b'x'; 100_000];
        let sending = async {
            outside.write_all(&answer).await.unwrap();
            outside.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = tokio::join!(sending, guest.read_to_end(&mut received));
        read.unwrap();
        assert_eq!(received, answer);
        task.await.unwrap().unwrap();
        assert_eq!(totals.bytes(), (8, 100_000));
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_the_writer_up() {
        let (mut guest, outside, _task, totals) = relayed(Duration::from_secs(600));
        let flood = vec![b'x'; 1_000_000];
        let writing = tokio::spawn(async move { guest.write_all(&flood).await });
        // All that fits: two pipes of a thousand bytes and one buffer.
        while totals.bytes().0 < 1_000 {
            tokio::task::yield_now().await;
        }
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(!writing.is_finished());
        assert_eq!(totals.bytes().0, 1_000);
        drop(outside);
        assert!(writing.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_carries_nothing_is_closed() {
        let (mut guest, mut outside, task, _) = relayed(Duration::from_millis(20));
        assert_eq!(task.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(guest.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(outside.read(&mut [0]).await.unwrap(), 0);
    }
}
