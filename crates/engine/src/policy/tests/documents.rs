//! What parsing takes and what it refuses, in IAM's words.

use serde_json::{Value, json};

use super::super::{Document, Error, Kind, bytes_max};

fn refused(text: &str, kind: Kind) -> Error {
    match Document::parse(text, kind, 10_240) {
        Err(error) => error,
        Ok(_) => panic!("taken: {text}"),
    }
}

/// The message and the path for a document whose only statement is a good one with `changes`; null takes a member away.
fn refused_with(changes: &Value, kind: Kind) -> (String, String) {
    let mut statement = match kind {
        Kind::Identity => json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}),
        Kind::Resource => json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}),
        Kind::Trust => json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}),
    };
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(statement.as_object_mut().unwrap().remove(name)),
            value => statement[name] = value.clone(),
        }
    }
    let error = refused(&json!({"Version": "2012-10-17", "Statement": [statement]}).to_string(), kind);
    (error.to_string(), error.detail())
}

#[test]
fn statements_are_refused_in_iams_words() {
    let syntax = "Syntax errors in policy.";
    #[rustfmt::skip]
    let cases = [
        (Kind::Identity, json!({"Action": null}), "Policy statement must contain actions.", "Statement[0]"),
        (Kind::Identity, json!({"Action": []}), "Policy statement must contain actions.", "Statement[0]"),
        (Kind::Identity, json!({"Resource": null}), "Policy statement must contain resources.", "Statement[0]"),
        (Kind::Identity, json!({"Principal": "*"}), "Policy document should not specify a principal.", "Statement[0].Principal"),
        (Kind::Identity, json!({"NotPrincipal": "*"}), "Policy document should not specify a principal.", "Statement[0].NotPrincipal"),
        (Kind::Identity, json!({"Effect": null}), syntax, "Statement[0]"),
        (Kind::Identity, json!({"Effect": "allow"}), syntax, "Statement[0].Effect"),
        (Kind::Identity, json!({"Effect": 1}), syntax, "Statement[0].Effect"),
        (Kind::Identity, json!({"Bank": "x"}), syntax, "Statement[0].Bank"),
        (Kind::Identity, json!({"NotAction": "*"}), syntax, "Statement[0]."),
        (Kind::Identity, json!({"NotResource": "*"}), syntax, "Statement[0]."),
        (Kind::Identity, json!({"Action": 1}), syntax, "Statement[0].Action"),
        (Kind::Identity, json!({"Action": [["s3:*"]]}), syntax, "Statement[0].Action"),
        (Kind::Identity, json!({"Action": "s3:"}), syntax, "Statement[0].Action"),
        (Kind::Identity, json!({"Action": "GetObject"}), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", "Statement[0].Action"),
        (Kind::Identity, json!({"Action": "s3:a:b"}), "Actions/Condition can contain only one colon.", "Statement[0].Action"),
        (Kind::Identity, json!({"Action": "s3*:a"}), "Vendor s3* is not valid", "Statement[0].Action"),
        (Kind::Identity, json!({"Resource": "bucket"}), "Resource bucket must be in ARN format or \"*\".", "Statement[0].Resource"),
        (Kind::Identity, json!({"Resource": "arn:gcp:s3:::b"}), "Partition \"gcp\" is not valid for resource \"arn:gcp:s3:::b\".", "Statement[0].Resource"),
        (Kind::Identity, json!({"Resource": "arn:aws:s3"}), "Resource vendor must be fully qualified and cannot contain regexes.", "Statement[0].Resource"),
        (Kind::Identity, json!({"Resource": "arn:aws:*:::b"}), "Resource vendor must be fully qualified and cannot contain regexes.", "Statement[0].Resource"),
        (Kind::Identity, json!({"Resource": "arn:aws:s3:::${b"}), syntax, "Statement[0].Resource"),
        (Kind::Identity, json!({"Sid": "a b"}), "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*", "Statement[0].Sid"),
        (Kind::Identity, json!({"Sid": 7}), syntax, "Statement[0].Sid"),
        (Kind::Identity, json!({"Condition": []}), syntax, "Statement[0].Condition"),
        (Kind::Identity, json!({"Condition": {"Bool": "x"}}), syntax, "Statement[0].Condition.Bool"),
        (Kind::Resource, json!({"Principal": null}), "Missing required field Principal", "Statement[0]"),
        (Kind::Resource, json!({"Principal": {}}), "Missing required field Principal cannot be empty!", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": {"AWS": []}}), "Missing required field Principal cannot be empty!", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": "ada"}), "Invalid principal in policy: \"ada\"", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}}), "Invalid principal in policy: \"AWS\":\"arn:aws:iam::111122223333:user/*\"", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": {"AWS": "1111"}}), "Invalid principal in policy: \"AWS\":\"1111\"", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": {"Service": "*"}}), "Invalid principal in policy: \"SERVICE\":\"*\"", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": {"Who": "x"}}), "Invalid principal in policy: \"WHO\":\"x\"", "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": ["*"]}), syntax, "Statement[0].Principal"),
        (Kind::Resource, json!({"Principal": {"AWS": 1}}), syntax, "Statement[0].Principal.AWS"),
        (Kind::Resource, json!({"NotPrincipal": "*"}), syntax, "Statement[0]."),
        (Kind::Resource, json!({"Resource": null}), "Policy statement must contain resources.", "Statement[0]"),
        (Kind::Trust, json!({"Resource": "*"}), "Has prohibited field Resource", "Statement[0].Resource"),
        (Kind::Trust, json!({"NotResource": "*"}), "Has prohibited field NotResource", "Statement[0].NotResource"),
        (Kind::Trust, json!({"Action": "s3:*"}), "AssumeRole policy may only specify STS AssumeRole actions.", "Statement[0].Action"),
        (Kind::Trust, json!({"Action": "*"}), "AssumeRole policy may only specify STS AssumeRole actions.", "Statement[0].Action"),
        (Kind::Trust, json!({"Action": null}), "Missing required field Action", "Statement[0]"),
        (Kind::Trust, json!({"Principal": null}), "Missing required field Principal", "Statement[0]"),
        (Kind::Trust, json!({"NotPrincipal": "*"}), "AssumeRole policy must not contain NotPrincipal field.", "Statement[0].NotPrincipal"),
        (Kind::Trust, json!({"Effect": "Maybe"}), "Invalid effect: Maybe", "Statement[0].Effect"),
        (Kind::Trust, json!({"Effect": null}), "Missing required field Effect", "Statement[0]"),
    ];
    for (kind, changes, message, at) in cases {
        let (told, detail) = refused_with(&changes, kind);
        assert_eq!(told, message, "{kind:?} {changes} {detail}");
        assert!(detail.starts_with(at), "{kind:?} {changes}: {detail}");
    }
}

