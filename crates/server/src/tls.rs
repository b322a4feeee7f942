//! TLS at the doors: a certificate with its key, HTTP/2 and HTTP/1.1 by ALPN. rustls with ring, TLS 1.2 and 1.3.
//!
//! The certificate can be exchanged for its successor while the doors are open: who connects from then on sees the new one,
//! and connections that are there keep theirs.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("the certificate is not PEM, or holds no certificate")]
    Certificate,
    /// The key file.
    #[error("the key is not PEM, or holds no private key")]
    Key,
    /// The two together.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] tokio_rustls::rustls::Error),
}

/// A certificate that the doors show. Clones share it, and what is put in its place.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From PEM texts: the server's certificate with those that vouch for it after it, and its private key.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(read(certificates, key)?))))
    }

    /// Shows another certificate from now on; everything stays as it is if that cannot be used.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.0.store(Arc::new(read(certificates, key)?));
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn read(certificates: &[u8], key: &[u8]) -> Result<ServerConfig, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What protects requests on their way.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Nothing; loopback addresses only.
    Plain,
    /// TLS, here.
    Tls(Tls),
    /// A proxy in front of this process, which is the only one to reach it and speaks plain HTTP with it.
    Proxy,
}

impl Transport {
    /// How clients see it: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Transport::Plain => "http",
            Transport::Tls(_) | Transport::Proxy => "https",
        }
    }
}
