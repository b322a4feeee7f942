//! Each operator with each kind of key: there, elsewhere, absent, several values.

use serde_json::{Value, json};

use super::super::{Context, condition::Condition, document::Version};

/// Whether `operator` holds for `stated` when the request has `actual` for the key.
fn holds(operator: &str, stated: &[&str], actual: &[&str]) -> bool {
    let stated = stated.iter().map(|text| (*text).to_owned()).collect();
    let condition = Condition::new(operator, "test:Key", stated, Version::V2012, "").unwrap();
    let mut context = Context::new().with("aws:username", "ada");
    context.set("TEST:key", actual.iter().map(|text| (*text).to_owned()));
    condition.check(&context).is_ok()
}

#[test]
fn operators_compare() {
    #[rustfmt::skip]
    let cases: &[(&str, &[&str], &[&str], bool)] = &[
        ("StringEquals", &["a", "b"], &["b"], true),
        ("StringEquals", &["a"], &["A"], false),
        ("StringEquals", &["a*"], &["ab"], false),
        ("StringEquals", &["a${*}"], &["a*"], true),
        ("StringEquals", &["${aws:username}"], &["ada"], true),
        ("StringEquals", &["${aws:missing}"], &["ada"], false),
        ("StringEquals", &["${aws:missing}", "ada"], &["ada"], true),
        ("StringNotEquals", &["a", "b"], &["b"], false),
        ("StringNotEquals", &["a", "b"], &["c"], true),
        ("StringNotEquals", &["${aws:missing}"], &["ada"], false),
        ("StringEqualsIgnoreCase", &["Ä b"], &["ä B"], true),
        ("StringNotEqualsIgnoreCase", &["a"], &["A"], false),
        ("StringLike", &["a*c", "x?"], &["abc"], true),
        ("StringLike", &["a?c"], &["a:c"], true),
        ("StringLike", &["a?c"], &["abbc"], false),
        ("StringLike", &["${aws:username}-*"], &["ada-1"], true),
        ("StringLike", &["A*"], &["abc"], false),
        ("StringNotLike", &["a*"], &["abc"], false),
        ("NumericEquals", &["10"], &["10.0"], true),
        ("NumericNotEquals", &["10"], &["10.0"], false),
        ("NumericLessThan", &["10"], &["9.5"], true),
        ("NumericLessThan", &["10"], &["10"], false),
        ("NumericLessThanEquals", &["10"], &["10"], true),
        ("NumericGreaterThan", &["10"], &["9"], false),
        ("NumericGreaterThanEquals", &["10"], &["1e1"], true),
        ("NumericLessThan", &["10"], &["few"], false),
        ("DateEquals", &["2026-11-23T09:40:30Z"], &["1795426830"], true),
        ("DateNotEquals", &["2026-11-23T09:40:30Z"], &["1795426830"], false),
        ("DateLessThan", &["2026-11-24"], &["2026-11-23T23:59:59.999Z"], true),
        ("DateLessThanEquals", &["2026-11-24"], &["2026-11-24T00:00:00Z"], true),
        ("DateGreaterThan", &["2026-11-24"], &["2026-11-24T00:00:00Z"], false),
        ("DateGreaterThanEquals", &["0"], &["2026-11-24T00:00:00Z"], true),
        ("Bool", &["true"], &["True"], true),
        ("Bool", &["true"], &["false"], false),
        ("BinaryEquals", &["QmluYXJ5"], &["QmluYXJ5"], true),
        ("BinaryEquals", &["QmluYXJ5"], &["qmluYXJ5"], false),
        ("IpAddress", &["203.0.113.0/24", "2001:db8::/32"], &["2001:db8::1"], true),
        ("IpAddress", &["203.0.113.0/24"], &["203.0.112.1"], false),
        ("NotIpAddress", &["203.0.113.0/24"], &["203.0.113.1"], false),
        ("NotIpAddress", &["203.0.113.0/24"], &["198.51.100.1"], true),
        ("ArnLike", &["arn:aws:sns:*:1:t*"], &["arn:aws:sns:eu-west-1:1:topic:x"], true),
        ("ArnEquals", &["arn:aws:sns:*:1:t*"], &["arn:aws:sns:eu-west-1:1:topic"], true),
        ("ArnLike", &["arn:aws:sns:*:topic"], &["arn:aws:sns:eu-west-1:1:topic"], false),
        ("ArnLike", &["*"], &["arn:aws:sns:eu-west-1:1:topic"], false),
        ("ArnNotLike", &["arn:aws:sns:*:1:t*"], &["arn:aws:sns:eu-west-1:1:topic"], false),
        ("ArnNotEquals", &["arn:aws:sns:*:2:*"], &["arn:aws:sns:eu-west-1:1:topic"], true),
        ("Null", &["true"], &[], true),
        ("Null", &["true"], &["x"], false),
        ("Null", &["false"], &["x"], true),
        ("Null", &["false"], &[], false),
        // Several values, with and without an operator for sets.
        ("ForAllValues:StringEquals", &["a", "b"], &["a", "b", "a"], true),
        ("ForAllValues:StringEquals", &["a", "b"], &["a", "c"], false),
        ("ForAllValues:StringLike", &["a*"], &["ab", "ac"], true),
        ("ForAllValues:StringNotEquals", &["a", "b"], &["c", "d"], true),
        ("ForAllValues:StringNotEquals", &["a", "b"], &["a", "d"], false),
        ("ForAnyValue:StringEquals", &["a", "b"], &["c", "b"], true),
        ("ForAnyValue:StringEquals", &["a", "b"], &["c", "d"], false),
        ("ForAnyValue:StringNotEquals", &["a", "b"], &["a", "d"], true),
        ("ForAnyValue:StringNotEquals", &["a", "b"], &["a", "b"], false),
        ("StringEquals", &["a"], &["c", "a"], true),
        ("StringNotEquals", &["a"], &["c", "a"], false),
        // Without values nothing is the same.
        ("StringEquals", &[], &["a"], false),
        ("StringNotEquals", &[], &["a"], true),
    ];
    for (operator, stated, actual, expected) in cases {
        assert_eq!(holds(operator, stated, actual), *expected, "{operator} {stated:?} {actual:?}");
    }
}

