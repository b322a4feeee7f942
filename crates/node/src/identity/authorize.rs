//! Whether a caller may do something: gathers the policies in force and has `engine::policy` decide.
//!
//! The one place where permissions are asked for, by every door. Whoever may not do a thing is told so in the same
//! words whether or not the thing is there.

use std::sync::Arc;

use updraft_engine::policy::{
    Context, Decision, Policies, Policy, Principal as Asking, Request, ResourceRule, decide, near_misses,
};
use updraft_types::{AccountId, Caller, Principal};

use super::{RoleEntry, Snapshot, document::Document, snapshot::Named};

/// Statements named to somebody who asks why something is not allowed.
const NEAR_MISSES: usize = 5;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// The policies that the caller's session was made with.
    pub session: &'a [Arc<Document>],
    /// Such as `lambda:InvokeFunction`.
    pub action: &'a str,
    /// The ARN of what it is done to, or `*`.
    pub resource: &'a str,
    /// Whose that is.
    pub owner: &'a AccountId,
    /// The resource's own policy.
    pub resource_policy: Option<&'a Document>,
    /// The condition keys.
    pub context: &'a Context,
}

/// Nothing allows it, or something denies it. The text is AWS's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("User: {caller} is not authorized to perform: {action} on resource: {resource} {because}")]
pub struct Denied {
    caller: String,
    action: String,
    resource: String,
    because: String,
    is_explicit: bool,
}

impl Denied {
    /// Whether a statement denies it, and nothing could allow it.
    pub fn is_explicit(&self) -> bool {
        self.is_explicit
    }
}

/// Why something is allowed or not, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it is allowed.
    pub is_allowed: bool,
    /// The statement that decided, or what is lacking.
    pub because: String,
    /// Statements that came near to allowing it, each with what it did not match; at most five.
    pub near_misses: Vec<String>,
}

impl Snapshot {
    /// Whether it is allowed.
    pub fn authorize(&self, ask: &Ask<'_>) -> Result<(), Denied> {
        self.with_policies(ask, |request, policies| {
            let decision = decide(request, policies);
            if decision.is_allowed() { Ok(()) } else { Err(ask.denied(&decision)) }
        })
    }

    /// Refuses what the resource's own policy denies; whether anything allows it is not asked.
    pub fn check_denials(ask: &Ask<'_>) -> Result<(), Denied> {
        let policies = Policies { resource: ask.resource_policy.map(of_resource), ..Policies::default() };
        let principal = asking(ask.caller);
        match decide(&ask.request(&principal), &policies) {
            decision @ Decision::ExplicitDeny(_) => Err(ask.denied(&decision)),
            _ => Ok(()),
        }
    }

    /// Why it is allowed or not.
    pub fn explain(&self, ask: &Ask<'_>) -> Explanation {
        self.with_policies(ask, |request, policies| {
            let decision = decide(request, policies);
            let near_misses = match decision {
                Decision::ImplicitDeny(_) => near_misses(request, policies, NEAR_MISSES),
                Decision::Allow { .. } | Decision::ExplicitDeny(_) => Vec::new(),
            };
            let told = near_misses.iter().map(|miss| {
                let missed: Vec<String> = miss.missed.iter().map(ToString::to_string).collect();
                format!("{}: {}", statement(&miss.statement), missed.join("; "))
            });
            Explanation {
                is_allowed: decision.is_allowed(),
                because: because(&decision, ask.action),
                near_misses: told.collect(),
            }
        })
    }

