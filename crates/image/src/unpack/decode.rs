//! A layer's bytes as a tar, whatever they are compressed with: gzip, zstd, or nothing.
//!
//! The first bytes say which, rather than a media type that may be wrong. Zstd is decoded by `ruzstd`, which holds a
//! window of at most 128 MB; a layer may be of several frames, and of frames to be skipped.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    FrameDecoder, StreamingDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// All but the lowest four bits of a frame to be skipped.
const ZSTD_SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Reads a layer decompressed.
pub(super) fn reader<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut buffered = BufReader::with_capacity(64 * 1024, Patient(source));
    let head = buffered.fill_buf()?;
    let is_zstd = head.starts_with(&ZSTD) || (head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == ZSTD_SKIPPED);
    if head.starts_with(&GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(buffered)));
    }
    if is_zstd { Ok(Box::new(Frames { source: buffered, frame: None })) } else { Ok(Box::new(buffered)) }
}

/// Fills the first buffer as far as it can: a source may give its first byte alone.
struct Patient<R>(R);

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Zstd frames, one after the other.
struct Frames<R: BufRead> {
    source: R,
    frame: Option<FrameDecoder>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(frame) = &mut self.frame {
                let mut decoder = StreamingDecoderOf { source: &mut self.source, frame };
                match decoder.read(buffer)? {
                    0 => self.frame = None,
                    count => return Ok(count),
                }
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match StreamingDecoder::new(&mut self.source) {
                Ok(begun) => self.frame = Some(begun.into_frame_decoder()),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
    }
}

/// One frame going on. `StreamingDecoder` cannot be made of a frame that has begun, so this is its reading alone.
struct StreamingDecoderOf<'a, R> {
    source: &'a mut R,
    frame: &'a mut FrameDecoder,
}

impl<R: Read> Read for StreamingDecoderOf<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.frame.can_collect() == 0 && !self.frame.is_finished() {
            let one = ruzstd::decoding::BlockDecodingStrategy::UptoBlocks(1);
            self.frame.decode_blocks(&mut *self.source, one).map_err(|error| io::Error::other(error.to_string()))?;
        }
        self.frame.read(buffer)
    }
}
