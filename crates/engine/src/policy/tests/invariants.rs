//! What holds for all policies, tried with random ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    ADA, Context, Decision, Document, Kind, Policies, Policy, Principal, Request, decide, document, principal,
};

#[derive(Debug, Clone)]
struct World {
    principal: &'static str,
    action: &'static str,
    resource: &'static str,
    account: &'static str,
    user: Option<&'static str>,
    identity: Vec<Vec<Value>>,
    boundary: Option<Vec<Value>>,
    session: Vec<Vec<Value>>,
    resource_policy: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allow,
    Deny,
    Nothing,
}

impl World {
    fn decide(&self) -> Answer {
        let of = |statements: &Vec<Value>, kind| document(&json!(statements), kind);
        let lists = |lists: &[Vec<Value>]| lists.iter().map(|list| of(list, Kind::Identity)).collect::<Vec<_>>();
        let (identity, session) = (lists(&self.identity), lists(&self.session));
        let boundary = self.boundary.as_ref().map(|list| of(list, Kind::Identity));
        let resource = self.resource_policy.as_ref().map(|list| of(list, Kind::Resource));
        let named = |document| Policy { name: "p", document };
        let mut context = Context::new();
        if let Some(user) = self.user {
            context = context.with("aws:username", user);
        }
        let asker: Principal = principal(self.principal);
        let request = Request {
            principal: &asker,
            action: self.action,
            resource: self.resource,
            resource_account: self.account,
            context: &context,
        };
        let policies = Policies {
            identity: &identity.iter().map(named).collect::<Vec<_>>(),
            boundary: boundary.as_ref().map(named),
            session: &session.iter().map(named).collect::<Vec<_>>(),
            resource: resource.as_ref().map(named),
            ..Policies::default()
        };
        match decide(&request, &policies) {
            Decision::Allow { .. } => Answer::Allow,
            Decision::ExplicitDeny(_) => Answer::Deny,
            Decision::ImplicitDeny(_) => Answer::Nothing,
        }
    }

    /// Every list of statements there is, those about principals last.
    fn lists(&mut self) -> Vec<&mut Vec<Value>> {
        let lists = self.identity.iter_mut().chain(&mut self.boundary).chain(&mut self.session);
        lists.chain(&mut self.resource_policy).collect()
    }

    /// Adds `statement` to the list that `place` chooses; a principal where one belongs.
    fn add(&mut self, mut statement: Value, place: usize) {
        let has_resource = self.resource_policy.is_some();
        let mut lists = self.lists();
        if lists.is_empty() {
            self.identity.push(vec![statement]);
            return;
        }
        let index = place % lists.len();
        if has_resource && index + 1 == lists.len() {
            statement["Principal"] = json!("*");
        }
        lists[index].push(statement);
    }
}

fn statement(effect: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Value> {
    let action = prop::sample::select(vec!["*", "lambda:*", "lambda:Get*", "lambda:GetFunction", "s3:*", "*:Get*"]);
    let resource = prop::sample::select(vec![
        "*",
        "arn:aws:lambda:*:*:function:a*",
        "arn:aws:lambda:*:function:*",
        "arn:aws:s3:::${aws:username}/*",
        "arn:aws:lambda:eu-west-1:111122223333:function:${aws:username, 'none'}",
    ]);
    let condition = prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({"StringEquals": {"aws:username": "ada"}})),
        1 => Just(json!({"StringNotLikeIfExists": {"aws:username": ["a*", "${aws:username}"]}})),
        1 => Just(json!({"Null": {"aws:username": true}})),
        1 => Just(json!({"ForAnyValue:StringLike": {"aws:username": "?d?"}, "Bool": {"aws:x": false}})),
    ];
    (effect, action, any::<bool>(), resource, any::<bool>(), condition).prop_map(
        |(effect, action, not_action, resource, not_resource, condition)| {
            let name = |not: bool, name: &str| if not { format!("Not{name}") } else { name.to_owned() };
            json!({"Effect": effect, name(not_action, "Action"): action, name(not_resource, "Resource"): resource,
                "Condition": condition})
        },
    )
}

fn any_statement() -> impl Strategy<Value = Value> {
    statement(prop_oneof![4 => Just("Allow"), 1 => Just("Deny")])
}

fn principal_statement() -> impl Strategy<Value = Value> {
    let principals = prop::sample::select(vec![
        json!("*"),
        json!({"AWS": "111122223333"}),
        json!({"AWS": ["arn:aws:iam::111122223333:user/ada", "999900009999"]}),
        json!({"AWS": "arn:aws:iam::111122223333:role/service/runner"}),
        json!({"Service": "events.amazonaws.com", "AWS": "arn:aws:sts::111122223333:assumed-role/runner/one"}),
    ]);
    (any_statement(), principals, any::<bool>()).prop_map(|(mut statement, principals, not)| {
        statement[if not { "NotPrincipal" } else { "Principal" }] = principals;
        statement
    })
}

