//! Reading bodies whole, within bounds: one body's size, the pause between two pieces, and the memory all
//! requests hold together.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use updraft_types::{Body, BoxError, Fault, body::fault_of, limits::PAYLOAD_BYTES_MAX};

/// What one unit of the budget stands for, bytes.
const UNIT_BYTES: usize = 1 << 10;

/// Slowest that a body may come on the whole, bytes a second, beside the one pause it may make.
const RATE_MIN: usize = 16 << 10;
/// Most bytes of a refused body that are taken and thrown away.
const DISCARD_BYTES_MAX: u64 = 256 << 20;
/// Longest pause within a body that is thrown away.
const DISCARD_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why a request's body was not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// It is larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// All requests together hold as much as they may.
    #[error("too much is being uploaded at once")]
    Busy,
    /// The client stopped sending.
    #[error("the body paused for too long")]
    Slow,
    /// The connection broke, or the body was not what its headers said.
    #[error("the body broke off")]
    CutOff,
}

/// Memory that request bodies may hold at once.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    pause_max: Duration,
}

/// A whole request body, counted against the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// The body.
    pub(crate) bytes: Bytes,
    _units: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize, pause_max: Duration) -> Self {
        let units = (bytes_max / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units)), pause_max }
    }

    /// Reads a request's body of at most `bytes_max`.
    pub(crate) async fn read<B>(&self, mut body: B, bytes_max: usize) -> Result<Held, Error>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let declared = body.size_hint().exact().unwrap_or(0);
        if declared > bytes_max as u64 {
            discard(body).await;
            return Err(Error::TooLarge);
        }
        let mut gathered = Gathered::new(usize::try_from(declared).unwrap_or(0));
        let mut units: Option<OwnedSemaphorePermit> = None;
        let begun = Instant::now();
        loop {
            // What trickles in would hold its part of the budget for as long as its client likes.
            let due = begun + self.pause_max + Duration::from_secs((gathered.len() / RATE_MIN) as u64);
            let until = due.min(Instant::now() + self.pause_max);
            let frame = match tokio::time::timeout_at(until, body.frame()).await {
                Err(_) => return Err(Error::Slow),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Error::CutOff),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            if gathered.len() + data.len() > bytes_max {
                drop((gathered, units));
                discard(body).await;
                return Err(Error::TooLarge);
            }
            let needed = (gathered.len() + data.len()).div_ceil(UNIT_BYTES);
            let held = units.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if needed > held {
                let more = u32::try_from(needed - held).map_err(|_| Error::TooLarge)?;
                let more = self.units.clone().try_acquire_many_owned(more).map_err(|_| Error::Busy)?;
                match &mut units {
                    Some(units) => units.merge(more),
                    None => units = Some(more),
                }
            }
            gathered.push(data);
        }
        Ok(Held { bytes: gathered.into_bytes(), _units: units })
    }
}

/// Takes what is left of a body that is refused, within reason: a client that is still sending when its connection
/// closes would see a broken connection instead of the answer.
pub(crate) async fn discard<B>(mut body: B)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > DISCARD_BYTES_MAX {
        return;
    }
    let mut discarded = 0;
    while discarded <= DISCARD_BYTES_MAX {
        match tokio::time::timeout(DISCARD_PAUSE_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => discarded += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(None | Some(Err(_))) | Err(_) => return,
        }
    }
}

/// Reads a reply that nobody sees to its end, or says how the function failed.
pub(crate) async fn read_to_end(mut body: Body) -> Result<(), Fault> {
    while let Some(frame) = body.frame().await {
        frame.map_err(broken_off)?;
    }
    Ok(())
}

/// Reads a function's reply whole, or says how the function failed.
pub(crate) async fn read_reply<B>(mut body: B) -> Result<Bytes, Fault>
where
    B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut gathered = Gathered::new(0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken_off)?;
        let Ok(data) = frame.into_data() else { continue };
        if gathered.len() + data.len() > PAYLOAD_BYTES_MAX {
            return Err(Fault::ResponseTooLarge);
        }
        gathered.push(data);
    }
    Ok(gathered.into_bytes())
}

/// The failure that ended a reply's body.
pub(crate) fn broken_off(error: BoxError) -> Fault {
    fault_of(error).unwrap_or_else(|error| Fault::Crash { reason: format!("the response broke off: {error}") })
}

/// Pieces becoming one: a body of one piece is never copied.
struct Gathered {
    first: Bytes,
    rest: BytesMut,
    expected: usize,
}

impl Gathered {
    fn new(expected: usize) -> Self {
        Self { first: Bytes::new(), rest: BytesMut::new(), expected }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(self.expected.max(self.first.len() + piece.len()));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&piece);
    }

    fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> impl http_body::Body<Data = Bytes, Error = BoxError> + Unpin {
        StreamBody::new(stream::iter(pieces.iter().map(|piece| match *piece {
            "!" => Err(BoxError::from("cut")),
            piece => Ok(Frame::data(Bytes::from_static(piece.as_bytes()))),
        })))
    }

    #[tokio::test]
    async fn pieces_become_one_and_bounds_hold() {
        let budget = Budget::new(8 * UNIT_BYTES, Duration::from_secs(5));
        let read = async |parts, bytes_max| budget.read(pieces(parts), bytes_max).await.map(|held| held.bytes);
        assert_eq!(read(&["", "ab", "", "c", "def"], 6).await.unwrap(), "abcdef");
        assert_eq!(read(&[], 6).await.unwrap(), "");
        assert_eq!(read(&["ab", "c", "def"], 5).await, Err(Error::TooLarge));
        assert_eq!(read(&["ab", "!"], 5).await, Err(Error::CutOff));
    }

    #[tokio::test]
    async fn what_all_hold_together_is_bounded_and_given_back() {
        let budget = Budget::new(2 * UNIT_BYTES, Duration::from_secs(5));
        let first = budget.read(pieces(&["x"]), 9).await.unwrap();
        let _second = budget.read(pieces(&["x"]), 9).await.unwrap();
        assert_eq!(budget.read(pieces(&["x"]), 9).await.unwrap_err(), Error::Busy);
        drop(first);
        assert!(budget.read(pieces(&["x"]), 9).await.is_ok());
    }

    #[tokio::test]
    async fn a_reply_that_breaks_off_is_a_crash() {
        assert_eq!(read_reply(pieces(&["a", "b"])).await.unwrap(), "ab");
        assert!(matches!(read_reply(pieces(&["a", "!"])).await, Err(Fault::Crash { .. })));
    }
}
