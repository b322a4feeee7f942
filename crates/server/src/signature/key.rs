//! Keys derived for signing: HMAC chains over secret, day, region and service, and the few that are remembered.
//!
//! A derived key depends on nothing but what it is looked up by, the secret included, so a remembered one cannot be
//! stale. Only keys that have verified a request are remembered: strangers cannot push others' out.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use super::presented::Scope;

/// Most derived keys remembered: one a credential, region, service and day. Each takes about 400 bytes.
const KEYS_MAX: usize = 1_024;

/// A SHA-256 digest.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A digest as 64 lower-case hexadecimal digits.
pub(super) fn hex(digest: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// A digest from exactly 64 lower-case hexadecimal digits.
pub(super) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(digest)
}

/// What signs strings for one credential, day, region and service.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// The key for a secret and a scope.
    pub fn derive(secret: &str, scope: &Scope) -> Self {
        let mut first = Vec::with_capacity(4 + secret.len());
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret.as_bytes());
        let day = hmac(&first, scope.day.as_bytes());
        let region = hmac(&day, scope.region.as_bytes());
        let service = hmac(&region, scope.service.as_bytes());
        Self(keyed(&hmac(&service, b"aws4_request")))
    }

    /// The signature of a string.
    pub fn sign(&self, text: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(text).finalize().into_bytes().into()
    }

    /// Whether `signature` is the string's, compared in constant time.
    pub fn verifies(&self, text: &[u8], signature: &[u8; 32]) -> bool {
        self.0.clone().chain_update(text).verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(text).finalize().into_bytes().into()
}

/// Derived keys, remembered: a table in which a key has one place, and a newer one with the same place replaces it.
pub struct Keys {
    hasher: RandomState,
    places: Box<[RwLock<Option<Remembered>>]>,
}

struct Remembered {
    secret: String,
    scope: Scope,
    key: SigningKey,
}

impl Default for Keys {
    fn default() -> Self {
        Self { hasher: RandomState::new(), places: (0..KEYS_MAX).map(|_| RwLock::new(None)).collect() }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// The key for a secret and a scope, derived if it is not remembered.
    pub fn get(&self, secret: &str, scope: &Scope) -> SigningKey {
        self.remembered(secret, scope).unwrap_or_else(|| SigningKey::derive(secret, scope))
    }

    fn remembered(&self, secret: &str, scope: &Scope) -> Option<SigningKey> {
        let place = self.place(secret, scope).read();
        let found = place.as_ref().filter(|it| it.secret == secret && it.scope == *scope)?;
        Some(found.key.clone())
    }

    /// Remembers a key that has verified a request.
    pub(super) fn remember(&self, secret: &str, scope: &Scope, key: &SigningKey) {
        if self.remembered(secret, scope).is_none() {
            let remembered = Remembered { secret: secret.to_owned(), scope: scope.clone(), key: key.clone() };
            *self.place(secret, scope).write() = Some(remembered);
        }
    }

    fn place(&self, secret: &str, scope: &Scope) -> &RwLock<Option<Remembered>> {
        let hash = self.hasher.hash_one((secret, scope));
        let index = hash % self.places.len() as u64;
        &self.places[usize::try_from(index).expect("it is below the number of places")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(day: &str, service: &str) -> Scope {
        Scope { day: day.into(), region: "us-east-1".into(), service: service.into() }
    }

    /// From AWS's "Examples of how to derive a signing key".
    #[test]
    fn a_key_is_derived_as_aws_shows() {
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &scope("20120215", "iam"));
        let published = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d";
        let same = SigningKey(keyed(&unhex(published.as_bytes()).unwrap()));
        assert_eq!(key.sign(b"text"), same.sign(b"text"));
        assert!(key.verifies(b"text", &same.sign(b"text")));
        assert!(!key.verifies(b"texts", &same.sign(b"text")));
    }

    #[test]
    fn only_what_is_asked_for_is_found() {
        let keys = Keys::default();
        let today = scope("20260101", "lambda");
        let key = keys.get("secret", &today);
        assert!(keys.remembered("secret", &today).is_none());
        keys.remember("secret", &today, &key);
        assert_eq!(keys.remembered("secret", &today).unwrap().sign(b"x"), key.sign(b"x"));
        for (secret, scope) in
            [("other", today.clone()), ("secret", scope("20260102", "lambda")), ("secret", scope("20260101", "iam"))]
        {
            assert!(keys.remembered(secret, &scope).is_none());
            assert_ne!(keys.get(secret, &scope).sign(b"x"), key.sign(b"x"));
        }
    }

    #[test]
    fn many_keys_take_bounded_room_and_stay_right() {
        let keys = Keys::default();
        let scope = scope("20260101", "lambda");
        for index in 0..3 * KEYS_MAX {
            let secret = format!("secret{index}");
            let key = keys.get(&secret, &scope);
            keys.remember(&secret, &scope, &key);
            assert_eq!(keys.get(&secret, &scope).sign(b"x"), key.sign(b"x"));
        }
        assert_eq!(keys.places.len(), KEYS_MAX);
    }

    #[test]
    fn digits_go_both_ways() {
        let digest = sha256(b"");
        assert_eq!(&hex(&digest), b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(unhex(&hex(&digest)), Some(digest));
        assert_eq!(unhex(&[b'A'; 64]), None);
        assert_eq!(unhex(b"00"), None);
    }
}
