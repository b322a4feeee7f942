//! What protects requests on their way, from the settings: certificate files, a certificate of our own for trying out,
//! or a proxy's word.
//!
//! A certificate of our own is made once and kept in the data directory, so that who has come to trust it stays with it.
//! Files are read again when they change, so that a renewed certificate needs no restart.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::IpAddr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use updraft_server::{Tls, Transport};

use crate::config::{Config, TlsSource};

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The transport that the settings ask for, and what keeps it up to date. `directory` is the data directory.
pub fn transport(config: &Config, directory: &Path) -> anyhow::Result<(Transport, Option<Watch>)> {
    let (certificate, key) = match &config.tls {
        TlsSource::Off => return Ok((Transport::Plain, None)),
        TlsSource::Proxy => return Ok((Transport::Proxy, None)),
        TlsSource::Files { certificate, key } => (certificate.clone(), key.clone()),
        TlsSource::Generated => {
            let folder = directory.join("tls");
            let (certificate, key) = (generated(directory), folder.join("key.pem"));
            if !certificate.exists() || !key.exists() {
                fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
                generate(config, &certificate, &key)?;
            }
            (certificate, key)
        }
    };
    let loaded = (Stamp::of(&certificate), Stamp::of(&key));
    let tls = Tls::from_pem(&read(&certificate)?, &read(&key)?)
        .with_context(|| format!("{} and {} cannot be used", certificate.display(), key.display()))?;
    Ok((Transport::Tls(tls.clone()), Some(Watch { tls, certificate, key, loaded })))
}

/// Where the certificate that is made here lies.
pub fn generated(directory: &Path) -> PathBuf {
    directory.join("tls/certificate.pem")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self { inode: found.ino(), bytes: found.len(), changed: (found.ctime(), found.ctime_nsec()) })
    }
}

/// Certificate files, and who shows what they hold.
pub struct Watch {
    tls: Tls,
    certificate: PathBuf,
    key: PathBuf,
    loaded: (Option<Stamp>, Option<Stamp>),
}

impl Watch {
    /// Looks at the files until it is dropped, and shows what they have come to hold. Files that cannot be used, or are gone,
    /// leave the certificate that is shown in its place; the log says so, once for each change.
    pub async fn run(mut self) {
        let mut seen = self.loaded;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = (Stamp::of(&self.certificate), Stamp::of(&self.key));
            // Two looks alike: whoever writes the two files has done so.
            if now != self.loaded && now == seen {
                self.loaded = now;
                self.load();
            }
            seen = now;
        }
    }

    fn load(&self) {
        let shown = self.certificate.display();
        let loaded = read(&self.certificate).and_then(|certificate| {
            self.tls.replace(&certificate, &read(&self.key)?)?;
            Ok(())
        });
        match loaded {
            Ok(()) => tracing::info!(certificate = %shown, "the certificate was read again"),
            Err(error) => tracing::warn!(certificate = %shown, "the certificate stays as it was: {error:#}"),
        }
    }
}

/// Makes a certificate for this machine's names on itself and the address listened on.
fn generate(config: &Config, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let mut names = vec!["localhost".to_owned(), format!("*.lambda-url.{}.localhost", config.region)];
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    let listen: IpAddr = config.listen.ip();
    if !listen.is_unspecified() && !listen.is_loopback() {
        names.push(listen.to_string());
    }
    let made = match rcgen::generate_simple_self_signed(names) {
        Ok(made) => made,
        Err(error) => bail!("a certificate could not be made: {error}"),
    };
    write(key, 0o600, &made.signing_key.serialize_pem())?;
    write(certificate, 0o644, &made.cert.pem())
}

fn write(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    written.with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Mode, layers::Sources, settings::Flags};

    fn config(tls: TlsSource) -> Config {
        let (environment, flags) = (Default::default(), Flags::default());
        let sources = Sources { file: None, environment: &environment, flags: &flags };
        Config { tls, ..Config::load(Mode::Serve, &sources).unwrap().0 }
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let made = || transport(&config(TlsSource::Generated), directory.path()).unwrap().0;
        assert!(matches!(made(), Transport::Tls(_)));
        let (certificate, key) = (directory.path().join("tls/certificate.pem"), directory.path().join("tls/key.pem"));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read(&certificate).unwrap();
        made();
        assert_eq!(fs::read(&certificate).unwrap(), first);
        let files = TlsSource::Files { certificate: certificate.clone(), key: key.clone() };
        assert!(matches!(transport(&config(files), directory.path()).unwrap().0, Transport::Tls(_)));
        let exchanged = TlsSource::Files { certificate: key, key: certificate };
        let error = transport(&config(exchanged), directory.path()).err().unwrap();
        assert!(format!("{error:#}").contains("not PEM, or holds no"), "{error:#}");
        let missing = TlsSource::Files { certificate: "/nowhere/c".into(), key: "/nowhere/k".into() };
        assert!(transport(&config(missing), directory.path()).err().unwrap().to_string().contains("/nowhere/c"));
    }
}
