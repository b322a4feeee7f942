//! Whom a statement means that was stored when somebody had a name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ADA, Context, Kind, Policies, Policy, Principal, Request, decide, document, principal, told};

const USER: &str = "arn:aws:iam::111122223333:user/ada";
const ROLE: &str = "arn:aws:iam::111122223333:role/service/runner";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/runner/one";

/// What one statement of a resource's policy tells somebody of its account who has no policy of his own. `ids` are those whom the
/// statement named when it was stored.
fn asked(asker: &Principal, effect: &str, element: &str, arns: &[&str], ids: &[(&str, &str)]) -> String {
    let statement = json!({"Effect": effect, element: {"AWS": arns}, "Action": "*", "Resource": "*"});
    let mut policy = document(&Value::Array(vec![statement]), Kind::Resource);
    let named: Vec<&str> = arns.iter().copied().filter(|arn| !arn.ends_with(":root")).collect();
    assert_eq!(policy.principal_arns(0).collect::<Vec<_>>(), named);
    let ids: BTreeMap<String, String> = ids.iter().map(|(arn, id)| ((*arn).to_owned(), (*id).to_owned())).collect();
    policy.bind([Some(&ids)]);
    let context = Context::new();
    let request = Request { principal: asker, action: "a:b", resource: "*", resource_account: ADA, context: &context };
    let resource = Some(Policy { name: "resource", document: &policy });
    told(&decide(&request, &Policies { resource, ..Policies::default() }))
}

#[test]
fn a_grant_is_for_whom_it_named_when_it_was_stored() {
    let (user, session) = (principal("user"), principal("session"));
    for (asker, arn, id) in [(&user, USER, "AIDA1"), (&session, ROLE, "AROA1"), (&session, SESSION, "AROA1")] {
        let allowed = |ids: &[(&str, &str)]| asked(asker, "Allow", "Principal", &[arn], ids);
        let denied = |ids: &[(&str, &str)]| asked(asker, "Deny", "Principal", &[arn], ids);
        assert_eq!(allowed(&[(arn, id)]), "allow", "{arn}");
        // One made again, and one who did not exist at the time: not let in, and kept out.
        for ids in [&[(arn, "OTHER")][..], &[]] {
            assert_eq!(allowed(ids), "no identity-based policy", "{arn} {ids:?}");
            assert_eq!(denied(ids), "deny resource-based policy", "{arn} {ids:?}");
        }
        assert_eq!(denied(&[(arn, id)]), "deny resource-based policy", "{arn}");
    }
}

#[test]
fn a_user_with_another_name_is_the_same() {
    let renamed = Principal::User {
        account: ADA.into(),
        arn: "arn:aws:iam::111122223333:user/team/lovelace".into(),
        id: "AIDA1".into(),
    };
    assert_eq!(asked(&renamed, "Allow", "Principal", &[USER], &[(USER, "AIDA1")]), "allow");
    assert_eq!(asked(&renamed, "Deny", "Principal", &[USER], &[(USER, "AIDA1")]), "deny resource-based policy");
    assert_eq!(asked(&renamed, "Allow", "Principal", &[USER], &[(USER, "AIDA2")]), "no identity-based policy");
}

#[test]
fn who_is_excepted_is_whom_the_statement_named() {
    let (user, root) = (principal("user"), "arn:aws:iam::111122223333:root");
    let asked = |effect: &str, id: &str| asked(&user, effect, "NotPrincipal", &[root, USER], &[(USER, id)]);
    assert_eq!(asked("Deny", "AIDA1"), "no identity-based policy");
    assert_eq!(asked("Deny", "AIDA2"), "deny resource-based policy");
    for id in ["AIDA1", "AIDA2"] {
        assert_eq!(asked("Allow", id), "no identity-based policy");
    }
}
