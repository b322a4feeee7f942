//! What a decision costs: 100 identity policies of five statements, a boundary, a session policy and a resource's.
//!
//! `cargo run --release -p updraft-engine --example policy_cost` prints p50 and p99 in microseconds, for an answer that
//! the first policy gives, one that the last gives, and one that none does.

#![expect(clippy::disallowed_types, reason = "it measures")]

use std::{hint::black_box, time::Instant};

use updraft_engine::policy::{Context, Decision, Document, Kind, Policies, Policy, Principal, Request, decide};

const POLICIES: usize = 100;
const ROUNDS: usize = 20_000;

fn identity(number: usize) -> String {
    let statement = |sid: &str, action: &str, resource: String, condition: &str| {
        format!(r#"{{"Sid":"{sid}","Effect":"Allow","Action":{action},"Resource":"{resource}"{condition}}}"#)
    };
    let arn = |kind: &str| format!("arn:aws:{kind}:eu-west-1:111122223333:{number}");
    let conditions =
        r#","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-west-1"},"Bool":{"aws:SecureTransport":true}}"#;
    let statements = [
        statement("logs", r#"["logs:CreateLogStream","logs:PutLogEvents"]"#, format!("{}:*", arn("logs")), ""),
        statement("read", r#"["s3:Get*","s3:List*"]"#, format!("arn:aws:s3:::homes/${{aws:username}}/{number}/*"), ""),
        statement("queue", r#""sqs:*""#, arn("sqs"), conditions),
        statement("call", r#"["lambda:InvokeFunction","lambda:Get*"]"#, format!("{}-*", arn("lambda")), conditions),
        r#"{"Sid":"never","Effect":"Deny","Action":["iam:*","lambda:Delete*"],"NotResource":"arn:aws:iam::111122223333:role/x*"}"#
            .to_owned(),
    ];
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

fn main() {
    let parse = |text: &str, kind| Document::parse(text, kind, 20_480).expect("a valid policy");
    let started = Instant::now();
    let documents: Vec<Document> = (0..POLICIES).map(|number| parse(&identity(number), Kind::Identity)).collect();
    println!("parsing one policy: {:.1} µs", started.elapsed().as_secs_f64() * 1e6 / POLICIES as f64);
    let all =
        parse(r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#, Kind::Identity);
    let resource = parse(
        r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"lambda:*","Resource":"*"}}"#,
        Kind::Resource,
    );
    let identity: Vec<Policy<'_>> = documents.iter().map(|document| Policy { name: "identity", document }).collect();
    let session = [Policy { name: "session", document: &all }];
    let policies = Policies {
        identity: &identity,
        boundary: Some(Policy { name: "boundary", document: &all }),
        session: &session,
        resource: Some(Policy { name: "resource", document: &resource }),
        ..Policies::default()
    };
    let principal = Principal::Session {
        account: "111122223333".into(),
        arn: "arn:aws:sts::111122223333:assumed-role/runner/one".into(),
        role_arn: "arn:aws:iam::111122223333:role/runner".into(),
        role_id: "AROA1".into(),
    };
    let context = Context::new()
        .with("aws:RequestedRegion", "eu-west-1")
        .with("aws:SecureTransport", "true")
        .with("aws:username", "ada")
        .with("aws:SourceIp", "192.0.2.7")
        .with("aws:CurrentTime", "2026-11-27T01:02:03Z");
    for (what, action, resource, is_allowed) in [
        ("allowed by the first policy", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:111122223333:0-a", true),
        ("allowed by the last policy", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:111122223333:99-a", true),
        ("allowed by none", "lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:111122223333:function:x", false),
        ("allowed by the last policy, a variable in each", "s3:GetObject", "arn:aws:s3:::homes/ada/99/x", true),
    ] {
        let request =
            Request { principal: &principal, action, resource, resource_account: "111122223333", context: &context };
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                let decision = decide(black_box(&request), black_box(&policies));
                let elapsed = started.elapsed().as_secs_f64() * 1e6;
                assert_eq!(matches!(decision, Decision::Allow { .. }), is_allowed, "{what}");
                elapsed
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{what}: p50 {:.1} µs, p99 {:.1} µs", times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
    }
}