    /// Whether a caller may assume a role, or tag that session (`action`): the role's trust policy must allow it, and where
    /// that names the caller's account only, a policy of the caller's too.
    pub fn may_assume(
        &self,
        caller: &Caller,
        session: &[Arc<Document>],
        action: &str,
        role: &RoleEntry,
        context: &Context,
    ) -> bool {
        let (arn, named) = (role.arn(), self.policies_of(caller).unwrap_or_default());
        let (identity, boundary): (Vec<Policy<'_>>, _) = (named.iter().map(policy).collect(), self.boundary_of(caller));
        let session: Vec<Policy<'_>> = session.iter().map(|document| of_session(document)).collect();
        let policies = Policies {
            identity: &identity,
            boundary: boundary.as_ref().map(policy),
            session: &session,
            resource: Some(Policy { name: &arn, document: &role.trust }),
            resource_rule: ResourceRule::Required,
        };
        decide(&assuming(&asking(caller), action, role, &arn, context), &policies).is_allowed()
    }

    /// Whether functions can have sessions of the role with this ARN.
    pub fn lambda_may_assume(&self, arn: &str) -> bool {
        self.role_by_arn(arn).is_some_and(|role| Self::service_may_assume("lambda.amazonaws.com", role))
    }

    /// Whether one of the platform's services, such as `lambda.amazonaws.com`, may assume a role.
    pub fn service_may_assume(service: &str, role: &RoleEntry) -> bool {
        let (arn, context) = (role.arn(), Context::new());
        let policies = Policies {
            resource: Some(Policy { name: &arn, document: &role.trust }),
            resource_rule: ResourceRule::Required,
            ..Policies::default()
        };
        let principal = Asking::Service(service.to_owned());
        decide(&assuming(&principal, "sts:AssumeRole", role, &arn, &context), &policies).is_allowed()
    }

    fn with_policies<T>(&self, ask: &Ask<'_>, then: impl FnOnce(&Request<'_>, &Policies<'_>) -> T) -> T {
        // A principal that is gone has no policies, and so may do nothing.
        let named = self.policies_of(ask.caller).unwrap_or_default();
        let identity: Vec<Policy<'_>> = named.iter().map(policy).collect();
        let session: Vec<Policy<'_>> = ask.session.iter().map(|document| of_session(document)).collect();
        let boundary = self.boundary_of(ask.caller);
        let policies = Policies {
            identity: &identity,
            boundary: boundary.as_ref().map(policy),
            session: &session,
            resource: ask.resource_policy.map(of_resource),
            resource_rule: ResourceRule::Either,
        };
        let principal = asking(ask.caller);
        then(&ask.request(&principal), &policies)
    }
}

impl Ask<'_> {
    fn request<'a>(&'a self, principal: &'a Asking) -> Request<'a> {
        Request {
            principal,
            action: self.action,
            resource: self.resource,
            resource_account: self.owner.as_str(),
            context: self.context,
        }
    }

    fn denied(&self, decision: &Decision<'_>) -> Denied {
        Denied {
            caller: self.caller.arn(),
            action: self.action.to_owned(),
            resource: self.resource.to_owned(),
            because: decision.because(self.action),
            is_explicit: matches!(decision, Decision::ExplicitDeny(_)),
        }
    }
}

fn policy(named: &Named) -> Policy<'_> {
    Policy { name: &named.name, document: &named.document }
}

fn of_resource(document: &Document) -> Policy<'_> {
    Policy { name: "the resource's policy", document }
}

fn of_session(document: &Document) -> Policy<'_> {
    Policy { name: "the session's policy", document }
}

fn assuming<'a>(
    principal: &'a Asking,
    action: &'a str,
    role: &'a RoleEntry,
    arn: &'a str,
    context: &'a Context,
) -> Request<'a> {
    let resource_account = role.account.as_str();
    Request { principal, action, resource: arn, resource_account, context }
}

fn asking(caller: &Caller) -> Asking {
    let account = caller.account.to_string();
    match &caller.principal {
        Principal::Root => Asking::Root { account },
        Principal::User { id, .. } => Asking::User { account, arn: caller.arn(), id: id.clone() },
        Principal::Session { role_path, role, role_id, .. } => {
            let role_arn = format!("arn:aws:iam::{account}:role{role_path}{role}");
            Asking::Session { account, arn: caller.arn(), role_arn, role_id: role_id.clone() }
        }
        Principal::Anonymous => Asking::Anonymous,
    }
}

fn statement(found: &updraft_engine::policy::Found<'_>) -> String {
    let sid = found.sid.map(|sid| format!(" ({sid})")).unwrap_or_default();
    format!("statement {}{sid} of {}", found.statement + 1, found.policy)
}

fn because(decision: &Decision<'_>, action: &str) -> String {
    match decision {
        Decision::Allow { identity: None, resource: None } => {
            "the root user may do everything in its account".to_owned()
        }
        Decision::Allow { identity, resource } => {
            let found: Vec<String> = identity.iter().chain(resource).map(statement).collect();
            format!("allowed by {}", found.join(" and "))
        }
        Decision::ExplicitDeny(found) => format!("denied by {}", statement(found)),
        Decision::ImplicitDeny(_) => decision.because(action),
    }
}
