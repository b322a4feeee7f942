//! What verifying a signature adds to a warm invoke: two platforms, one that verifies and one told not to, in turns.
//!
//! Requests are signed once for each turn, well within the time that a signature counts, so that both sides send bytes that
//! are ready.

use std::path::Path;

use anyhow::{Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{
    http1,
    load::{self, Shape, Target},
    package::Kind,
    plan::Plan,
    platform::{Function, Platform, Site},
    results::ScaleRow,
};

const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "bench-bench-bench-bench-bench-bench-bench";
const NAME: &str = "signed";

/// The p50 over one connection of both, ms.
pub(crate) fn measure(site: &Site, plan: &Plan, scratch: &Path) -> Result<Vec<ScaleRow>> {
    let folders = ["off", "required"].map(|name| scratch.join(name));
    for folder in &folders {
        std::fs::create_dir_all(folder)?;
        let platform = Platform::start(site, folder)?;
        platform.deploy(&[Function { name: NAME.to_owned(), kind: Kind::Wasm, number: 0 }])?;
        platform.end()?;
    }
    let open = Platform::start(site, &folders[0])?;
    let keys = [
        ("UPDRAFT_AUTHENTICATION", "required"),
        ("UPDRAFT_ROOT_ACCESS_KEY_ID", KEY_ID),
        ("UPDRAFT_ROOT_SECRET_ACCESS_KEY", SECRET),
    ];
    let closed = Platform::start_with(site, &folders[1], &keys)?;
    let mut unverified = ScaleRow::new("unsigned-invoke", "wasm, Invoke without verification, p50", "ms");
    let mut verified = ScaleRow::new("signed-invoke", "the same with every signature verified, p50", "ms");
    for _ in 0..plan.rounds {
        for (row, target) in [(&mut unverified, signed(&open)?), (&mut verified, signed(&closed)?)] {
            let sample = load::run(&target, Shape { connections: 1, warmup: plan.warmup, measured: plan.measured })?;
            let first = sample.first_error.as_deref().unwrap_or_default();
            ensure!(sample.errors == 0, "{} of the requests failed, the first: {first}", sample.errors);
            row.values.push(sample.latency_ns.value_at_quantile(0.5) as f64 / 1e6);
        }
    }
    open.end()?;
    closed.end()?;
    Ok(vec![unverified.told(), verified.told()])
}

/// An Invoke with the event `{}`, signed as AWS Signature Version 4 has it.
fn signed(platform: &Platform<'_>) -> Result<Target> {
    const BODY: &[u8] = b"{}";
    let (address, now) = (platform.address(), jiff::Timestamp::now());
    let (time, date) = (now.strftime("%Y%m%dT%H%M%SZ").to_string(), now.strftime("%Y%m%d").to_string());
    let path = format!("/2015-03-31/functions/{NAME}/invocations");
    let scope = format!("{date}/us-east-1/lambda/aws4_request");
    let canonical =
        format!("POST\n{path}\n\nhost:{address}\nx-amz-date:{time}\n\nhost;x-amz-date\n{}", hex(&Sha256::digest(BODY)));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').try_fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part))?;
    let signature = hex(&mac(&key, &text)?);
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}");
    let headers = [("authorization", authorization.as_str()), ("x-amz-date", &time)];
    let request = http1::request("POST", &path, address, &headers, BODY);
    Ok(Target { request, ..platform.invoke(NAME, Kind::Wasm) })
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
