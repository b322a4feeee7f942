//! Bodies signed in chunks (`Content-Encoding: aws-chunked`), taken apart as they arrive.
//!
//! Each chunk's signature covers the one before it, the first the request's own. A decoder keeps one line and one
//! hash, however large a chunk: what it hands out is to be believed only once [`Decoder::finish`] has answered.
//!
//! Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and
//! "… Including Trailing Headers" of the S3 API reference.

use sha2::{Digest, Sha256};

use super::{
    Error, Head, Keys, Payload, Presented, SigningKey,
    key::{hex, sha256, unhex},
};

/// Longest line that begins a chunk: size, extension, signature.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most bytes of all trailers.
pub const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Most trailers.
pub const TRAILERS_MAX: usize = 16;

const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// How a body is framed and signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// Each chunk is signed.
    Signed,
    /// Each chunk is signed, and so are the headers that follow them.
    SignedTrailer,
    /// Nothing is; headers follow.
    UnsignedTrailer,
}

impl Streaming {
    /// What `x-amz-content-sha256` says.
    pub fn name(self) -> &'static str {
        match self {
            Streaming::Signed => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Streaming::SignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Streaming::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Signed, Self::SignedTrailer, Self::UnsignedTrailer].into_iter().find(|it| it.name() == name)
    }

    fn has_trailer(self) -> bool {
        self != Streaming::Signed
    }

    fn is_signed(self) -> bool {
        self != Streaming::UnsignedTrailer
    }
}

/// `x-amz-decoded-content-length`, which such a request has to have.
pub(super) fn decoded_length(head: Head<'_>) -> Result<u64, Error> {
    let text = head.one("x-amz-decoded-content-length")?.unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        Error::Incomplete("You must provide the Content-Length HTTP header: x-amz-decoded-content-length.".into())
    })
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// A line that begins a chunk.
    ChunkLine,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end after a chunk; the last chunk's is all that follows it.
    ChunkEnd { is_last: bool },
    /// A trailer, or the empty line after the last.
    Trailer,
    /// Nothing.
    Nothing,
}

/// Takes one body apart.
#[derive(Debug)]
pub struct Decoder {
    streaming: Streaming,
    key: SigningKey,
    /// Timestamp and scope, each with its line end.
    context: String,
    /// The signature of the chunk before.
    previous: [u8; 32],
    expects: Expects,
    line: Vec<u8>,
    hash: Sha256,
    claimed: [u8; 32],
    /// Bytes of chunks still to come, by what the request said.
    rest: u64,
    trailers: Vec<(String, String)>,
    trailer_bytes: usize,
}

impl Presented {
    /// The decoder of this request's body, once the request itself is verified; none where it is not in chunks.
    pub fn decoder(&self, secret: &str, keys: &Keys) -> Option<Decoder> {
        let Payload::Chunked { streaming, decoded_length } = self.payload else { return None };
        Some(Decoder {
            streaming,
            key: keys.get(secret, &self.scope),
            context: format!("{}\n{}\n", self.timestamp, self.scope),
            previous: self.signature,
            expects: Expects::ChunkLine,
            line: Vec::new(),
            hash: Sha256::new(),
            claimed: [0; 32],
            rest: decoded_length,
            trailers: Vec::new(),
            trailer_bytes: 0,
        })
    }
}

impl Decoder {
    /// Takes the next piece of the body, however it is cut, and hands out what of the content is in it. After an error
    /// nothing that was handed out counts, and the decoder is of no more use.
    pub fn push(&mut self, mut piece: &[u8], mut content: impl FnMut(&[u8])) -> Result<(), Error> {
        while !piece.is_empty() {
            match self.expects {
                Expects::Data(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                    let (data, after) = piece.split_at(length);
                    if self.streaming.is_signed() {
                        self.hash.update(data);
                    }
                    content(data);
                    piece = after;
                    let left = left - length as u64;
                    self.expects = if left > 0 { Expects::Data(left) } else { Expects::ChunkEnd { is_last: false } };
                }
                Expects::Nothing => return Err(Error::MalformedChunks("The body goes on after its end.")),
                _ => {
                    let Some(line) = self.take_line(&mut piece)? else { return Ok(()) };
                    self.accept(&line)?;
                }
            }
        }
        Ok(())
    }

    /// The body has ended: the trailers, if it is whole and all of it is what was signed.
    pub fn finish(self) -> Result<Vec<(String, String)>, Error> {
        if self.expects == Expects::Nothing && self.rest == 0 {
            return Ok(self.trailers);
        }
        Err(Error::MalformedChunks("The request body terminated unexpectedly"))
    }

