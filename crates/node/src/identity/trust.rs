//! Who may assume a role: the one place where a trust policy is asked.
//!
//! Reads the plain cases and refuses the rest: a principal named as it is, without wildcards or conditions; an account
//! (its root ARN or its twelve digits) stands for its root user alone. A trust policy that denies anything lets nobody in.

use serde_json::Value;
use updraft_types::{Caller, Principal};

use super::{RoleEntry, document::Document};

/// Who wants to assume a role.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// A signed request's caller.
    Caller(&'a Caller),
    /// One of the platform's services, such as `lambda.amazonaws.com`.
    Service(&'a str),
}

/// Whether the role's trust policy lets `asker` assume it.
pub fn may_assume(asker: Asker<'_>, role: &RoleEntry) -> bool {
    allows(&role.trust, asker)
}

fn allows(trust: &Document, asker: Asker<'_>) -> bool {
    let statements = trust.statements();
    let allows = |statement: &Value| {
        let actions = texts(&statement["Action"]);
        statement.get("Condition").is_none()
            && actions.iter().any(|action| ["sts:assumerole", "sts:*", "*"].contains(&action.to_lowercase().as_str()))
            && names(&statement["Principal"], asker)
    };
    statements.iter().all(|statement| statement["Effect"] == "Allow") && statements.iter().any(allows)
}

fn names(principal: &Value, asker: Asker<'_>) -> bool {
    match asker {
        Asker::Service(service) => texts(&principal["Service"]).contains(&service),
        Asker::Caller(caller) => {
            let named = texts(&principal["AWS"]);
            let account = caller.account.as_str();
            let mut own = vec![caller.arn()];
            match &caller.principal {
                Principal::Root => own.push(account.to_owned()),
                Principal::Session { role_path, role, .. } => {
                    own.push(format!("arn:aws:iam::{account}:role{role_path}{role}"));
                }
                Principal::User { .. } => {}
                Principal::Anonymous => return false,
            }
            own.iter().any(|own| named.contains(&own.as_str()))
        }
    }
}

/// One text or a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::document::Kind, *};

    fn allows_with(statement: Value, asker: Asker<'_>) -> bool {
        let text = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
        allows(&Document::parse(&text, Kind::Trust, 2_048).unwrap(), asker)
    }

    fn allow(principal: Value) -> Value {
        json!({ "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal })
    }

    #[test]
    fn only_who_is_named_as_it_is_may_assume() {
        let root = Caller::root("111111111111".parse().unwrap());
        let user = Principal::User { path: "/".into(), name: "ada".into(), id: "AIDA1".into() };
        let ada = Caller { principal: user, ..root.clone() };
        let by = |principal: Value, caller| allows_with(allow(principal), Asker::Caller(caller));
        assert!(by(json!({ "AWS": "111111111111" }), &root));
        assert!(by(json!({ "AWS": ["arn:aws:iam::111111111111:root"] }), &root));
        assert!(by(json!({ "AWS": "arn:aws:iam::111111111111:user/ada" }), &ada));
        assert!(!by(json!({ "AWS": "arn:aws:iam::111111111111:root" }), &ada));
        assert!(!by(json!({ "AWS": "222222222222" }), &root));
        assert!(!by(json!({ "Service": "lambda.amazonaws.com" }), &root));
        assert!(!by(json!("*"), &root));
        let nobody = Caller { principal: Principal::Anonymous, ..root.clone() };
        assert!(!by(json!({ "AWS": "anonymous" }), &nobody));
        assert!(allows_with(
            allow(json!({ "Service": ["lambda.amazonaws.com"] })),
            Asker::Service("lambda.amazonaws.com")
        ));
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        let root = Caller::root("111111111111".parse().unwrap());
        let plain = allow(json!({ "AWS": "111111111111" }));
        let mut conditional = plain.clone();
        conditional["Condition"] = json!({ "Bool": { "aws:SecureTransport": "true" } });
        let mut other = plain.clone();
        other["Action"] = json!("sts:AssumeRoleWithSAML");
        let mut denied = plain.clone();
        denied["Effect"] = json!("Deny");
        for statement in [conditional, other, json!([plain, denied])] {
            assert!(!allows_with(statement.clone(), Asker::Caller(&root)), "{statement}");
        }
    }
}