fn world() -> impl Strategy<Value = World> {
    let list = || prop::collection::vec(any_statement(), 1..4);
    let asked = (
        prop::sample::select(vec!["root", "user", "session", "service", "anonymous"]),
        prop::sample::select(vec!["lambda:GetFunction", "LAMBDA:getfunction", "s3:GetObject", "iam:PassRole"]),
        prop::sample::select(vec!["*", "arn:aws:lambda:eu-west-1:111122223333:function:ada", "arn:aws:s3:::ada/x"]),
        prop::sample::select(vec![ADA, "999900009999"]),
        prop::sample::select(vec![None, Some("ada"), Some("*")]),
    );
    let policies = (
        prop::collection::vec(list(), 0..4),
        prop::option::of(list()),
        prop::collection::vec(list(), 0..3),
        prop::option::of(prop::collection::vec(principal_statement(), 1..4)),
    );
    (asked, policies).prop_map(|((principal, action, resource, account, user), policies)| {
        let (identity, boundary, session, resource_policy) = policies;
        World { principal, action, resource, account, user, identity, boundary, session, resource_policy }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_explicit_deny_wins(mut world in world(), place: usize) {
        world.add(json!({"Effect": "Deny", "Action": "*", "Resource": "*"}), place);
        prop_assert_eq!(world.decide(), Answer::Deny);
    }

    #[test]
    fn an_allow_more_denies_nothing(mut world in world(), allow in statement(Just("Allow")), place: usize) {
        let before = world.decide();
        world.add(allow, place);
        let after = world.decide();
        prop_assert!(before != Answer::Allow || after == Answer::Allow);
        prop_assert_eq!(before == Answer::Deny, after == Answer::Deny);
    }

    #[test]
    fn a_deny_more_allows_nothing(mut world in world(), deny in statement(Just("Deny")), place: usize) {
        let before = world.decide();
        world.add(deny, place);
        let after = world.decide();
        prop_assert!(after == before || after == Answer::Deny);
    }

    #[test]
    fn order_is_irrelevant(world in world(), turns in 0_usize..4) {
        let mut other = world.clone();
        other.identity.reverse();
        other.session.reverse();
        for list in other.lists() {
            let turns = turns % list.len();
            list.rotate_left(turns);
        }
        prop_assert_eq!(world.decide(), other.decide());
    }

    #[test]
    fn without_an_allow_nobody_but_root_may(mut world in world()) {
        for list in world.lists() {
            list.iter_mut().for_each(|statement| statement["Effect"] = json!("Deny"));
        }
        let is_own_root = world.principal == "root" && world.account == ADA;
        prop_assert!(is_own_root || world.decide() != Answer::Allow);
    }

    #[test]
    fn what_is_open_lets_every_anonymous_request_through(world in world(), list in prop::collection::vec(principal_statement(), 1..3)) {
        let policy = document(&json!(list), Kind::Resource);
        if policy.is_open(world.action, world.resource, &Context::new()) {
            let open = World {
                principal: "anonymous",
                identity: vec![],
                boundary: None,
                session: vec![],
                resource_policy: Some(list),
                ..world
            };
            prop_assert_eq!(open.decide(), Answer::Allow);
        }
    }

    #[test]
    fn a_document_written_again_is_the_same(list in prop::collection::vec(principal_statement(), 1..5)) {
        let read = document(&json!(list), Kind::Resource);
        let again = Document::parse(&read.to_json(), Kind::Resource, 20_480).unwrap();
        prop_assert_eq!(&again, &read);
        prop_assert_eq!(again.to_json(), read.to_json());
    }

    #[test]
    fn broken_documents_are_errors(
        list in prop::collection::vec(principal_statement(), 1..4),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:a*$?0\\\\]{0,3}", 0_usize..4), 1..6),
    ) {
        let mut text: Vec<char> = json!({"Version": "2012-10-17", "Statement": list}).to_string().chars().collect();
        for (at, new, dropped) in cuts {
            let at = at.index(text.len());
            let end = (at + dropped).min(text.len());
            text.splice(at..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        for kind in [Kind::Identity, Kind::Resource, Kind::Trust] {
            if let Ok(read) = Document::parse(&text, kind, 20_480) {
                prop_assert_eq!(Document::parse(&read.to_json(), kind, 40_960), Ok(read));
            }
        }
    }
}
