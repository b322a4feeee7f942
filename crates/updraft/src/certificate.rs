//! What protects requests on their way, from the settings: certificate files, a certificate of our own for trying out,
//! or a proxy's word.
//!
//! A certificate of our own is made once and kept in the data directory, so that who has come to trust it stays with it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, bail};
use updraft_server::{Tls, Transport};

use crate::config::{Config, TlsSource};

/// The transport that the settings ask for. `directory` is the data directory.
pub fn transport(config: &Config, directory: &Path) -> anyhow::Result<Transport> {
    let (certificate, key) = match &config.tls {
        TlsSource::Off => return Ok(Transport::Plain),
        TlsSource::Proxy => return Ok(Transport::Proxy),
        TlsSource::Files { certificate, key } => (certificate.clone(), key.clone()),
        TlsSource::Generated => {
            let folder = directory.join("tls");
            let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
            if !certificate.exists() || !key.exists() {
                fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
                generate(config, &certificate, &key)?;
            }
            (certificate, key)
        }
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    let tls = Tls::from_pem(&read(&certificate)?, &read(&key)?)
        .with_context(|| format!("{} and {} cannot be used", certificate.display(), key.display()))?;
    Ok(Transport::Tls(tls))
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
        let made = || transport(&config(TlsSource::Generated), directory.path()).unwrap();
        assert!(matches!(made(), Transport::Tls(_)));
        let (certificate, key) = (directory.path().join("tls/certificate.pem"), directory.path().join("tls/key.pem"));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read(&certificate).unwrap();
        made();
        assert_eq!(fs::read(&certificate).unwrap(), first);
        let files = TlsSource::Files { certificate: certificate.clone(), key: key.clone() };
        assert!(matches!(transport(&config(files), directory.path()).unwrap(), Transport::Tls(_)));
        let exchanged = TlsSource::Files { certificate: key, key: certificate };
        let error = transport(&config(exchanged), directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("not PEM, or holds no"), "{error:#}");
        let missing = TlsSource::Files { certificate: "/nowhere/c".into(), key: "/nowhere/k".into() };
        assert!(transport(&config(missing), directory.path()).unwrap_err().to_string().contains("/nowhere/c"));
    }
}
