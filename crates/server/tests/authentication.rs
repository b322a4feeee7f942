//! The doors where requests have to be signed, over real connections: who gets in, and what the others hear.

#![expect(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

mod platform;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use platform::{Answer, Platform};
use serde_json::json;
use updraft_server::{Authentication, RootKey};

const FUNCTIONS: &str = "/2015-03-31/functions";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// How a request is signed.
#[derive(Clone)]
struct Signer {
    key: &'static str,
    secret: &'static str,
    token: Option<String>,
    service: &'static str,
    at: SystemTime,
    host: String,
    expires_in: Option<Duration>,
}

impl Signer {
    fn root(platform: &Platform) -> Self {
        let host = platform.address.to_string();
        Self { key: KEY, secret: SECRET, token: None, service: "lambda", at: SystemTime::now(), host, expires_in: None }
    }

    /// The target and headers to send.
    fn sign(&self, method: &str, target: &str, body: &str) -> (String, Vec<(String, String)>) {
        let mut settings = SigningSettings::default();
        if self.expires_in.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = self.expires_in;
        }
        let identity = Credentials::new(self.key, self.secret, self.token.clone(), None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name(self.service)
            .time(self.at)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let url = format!("http://{}{target}", self.host);
        let signable =
            SignableRequest::new(method, &url, std::iter::empty(), SignableBody::Bytes(body.as_bytes())).unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        let mut request = http::Request::builder().method(method).uri(&url).body(()).unwrap();
        instructions.apply_to_request_http1x(&mut request);
        let headers = request.headers().iter();
        let mut headers: Vec<_> =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        headers.push(("host".into(), self.host.clone()));
        (request.uri().path_and_query().unwrap().to_string(), headers)
    }
}

async fn platform() -> Platform {
    Platform::start_with(|config| {
        config.authentication = Authentication::Required;
        config.root = Some(RootKey { access_key_id: KEY.into(), secret_access_key: SECRET.into() });
    })
    .await
}

async fn send(platform: &Platform, signer: &Signer, method: &str, target: &str, body: &str) -> Answer {
    let (target, headers) = signer.sign(method, target, body);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    platform.send(method, &target, &headers, body).await
}

/// Creates a function and waits until it runs.
async fn create(platform: &Platform, signer: &Signer) {
    let parameters = json!({
        "FunctionName": "hello",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Handler": "app.handler",
        "Code": { "ZipFile": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, platform::zip("app.py", b"x")) },
    });
    assert_eq!(send(platform, signer, "POST", FUNCTIONS, &parameters.to_string()).await.status, 201);
    for _ in 0..1_000 {
        let now = send(platform, signer, "GET", &format!("{FUNCTIONS}/hello/configuration"), "").await.json();
        if now["State"] == "Active" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("hello did not become active");
}

#[tokio::test]
async fn who_signs_gets_in_under_any_name() {
    let platform = platform().await;
    let root = Signer::root(&platform);
    create(&platform, &root).await;
    let invoke = format!("{FUNCTIONS}/hello/invocations");
    let invoked = send(&platform, &root, "POST", &invoke, "{\"a\": 1}").await;
    assert_eq!((invoked.status, invoked.header("x-amz-executed-version")), (200, "$LATEST"));
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(send(&platform, &root, "POST", &invoke, &large).await.status, 200);

    let elsewhere = Signer { host: "updraft.example.com".into(), ..root.clone() };
    assert_eq!(send(&platform, &elsewhere, "GET", FUNCTIONS, "").await.status, 200);
    let ahead = Signer { expires_in: Some(Duration::from_secs(60)), ..root.clone() };
    assert_eq!(send(&platform, &ahead, "GET", &format!("{FUNCTIONS}?MaxItems=3"), "").await.status, 200);
    let other = Signer { service: "sqs", ..root.clone() };
    assert_eq!(send(&platform, &other, "POST", "/", "").await.status, 501);
    platform.stop().await;
}

