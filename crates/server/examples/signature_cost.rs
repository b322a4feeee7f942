//! What verifying a signature adds to an invoke: `cargo run -p updraft-server --example signature_cost`.
//!
//! A request as boto3 sends it, verified again and again on one thread: reading what it presents, hashing the body,
//! the canonical request and the comparison. Prints microseconds per verification, with the derived key remembered
//! and without, for three sizes of payload.

use std::{hint::black_box, time::Instant};

use http::Request;
use updraft_server::signature::{Head, Keys, Presented, Scope, SigningKey, sha256};
use updraft_types::Timestamp;

const ROUNDS: usize = 20_000;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TARGET: &str = "/2015-03-31/functions/my-function/invocations";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE";

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An invoke with the headers that boto3 sends, signed.
fn invoke(body: &[u8]) -> Request<()> {
    let scope = Scope { day: "20260301".into(), region: "us-east-1".into(), service: "lambda".into() };
    let list = "host;x-amz-date;x-amz-security-token";
    let canonical = format!(
        "POST\n{TARGET}\n\nhost:localhost:4566\nx-amz-date:20260301T120000Z\nx-amz-security-token:{TOKEN}\n\n{list}\n{}",
        hex(sha256(body))
    );
    let text = format!("AWS4-HMAC-SHA256\n20260301T120000Z\n{scope}\n{}", hex(sha256(canonical.as_bytes())));
    let signature = hex(SigningKey::derive(SECRET, &scope).sign(text.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{scope}, SignedHeaders={list}, Signature={signature}"
    );
    Request::post(TARGET)
        .header("host", "localhost:4566")
        .header("accept-encoding", "identity")
        .header("user-agent", "Boto3/1.44 md/Botocore ua/2.1 lang/python")
        .header("x-amz-date", "20260301T120000Z")
        .header("x-amz-security-token", TOKEN)
        .header("authorization", authorization)
        .header("amz-sdk-invocation-id", "2626a6cc-d7f4-42a2-99eb-657d1195d728")
        .header("amz-sdk-request", "attempt=1; max=3")
        .header("content-length", body.len())
        .body(())
        .expect("it is a request")
}

fn verify(request: &Request<()>, body: &[u8], keys: &Keys) {
    let head = Head::from(request);
    let presented = Presented::read(black_box(head)).ok().flatten().expect("it presents credentials");
    let now = Timestamp::from_ms(1_772_366_400_000);
    presented.verify(head, SECRET, &sha256(black_box(body)), now, keys).expect("it is signed");
}

fn main() {
    println!("{:>10}  {:>12}  {:>8}  {:>8}", "payload", "key", "p50 µs", "p99 µs");
    for bytes in [64, 6 << 10, 256 << 10] {
        let body = vec![b'x'; bytes];
        let request = invoke(&body);
        let rounds = if bytes > 64 << 10 { ROUNDS / 20 } else { ROUNDS };
        for is_remembered in [true, false] {
            let shared = Keys::default();
            let mut times: Vec<_> = (0..rounds)
                .map(|_| {
                    let fresh = (!is_remembered).then(Keys::default);
                    let started = Instant::now();
                    verify(&request, &body, fresh.as_ref().unwrap_or(&shared));
                    started.elapsed()
                })
                .collect();
            times.sort_unstable();
            let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
            let key = if is_remembered { "remembered" } else { "derived" };
            println!("{:>8} B  {key:>12}  {:>8.1}  {:>8.1}", bytes, at(50), at(99));
        }
    }
}
