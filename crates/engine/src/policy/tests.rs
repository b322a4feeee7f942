//! Cases of the evaluation logic (`tests/cases.json`), of each operator and of what parsing refuses; invariants over random
//! policies in `invariants`.

mod bound;
mod conditions;
mod documents;
mod invariants;
mod patterns;

use serde_json::{Value, json};

use super::*;

const ADA: &str = "111122223333";

fn principal(kind: &str) -> Principal {
    let account = ADA.to_owned();
    match kind {
        "root" => Principal::Root { account },
        "user" => Principal::User { account, arn: "arn:aws:iam::111122223333:user/ada".into(), id: "AIDA1".into() },
        "session" => Principal::Session {
            account,
            arn: "arn:aws:sts::111122223333:assumed-role/runner/one".into(),
            role_arn: "arn:aws:iam::111122223333:role/service/runner".into(),
            role_id: "AROA1".into(),
        },
        "service" => Principal::Service("events.amazonaws.com".into()),
        "anonymous" => Principal::Anonymous,
        other => panic!("no principal {other}"),
    }
}

/// A document of `statements`, which is a list.
fn document(statements: &Value, kind: Kind) -> Document {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    Document::parse(&text, kind, 20_480).unwrap_or_else(|error| panic!("{error} ({}): {text}", error.detail()))
}

fn documents(list: &Value) -> Vec<Document> {
    list.as_array().into_iter().flatten().map(|of| document(of, Kind::Identity)).collect()
}

fn named(documents: &[Document]) -> Vec<Policy<'_>> {
    documents.iter().map(|document| Policy { name: "p", document }).collect()
}

/// `allow`, `deny SOURCE SID`, or `no SOURCE`.
fn told(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Allow { .. } => "allow".to_owned(),
        Decision::ExplicitDeny(found) => {
            format!("deny {} {}", found.source, found.sid.unwrap_or_default()).trim_end().to_owned()
        }
        Decision::ImplicitDeny(Lacking(source)) => format!("no {source}"),
    }
}

#[test]
fn policies_add_up_as_in_iam() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("tests/cases.json")).unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let text = |name: &str, default: &str| case[name].as_str().unwrap_or(default).to_owned();
        let is_trust = case["kind"] == "trust";
        let identity = documents(&case["identity"]);
        let session = documents(&case["session"]);
        let one = |name: &str, kind| case.get(name).map(|of| document(of, kind));
        let boundary = one("boundary", Kind::Identity);
        let resource = one("policy", if is_trust { Kind::Trust } else { Kind::Resource });
        let mut context = Context::new();
        for (key, value) in case["context"].as_object().into_iter().flatten() {
            context = context.with(key, value.as_str().unwrap());
        }
        let asker = principal(&text("principal", "user"));
        let request = Request {
            principal: &asker,
            action: &text("action", "lambda:InvokeFunction"),
            resource: &text("resource", "arn:aws:lambda:eu-west-1:111122223333:function:hello"),
            resource_account: &text("account", ADA),
            context: &context,
        };
        let policies = Policies {
            identity: &named(&identity),
            boundary: boundary.as_ref().map(|document| Policy { name: "boundary", document }),
            session: &named(&session),
            resource: resource.as_ref().map(|document| Policy { name: "resource", document }),
            resource_rule: if is_trust { ResourceRule::Required } else { ResourceRule::Either },
        };
        assert_eq!(told(&decide(&request, &policies)), case["expect"], "{}", case["name"]);
    }
}

#[test]
fn a_document_in_the_wrong_place_says_nothing() {
    let identity = document(&json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]), Kind::Identity);
    let resource =
        document(&json!([{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]), Kind::Resource);
    let (asker, context) = (principal("user"), Context::new());
    let request = Request { principal: &asker, action: "a:b", resource: "*", resource_account: ADA, context: &context };
    let swapped = Policies {
        identity: &[Policy { name: "p", document: &resource }],
        resource: Some(Policy { name: "p", document: &identity }),
        ..Policies::default()
    };
    assert!(!decide(&request, &swapped).is_allowed());
}

