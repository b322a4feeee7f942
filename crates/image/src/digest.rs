//! `sha256:` and 64 hexadecimal digits: what names every part of an image by its content.

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest. Other algorithms are refused: nothing that runs here is named by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: expected sha256: and 64 of 0-9 and a-f")]
pub struct NoDigest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// What a finished hash comes to.
    pub(crate) fn from_hash(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The 64 digits alone, as `CodeSha256` shows an image's.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = NoDigest;
    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let refused = || NoDigest(text.chars().take(100).collect());
        let digits = text.strip_prefix("sha256:").map(str::as_bytes).filter(|digits| digits.len() == 64);
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.ok_or_else(refused)?.chunks(2)) {
            let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return Err(refused()) };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;
    fn try_from(text: String) -> Result<Self, NoDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Digests and counts what is read through it.
pub struct Digesting<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: io::Read> Digesting<R> {
    /// From the beginning of a blob.
    pub fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// Reads what is left, and answers the digest and size of all. `bytes_max` bounds the whole.
    pub fn finish(mut self, bytes_max: u64) -> io::Result<(Digest, u64)> {
        let mut buffer = vec![0; 64 * 1024];
        while self.bytes <= bytes_max {
            if io::Read::read(&mut self, &mut buffer)? == 0 {
                break;
            }
        }
        Ok((Digest::from_hash(self.hash), self.bytes))
    }
}

impl<R: io::Read> io::Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_nothing_else_is_one() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(digest.to_string().starts_with("sha256:2cf24dba5fb0a30e"));
        let hex = digest.hex();
        for bad in [
            "",
            "sha256:",
            &hex,
            &format!("sha512:{hex}"),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}", hex.to_uppercase()),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_read_is_digested_to_its_end_or_the_bound() {
        let reader = Digesting::new(&b"hello"[..]);
        assert_eq!(reader.finish(100).unwrap(), (Digest::of(b"hello"), 5));
        let endless = Digesting::new(io::repeat(1));
        assert!(endless.finish(1000).unwrap().1 > 1000);
    }
}
