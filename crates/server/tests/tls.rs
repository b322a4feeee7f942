//! The doors over TLS: both HTTP versions by ALPN, signed requests, and clients that do not get so far.

#![expect(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

mod platform;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use platform::Platform;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, crypto,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use updraft_server::{Tls, TlsError, Transport};

/// A platform with a certificate, and that certificate.
async fn start() -> (Platform, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    (Platform::start_with(|config| config.transport = Transport::Tls(tls)).await, certificate)
}

async fn connect(platform: &Platform, trusted: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(platform.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_connections_stay() {
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (first, second) = (make(), make());
    let pem = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| (made.cert.pem(), made.signing_key.serialize_pem());
    let ((old, old_key), (new, new_key)) = (pem(&first), pem(&second));
    let tls = Tls::from_pem(old.as_bytes(), old_key.as_bytes()).unwrap();
    let shown = tls.clone();
    let platform = Platform::start_with(|config| config.transport = Transport::Tls(shown)).await;
    let stream = connect(&platform, &old, &["http/1.1"]).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    // A key that is not the certificate's changes nothing.
    assert!(tls.replace(new.as_bytes(), old_key.as_bytes()).is_err());
    assert!(tls.replace(b"", new_key.as_bytes()).is_err());
    connect(&platform, &old, &[]).await.unwrap();
    tls.replace(new.as_bytes(), new_key.as_bytes()).unwrap();
    assert!(connect(&platform, &old, &[]).await.is_err());
    connect(&platform, &new, &[]).await.unwrap();
    let request = Request::get("/healthz").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 200);
    drop(client);
    connection.await.unwrap().unwrap();
    platform.stop().await;
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let (platform, certificate) = start().await;
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = connect(&platform, &certificate, alpn).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("/healthz").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), 200);
        drop(client);
        connection.await.unwrap().unwrap();
    }
    let stream = connect(&platform, &certificate, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/healthz").body(Empty::<Bytes>::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.into_body().collect().await.unwrap().to_bytes().starts_with(b"{"));
    drop(client);
    connection.await.unwrap().unwrap();
    platform.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_gets_no_answer() {
    let (platform, certificate) = start().await;
    let mut plain = TcpStream::connect(platform.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    assert!(connect(&platform, &stranger, &["h2"]).await.is_err());
    assert!(connect(&platform, &certificate, &["spdy/1"]).await.is_err());
    assert!(connect(&platform, &certificate, &["h2"]).await.is_ok(), "others are served as before");
    platform.stop().await;
}

#[test]
fn files_that_are_no_certificate_are_told_apart() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().signing_key.serialize_pem();
    let refused = |certificate: &str, key: &str| Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(refused("", &key), TlsError::Certificate));
    assert!(matches!(refused(&key, &key), TlsError::Certificate));
    assert!(matches!(refused(&certificate, &certificate), TlsError::Key));
    assert!(matches!(refused(&certificate, &other), TlsError::Unusable(_)));
}
