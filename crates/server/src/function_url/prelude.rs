//! The framing of streamed HTTP replies: a JSON prelude with status and headers, eight NUL bytes, the body.
//!
//! Source: Lambda's `application/vnd.awslambda.http-integration-response`, as the official runtime clients write it.

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use updraft_types::{Body, Fault};

use super::reply::{Head, head_of_prelude};
use crate::body::broken_off;

/// Largest prelude, bytes.
const PRELUDE_BYTES_MAX: usize = 64 << 10;
const DELIMITER: [u8; 8] = [0; 8];

/// Collects a prelude from pieces of any size.
#[derive(Default)]
struct Prelude {
    seen: BytesMut,
}

impl Prelude {
    /// Takes the next piece. Answers the prelude and the rest of that piece once the delimiter has been seen.
    fn push(&mut self, piece: &[u8]) -> Result<Option<(Head, Bytes)>, Fault> {
        let search_from = self.seen.len().saturating_sub(DELIMITER.len() - 1);
        self.seen.extend_from_slice(piece);
        let found = self.seen[search_from..].windows(DELIMITER.len()).position(|window| window == DELIMITER);
        let Some(at) = found.map(|at| search_from + at).filter(|at| *at <= PRELUDE_BYTES_MAX) else {
            if self.seen.len() > PRELUDE_BYTES_MAX + DELIMITER.len() {
                return Err(broken(&format!("its prelude is over {PRELUDE_BYTES_MAX} bytes")));
            }
            return Ok(None);
        };
        let prelude = self.seen.split_to(at);
        let rest = self.seen.split_off(DELIMITER.len()).freeze();
        Ok(Some((head_of_prelude(&prelude)?, rest)))
    }
}

/// Splits a framed reply that is already whole.
pub(super) fn split(reply: Bytes) -> Result<(Head, Bytes), Fault> {
    let mut prelude = Prelude::default();
    prelude.push(&reply)?.ok_or_else(unfinished)
}

/// Reads up to the delimiter and hands on what follows as it comes.
pub(super) async fn read(mut body: Body) -> Result<(Head, Body), Fault> {
    let mut prelude = Prelude::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken_off)?;
        let Ok(data) = frame.into_data() else { continue };
        if let Some((head, rest)) = prelude.push(&data)? {
            return Ok((head, chained(rest, body)));
        }
    }
    Err(unfinished())
}

fn chained(first: Bytes, rest: Body) -> Body {
    if first.is_empty() {
        return rest;
    }
    let frames = stream::unfold((Some(first), rest), |(first, mut rest)| async move {
        match first {
            Some(first) => Some((Ok(Frame::data(first)), (None, rest))),
            None => rest.frame().await.map(|frame| (frame, (None, rest))),
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn unfinished() -> Fault {
    broken("it ended before its prelude did")
}

fn broken(why: &str) -> Fault {
    Fault::Crash { reason: format!("the streamed reply is no HTTP response: {why}") }
}

#[cfg(test)]
mod tests {
    use updraft_types::BoxError;

    use super::*;

    fn streamed(pieces: Vec<Bytes>) -> Body {
        let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
        BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames)))
    }

    const REPLY: &[u8] = b"{\"statusCode\":201,\"headers\":{\"x-a\":\"b\"}}\0\0\0\0\0\0\0\0body\0\0\0\0\0\0\0\0more";

    #[tokio::test]
    async fn a_reply_is_the_same_however_it_is_cut() {
        for cut in 0..=REPLY.len() {
            let pieces = vec![Bytes::from_static(&REPLY[..cut]), Bytes::from_static(&REPLY[cut..])];
            let (head, body) = read(streamed(pieces)).await.unwrap();
            assert_eq!((head.status.as_u16(), &head.headers["x-a"]), (201, &http::HeaderValue::from_static("b")));
            assert_eq!(body.collect().await.unwrap().to_bytes(), &b"body\0\0\0\0\0\0\0\0more"[..], "cut at {cut}");
        }
        let one_by_one = REPLY.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
        let (_, body) = read(streamed(one_by_one)).await.unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 16);
        assert_eq!(split(Bytes::from_static(REPLY)).unwrap().1.len(), 16);
    }

    #[tokio::test]
    async fn broken_framing_is_the_functions_failure() {
        for reply in [&b""[..], b"{}", b"{}\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0", b"x\0\0\0\0\0\0\0\0body"] {
            assert!(split(Bytes::copy_from_slice(reply)).is_err(), "{reply:?}");
            assert!(read(streamed(vec![Bytes::copy_from_slice(reply)])).await.is_err(), "{reply:?}");
        }
        let endless = vec![Bytes::from(vec![b' '; 60_000]); 3];
        assert!(matches!(read(streamed(endless)).await, Err(Fault::Crash { reason }) if reason.contains("over")));
    }
}