#[test]
fn a_decision_says_why() {
    let identity = documents(&json!([[
        {"Sid": "Far", "Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b"},
        {"Sid": "Near", "Effect": "Allow", "Action": "lambda:*", "Resource": "arn:aws:lambda:*:*:function:hello",
            "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}},
        {"Sid": "Middle", "Effect": "Allow", "Action": "lambda:*", "Resource": "arn:aws:s3:::${aws:username}",
            "Condition": {"Bool": {"aws:SecureTransport": true}}},
    ]]));
    let (asker, context) = (principal("user"), Context::new().with("aws:requestedregion", "us-east-1"));
    let request = Request {
        principal: &asker,
        action: "lambda:GetFunction",
        resource: "arn:aws:lambda:eu-west-1:111122223333:function:hello",
        resource_account: ADA,
        context: &context,
    };
    let of = named(&identity);
    let policies = Policies { identity: &of, ..Policies::default() };
    let decision = decide(&request, &policies);
    let because = "because no identity-based policy allows the lambda:GetFunction action";
    assert_eq!(decision.because(request.action), because);
    let told: Vec<String> = near_misses(&request, &policies, 8)
        .iter()
        .map(|miss| {
            let missed: Vec<_> = miss.missed.iter().map(ToString::to_string).collect();
            format!("{}: {}", miss.statement.sid.unwrap_or_default(), missed.join("; "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "Near: StringEquals aws:RequestedRegion [eu-west-1]: the request has us-east-1",
            "Middle: ${aws:username} has no value in this request; \
             Bool aws:SecureTransport [true]: the request has no aws:SecureTransport",
            "Far: the action is not covered by s3:*; the resource is not covered by arn:aws:s3:::b",
        ]
    );
    assert_eq!(near_misses(&request, &policies, 1).len(), 1);
    let denying = documents(&json!([[{"Effect": "Deny", "Action": "*", "Resource": "*"}]]));
    let of = named(&denying);
    let decision = decide(&request, &Policies { identity: &of, ..Policies::default() });
    assert_eq!(decision.because(request.action), "with an explicit deny in an identity-based policy");
}

#[test]
fn a_policy_is_open_if_nothing_but_known_keys_decide() {
    let known = Context::new().with("lambda:FunctionUrlAuthType", "NONE");
    let allow = |resource: &str, condition: Value| {
        json!({"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl", "Resource": resource,
            "Condition": condition})
    };
    let of_none = allow("arn:aws:s3:::f", json!({"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}));
    let deny = |action: &str| json!({"Effect": "Deny", "Principal": {"AWS": ADA}, "Action": action, "Resource": "*"});
    let from = |address: &str| json!({"IpAddress": {"aws:SourceIp": address}});
    for (statements, expected) in [
        (json!([of_none]), true),
        (json!([of_none, deny("s3:*")]), true),
        (json!([allow("arn:aws:s3:::f", from("0.0.0.0/0")), allow("*", json!({}))]), true),
        (json!([allow("arn:aws:s3:::f", from("0.0.0.0/0"))]), false),
        (json!([of_none, deny("lambda:*")]), false),
        (json!([allow("arn:aws:s3:::g", json!({}))]), false),
        (json!([allow("arn:aws:s3:::f", json!({"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}))]), false),
        (json!([allow("arn:aws:s3:::${aws:PrincipalTag/of, 'f'}", json!({}))]), false),
        (json!([allow("arn:aws:s3:::f", json!({"Null": {"aws:SourceVpc": "true"}}))]), false),
    ] {
        let policy = document(&statements, Kind::Resource);
        assert_eq!(policy.is_open("lambda:InvokeFunctionUrl", "arn:aws:s3:::f", &known), expected, "{statements}");
    }
}