#[tokio::test]
async fn who_does_not_hears_why_as_aws_says_it() {
    let platform = platform().await;
    let root = Signer::root(&platform);
    let hour = Duration::from_secs(3_600);
    for (signer, code, text) in [
        (
            Signer { secret: "another", ..root.clone() },
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.",
        ),
        (
            Signer { key: "AKIAANOTHER", ..root.clone() },
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (
            Signer { token: Some("token".into()), ..root.clone() },
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (Signer { at: SystemTime::now() - hour, ..root.clone() }, "InvalidSignatureException", "Signature expired: "),
        (Signer { at: SystemTime::now() + hour, ..root.clone() }, "InvalidSignatureException", "Signature not yet"),
        (
            Signer { at: SystemTime::now() - hour, expires_in: Some(Duration::from_secs(60)), ..root.clone() },
            "RequestExpiredException",
            "Request has expired.",
        ),
    ] {
        for (method, target) in [("GET", FUNCTIONS), ("GET", "/_updraft/v1/functions/hello"), ("POST", "/nothing")] {
            let answer = send(&platform, &signer, method, target, "").await;
            assert_eq!((answer.status, answer.code()), (403, code), "{target}");
            assert!(answer.json()["message"].as_str().unwrap().starts_with(text), "{:?}", answer.body);
            assert!(!answer.header("x-amzn-requestid").is_empty());
        }
    }
    for (target, headers, code) in [
        (FUNCTIONS, &[][..], "MissingAuthenticationTokenException"),
        ("/_updraft/v1/functions/hello", &[][..], "MissingAuthenticationTokenException"),
        (
            "/_updraft/v1/code/hello?sha256=x&account=000000000000&until_ms=9999999999999&link=00",
            &[][..],
            "MissingAuthenticationTokenException",
        ),
        (FUNCTIONS, &[("authorization", "Bearer x")][..], "IncompleteSignatureException"),
        (FUNCTIONS, &[("authorization", "AWS4-HMAC-SHA256 Credential=x")][..], "IncompleteSignatureException"),
    ] {
        let answer = platform.send("GET", target, headers, "").await;
        assert_eq!((answer.status, answer.code()), (403, code), "{target} {headers:?}");
    }
    // A body that is refused unread leaves the connection in order.
    let answer = platform.send("POST", FUNCTIONS, &[], &"x".repeat(3 << 20)).await;
    assert_eq!((answer.status, answer.code()), (403, "MissingAuthenticationTokenException"));
    platform.stop().await;
}

#[tokio::test]
async fn a_body_on_the_way_is_not_exchanged() {
    let platform = platform().await;
    let (target, headers) = Signer::root(&platform).sign("POST", FUNCTIONS, "{\"FunctionName\":\"a\"}");
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = platform.send("POST", &target, &headers, "{\"FunctionName\":\"b\"}").await;
    assert_eq!((answer.status, answer.code()), (403, "InvalidSignatureException"));
    let answer = platform.send("POST", &target, &headers, "{\"FunctionName\":\"a\"}").await;
    assert_ne!(answer.status, 403, "the request itself is well signed");
    platform.stop().await;
}

#[tokio::test]
async fn what_needs_no_signature_is_little() {
    let platform = platform().await;
    let root = Signer::root(&platform);
    create(&platform, &root).await;
    let elsewhere = [("host", "updraft.example.com")];
    assert_eq!(platform.send("GET", "/healthz", &elsewhere, "").await.status, 200);
    assert_eq!(platform.get("/metrics").await.status, 200);
    assert_eq!(platform.send("GET", "/metrics", &elsewhere, "").await.status, 403);
    let page = [("origin", "https://evil.example")];
    assert_eq!(platform.send("GET", "/metrics", &page, "").await.status, 403);
    let asked = Signer { host: "updraft.example.com".into(), ..root.clone() };
    assert_eq!(send(&platform, &asked, "GET", "/metrics", "").await.status, 200);

    // The link to the code is a credential of its own, for that code alone.
    let got = send(&platform, &root, "GET", &format!("{FUNCTIONS}/hello"), "").await.json();
    let location = got["Code"]["Location"].as_str().unwrap();
    let link = location.strip_prefix(&format!("http://{}", platform.address)).unwrap();
    let code = platform.get(link).await;
    assert_eq!((code.status, code.body.starts_with(b"PK")), (200, true));
    assert_eq!(platform.get(&link.replace("/code/hello", "/code/other")).await.status, 403);
    assert_eq!(platform.get(link.split("&account").next().unwrap()).await.status, 403);
    platform.stop().await;
}
