//! Secrets at rest: AES-256-GCM under the platform's master key.
//!
//! Each purpose (access keys, sessions, …) has a key of its own, derived from the master key (HKDF-SHA-256), and each
//! sealing a random nonce; what is sealed is bound to a text that says what it is the secret of, so that one record's
//! secret cannot be put into another's place. A [`Seal`] opens what was sealed for the same purpose and text under the
//! same master key, and nothing else.
//!
//! The master key is 32 random bytes, written as 64 hexadecimal digits: in `master.key` in the data directory, made
//! with the directory and readable by its owner alone, or given from outside. The database keeps a proof of it, so that
//! a directory is never opened with another key than its secrets were sealed with.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
    rand::{SecureRandom, SystemRandom},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::{
    open::{self, Error},
    schema,
};

/// The file in the data directory.
const FILE: &str = "master.key";
/// The first byte of everything sealed, should there ever be another way of doing it.
const FORMAT: u8 = 1;
/// What the proof seals.
const PROOF: &[u8] = b"updraft";
/// A master key's text and the line's end, and room for a second one.
const FILE_BYTES_MAX: u64 = 100;

/// Random bytes from the operating system, fit for keys.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// What all secrets of a data directory are sealed under.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

/// Text that is no master key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a master key is 64 hexadecimal digits")]
pub struct InvalidMasterKey;

impl MasterKey {
    /// A fresh one.
    pub fn random() -> Self {
        Self(random())
    }

    /// The text to keep it as.
    fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for MasterKey {
    type Err = InvalidMasterKey;

    fn from_str(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidMasterKey);
        }
        let mut key = [0; 32];
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| InvalidMasterKey)?;
        }
        Ok(Self(key))
    }
}

/// Never shows the key.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Seals and opens secrets of one purpose. Clones share the key.
#[derive(Clone)]
pub struct Seal {
    key: Arc<LessSafeKey>,
}

/// What was sealed does not open: it was changed, belongs to something else, or another master key sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret does not open")]
pub struct Broken;

impl Seal {
    /// The seal for one purpose.
    pub fn new(master: &MasterKey, purpose: &str) -> Self {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"updraft seal").extract(&master.0);
        let info = [purpose.as_bytes()];
        let expanded = extracted.expand(&info, &AES_256_GCM).expect("a key is shorter than HKDF can give");
        Self { key: Arc::new(LessSafeKey::new(UnboundKey::from(expanded))) }
    }

    /// Seals a secret, which then opens only for the same `identity` (such as `access-key:ACCOUNT:ID`). 29 bytes longer
    /// than the secret.
    pub fn seal(&self, identity: &str, secret: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let mut text = secret.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(identity), &mut text)
            .expect("a secret is shorter than AES-GCM can take");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        sealed
    }

    /// The secret that was sealed for `identity`.
    pub fn open(&self, identity: &str, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let [FORMAT, rest @ ..] = sealed else { return Err(Broken) };
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Broken)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(identity), &mut text).map_err(|_| Broken)?.len();
        text.truncate(length);
        Ok(text)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// The master key of a data directory, before its database is opened: `Some` if the directory has one already, and then
/// it is the right one. Changes nothing.
pub(crate) fn known(directory: &Path, given: Option<MasterKey>) -> Result<Option<MasterKey>, Error> {
    let path = directory.join(FILE);
    let key = match given {
        Some(key) => Some(key),
        None => read(&path)?,
    };
    let Some(proof) = proof(&directory.join(schema::PLATFORM.file)) else { return Ok(key) };
    let Some(key) = key else { return Err(Error::MasterKeyMissing { path }) };
    match prover(&key).open("proof", &proof) {
        Ok(_) => Ok(Some(key)),
        Err(Broken) => Err(Error::MasterKeyWrong { directory: directory.to_owned() }),
    }
}

/// The master key of a directory whose database is open: the one known, or a fresh one that is now on disk. From here on
/// the directory opens with this key alone.
pub(crate) fn settle(directory: &Path, known: Option<MasterKey>) -> Result<MasterKey, Error> {
    let key = match known {
        Some(key) => key,
        None => make(directory)?,
    };
    let path = directory.join(schema::PLATFORM.file);
    let failed = |error: rusqlite::Error| Error::database(&path, error.into());
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.busy_timeout(crate::database::BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let sql = "INSERT INTO master_key (one, proof) VALUES (1, ?1) ON CONFLICT DO NOTHING";
    if proof(&path).is_none() {
        connection.execute(sql, [prover(&key).seal("proof", PROOF)]).map_err(failed)?;
    }
    Ok(key)
}

fn prover(key: &MasterKey) -> Seal {
    Seal::new(key, "proof")
}

/// What the database keeps of the master key, if there is a database that does. What is wrong with one is for its
/// opening to say.
fn proof(path: &Path) -> Option<Vec<u8>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    connection.busy_timeout(crate::database::BUSY_TIMEOUT).ok()?;
    connection.query_row("SELECT proof FROM master_key", (), |row| row.get(0)).optional().ok()?
}

fn read(path: &Path) -> Result<Option<MasterKey>, Error> {
    let failed = |source| Error::io(path, source);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others than its owner may read the master key: chmod 600 it");
    }
    let invalid = || Error::MasterKeyInvalid { path: path.to_owned() };
    if metadata.len() > FILE_BYTES_MAX {
        return Err(invalid());
    }
    let bytes = fs::read(path).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?;
    text.parse().map(Some).map_err(|_| invalid())
}

/// Makes the file: whole, and on disk, before its name is there.
fn make(directory: &Path) -> Result<MasterKey, Error> {
    let (path, half) = (directory.join(FILE), directory.join("master.key.new"));
    let key = MasterKey::random();
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        writeln!(file, "{}", key.to_text())?;
        file.sync_all()?;
        fs::rename(&half, &path)
    };
    write().map_err(|error| Error::io(&path, error))?;
    open::sync_directory(directory)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_own_purpose_and_identity_alone() {
        let master = MasterKey::random();
        let seal = Seal::new(&master, "keys");
        let sealed = seal.seal("key:1", b"secret");
        assert_eq!(sealed.len(), 6 + 29);
        assert_eq!(seal.open("key:1", &sealed).as_deref(), Ok(&b"secret"[..]));
        assert_eq!(seal.open("key:2", &sealed), Err(Broken));
        assert_eq!(Seal::new(&master, "sessions").open("key:1", &sealed), Err(Broken));
        assert_eq!(Seal::new(&MasterKey::random(), "keys").open("key:1", &sealed), Err(Broken));
        assert_ne!(seal.seal("key:1", b"secret"), sealed);
    }

    #[test]
    fn any_change_breaks_the_seal() {
        let seal = Seal::new(&MasterKey::random(), "keys");
        let sealed = seal.seal("key:1", b"secret");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(seal.open("key:1", &changed), Err(Broken), "byte {index}");
            assert_eq!(seal.open("key:1", &sealed[..index]), Err(Broken), "cut at {index}");
        }
    }

    #[test]
    fn a_master_key_is_its_text_and_shows_itself_to_nobody() {
        let key = MasterKey::random();
        assert_eq!(format!("{}\n", key.to_text()).parse(), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<MasterKey>(), Err(InvalidMasterKey), "{bad}");
        }
    }
}