    /// A line without its end, once it is whole.
    fn take_line(&mut self, piece: &mut &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let bytes_max = if self.expects == Expects::Trailer { TRAILER_BYTES_MAX } else { CHUNK_LINE_BYTES_MAX };
        let end = piece.iter().position(|byte| *byte == b'\n');
        let (taken, rest) = piece.split_at(end.map_or(piece.len(), |end| end + 1));
        *piece = rest;
        if self.line.len() + taken.len() > bytes_max {
            return Err(Error::MalformedChunks("A line of the body is too long."));
        }
        self.line.extend_from_slice(taken);
        if end.is_none() {
            return Ok(None);
        }
        match self.line.strip_suffix(b"\r\n") {
            Some(line) => {
                let line = line.to_vec();
                self.line.clear();
                Ok(Some(line))
            }
            None => Err(Error::MalformedChunks("A line of the body does not end with CR LF.")),
        }
    }

    fn accept(&mut self, line: &[u8]) -> Result<(), Error> {
        match self.expects {
            Expects::ChunkLine => self.begin_chunk(line),
            Expects::ChunkEnd { is_last } => {
                if !line.is_empty() {
                    return Err(Error::MalformedChunks("A chunk is longer than it says."));
                }
                if !is_last {
                    self.check_chunk()?;
                }
                self.expects = if is_last { Expects::Nothing } else { Expects::ChunkLine };
                Ok(())
            }
            Expects::Trailer if line.is_empty() => self.end_trailers(),
            Expects::Trailer => self.take_trailer(line),
            Expects::Data(_) | Expects::Nothing => unreachable!("no lines are taken there"),
        }
    }

    fn begin_chunk(&mut self, line: &[u8]) -> Result<(), Error> {
        let malformed = Error::MalformedChunks("A chunk does not begin with its size and signature.");
        let line = std::str::from_utf8(line).map_err(|_| malformed.clone())?;
        let size = if self.streaming.is_signed() {
            let (size, signature) = line.split_once(";chunk-signature=").ok_or_else(|| malformed.clone())?;
            self.claimed = unhex(signature.as_bytes()).ok_or_else(|| malformed.clone())?;
            size
        } else {
            line
        };
        let is_number = (1..=16).contains(&size.len()) && size.bytes().all(|digit| digit.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|_| is_number).ok_or(malformed)?;
        self.rest = self
            .rest
            .checked_sub(size)
            .ok_or(Error::MalformedChunks("The body has more bytes than x-amz-decoded-content-length says."))?;
        if size > 0 {
            self.expects = Expects::Data(size);
            return Ok(());
        }
        if self.rest > 0 {
            return Err(Error::MalformedChunks("The request body terminated unexpectedly"));
        }
        self.check_chunk()?;
        self.expects =
            if self.streaming.has_trailer() { Expects::Trailer } else { Expects::ChunkEnd { is_last: true } };
        Ok(())
    }

    /// Checks the chunk whose data has just been hashed.
    fn check_chunk(&mut self) -> Result<(), Error> {
        if !self.streaming.is_signed() {
            return Ok(());
        }
        let content: [u8; 32] = self.hash.finalize_reset().into();
        let signed = [hex(&sha256(b"")), hex(&content)];
        self.check("AWS4-HMAC-SHA256-PAYLOAD", self.claimed, &signed)
    }

    fn take_trailer(&mut self, line: &[u8]) -> Result<(), Error> {
        let malformed = Error::MalformedChunks("A trailing header is malformed.");
        self.trailer_bytes += line.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX || self.trailers.len() == TRAILERS_MAX {
            return Err(Error::MalformedChunks("There are too many trailing headers."));
        }
        let line = std::str::from_utf8(line).map_err(|_| malformed.clone())?;
        let (name, value) = line.split_once(':').ok_or_else(|| malformed.clone())?;
        let name = name.to_ascii_lowercase();
        let is_after_signature = self.trailers.last().is_some_and(|(name, _)| name == TRAILER_SIGNATURE);
        if name.is_empty() || is_after_signature || self.trailers.iter().any(|(known, _)| *known == name) {
            return Err(malformed);
        }
        self.trailers.push((name, value.trim().to_owned()));
        Ok(())
    }

    fn end_trailers(&mut self) -> Result<(), Error> {
        if self.streaming.is_signed() {
            let missing = Error::MalformedChunks("The trailing headers are not signed.");
            let (_, signature) =
                self.trailers.pop_if(|(name, _)| name == TRAILER_SIGNATURE).ok_or_else(|| missing.clone())?;
            let claimed = unhex(signature.as_bytes()).ok_or(missing)?;
            let mut sorted: Vec<String> =
                self.trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            sorted.sort_unstable();
            self.check("AWS4-HMAC-SHA256-TRAILER", claimed, &[hex(&sha256(sorted.concat().as_bytes()))])?;
        }
        self.expects = Expects::Nothing;
        Ok(())
    }

    fn check(&mut self, algorithm: &str, claimed: [u8; 32], hashes: &[[u8; 64]]) -> Result<(), Error> {
        let mut text = format!("{algorithm}\n{}", self.context).into_bytes();
        text.extend_from_slice(&hex(&self.previous));
        for hash in hashes {
            text.push(b'\n');
            text.extend_from_slice(hash);
        }
        if !self.key.verifies(&text, &claimed) {
            return Err(Error::ChunkMismatch);
        }
        self.previous = claimed;
        Ok(())
    }
}