#[test]
fn a_key_that_is_absent() {
    for name in ["StringEquals", "StringLike", "NumericLessThan", "DateGreaterThan", "Bool", "IpAddress", "ArnLike"] {
        let value = match name {
            "NumericLessThan" | "DateGreaterThan" => "1",
            "Bool" => "false",
            "IpAddress" => "0.0.0.0/0",
            _ => "arn:aws:s3:::b",
        };
        assert!(!holds(name, &[value], &[]), "{name}");
        assert!(holds(&format!("{name}IfExists"), &[value], &[]), "{name}");
        assert!(holds(&format!("ForAllValues:{name}"), &[value], &[]), "{name}");
        assert!(!holds(&format!("ForAnyValue:{name}"), &[value], &[]), "{name}");
        assert!(!holds(&format!("ForAnyValue:{name}IfExists"), &[value], &[]), "{name}");
    }
    for name in ["StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "ArnNotLike", "ArnNotEquals"] {
        assert!(holds(name, &["a"], &[]), "{name}");
        assert!(!holds(&format!("ForAnyValue:{name}"), &["a"], &[]), "{name}");
    }
    assert!(holds("NotIpAddress", &["10.0.0.0/8"], &[]) && holds("NumericNotEquals", &["1"], &[]));
    assert!(!holds("StringEqualsIfExists", &["a"], &["b"]));
}

#[test]
fn what_is_no_condition_is_refused() {
    for (operator, values) in [
        ("StringSame", json!("a")),
        ("stringequals", json!("a")),
        ("ForSomeValues:StringEquals", json!("a")),
        ("ForAnyValue:Null", json!("true")),
        ("NullIfExists", json!("true")),
        ("StringEqualsIfExistsIfExists", json!("a")),
        ("NumericEquals", json!("ten")),
        ("DateEquals", json!("tomorrow")),
        ("Bool", json!("yes")),
        ("Null", json!("maybe")),
        ("IpAddress", json!("10.0.0.0/99")),
        ("StringEquals", json!("${open")),
        ("StringEquals", json!({"a": "b"})),
        ("StringEquals", json!(null)),
        ("StringEquals", json!([["a"]])),
    ] {
        let statement = json!([{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {operator: {"aws:x": values}}}]);
        let error = super::super::Document::parse(
            &json!({"Version": "2012-10-17", "Statement": statement}).to_string(),
            super::Kind::Identity,
            10_240,
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "Syntax errors in policy.", "{operator} {values}");
        assert!(error.detail().starts_with("Statement[0].Condition."), "{}", error.detail());
    }
    let loose: Value = json!([{"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"Bool": {"aws:x": [true, "false"]}, "NumericEquals": {"a:b": 3}}}]);
    super::document(&loose, super::Kind::Identity);
}