#[test]
fn documents_are_refused_in_iams_words() {
    let good = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let whole = |members: &str| format!("{{{members}}}");
    for (text, message) in [
        (String::new(), "Syntax errors in policy."),
        ("[]".into(), "Syntax errors in policy."),
        (whole(""), "Policy document must be version 2012-10-17 or greater."),
        (whole(r#""Version":"2012-10-17""#), "Syntax errors in policy."),
        (whole(r#""Version":"2012-10-17","Statement":[]"#), "Syntax errors in policy."),
        (whole(r#""Version":"2012-10-17","Statement":"x""#), "Syntax errors in policy."),
        (whole(r#""Version":"2012-10-17","Statement":["x"]"#), "Syntax errors in policy."),
        (whole(&format!(r#""Version":"2013-01-01","Statement":{good}"#)), "Syntax errors in policy."),
        (
            whole(&format!(r#""Version":"2008-10-17","Statement":{good}"#)),
            "Policy document must be version 2012-10-17 or greater.",
        ),
        (whole(&format!(r#""Version":"2012-10-17","Statement":{good},"Extra":1"#)), "Syntax errors in policy."),
        (
            whole(&format!(r#""Version":"2012-10-17","Statement":{good},"Statement":{good}"#)),
            "Syntax errors in policy.",
        ),
        (whole(&format!(r#""Version":"2012-10-17","Statement":{good}"#)) + "x", "Syntax errors in policy."),
        (
            whole(
                r#""Version":"2012-10-17","Statement":{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}"#,
            ),
            "Syntax errors in policy.",
        ),
        ("[".repeat(100_000), "Cannot exceed quota for PolicySize: 10240"),
        ("[".repeat(10_000), "Syntax errors in policy."),
    ] {
        assert_eq!(refused(&text, Kind::Identity).to_string(), message, "{text:.200}");
    }
    let twice = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "A", "Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Sid": "A", "Effect": "Allow", "Action": "s3:*", "Resource": "*"},
    ]});
    let message = "Statement IDs (SID) in a single policy must be unique.";
    assert_eq!(refused(&twice.to_string(), Kind::Identity).to_string(), message);
    for (text, message) in [
        ("{", "This policy contains invalid Json"),
        ("{}", "Could not parse the policy: Statement is empty!"),
        (r#"{"Version":"1"}"#, "The policy must contain a valid version string"),
    ] {
        assert_eq!(refused(text, Kind::Trust).to_string(), message, "{text}");
    }
}

#[test]
fn documents_are_taken() {
    let statement = r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}"#;
    for text in [
        format!(r#"{{"Statement":{statement}}}"#),
        format!(r#"{{"Version":"2008-10-17","Id":"x","Statement":[{statement},{statement}]}}"#),
    ] {
        let document = Document::parse(&text, Kind::Resource, bytes_max::RESOURCE).unwrap();
        assert!(!document.is_empty() && document.kind() == Kind::Resource);
    }
    // An empty Sid is none, so it may occur twice.
    let sid = r#"{"Sid":"","Effect":"Allow","Action":["s3:*","*"],"NotResource":["arn:aws:s3:::${aws:username}"]}"#;
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{sid},{sid}]}}"#);
    let document = Document::parse(&text, Kind::Identity, bytes_max::INLINE).unwrap();
    assert_eq!(document.sids().collect::<Vec<_>>(), [None, None]);
    assert_eq!(document.len(), 2);
}

#[test]
fn size_is_counted_without_white_space() {
    let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let spaced = text.replace(':', " :\n\t");
    assert!(Document::parse(&spaced, Kind::Identity, text.len()).is_ok());
    let error = Document::parse(text, Kind::Identity, text.len() - 1).unwrap_err();
    assert_eq!(error, Error::Size { max: text.len() - 1 });
    let padded = text.to_owned() + &" ".repeat(131_072);
    assert!(matches!(Document::parse(&padded, Kind::Identity, 10_240), Err(Error::Size { .. })));
}
