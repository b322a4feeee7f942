//! How policies add up: explicit deny, then who must allow.
//!
//! Source: IAM User Guide, «How AWS enforcement code logic evaluates requests to allow or deny access» and «Cross-account
//! policy evaluation logic». In short:
//!
//! - A deny that matches, in any policy, is the answer.
//! - Within an account an identity policy suffices, under the permissions boundary and the session policies; or the
//!   resource's policy. What that gives a user, a session or everybody is not narrowed by boundary and session policies;
//!   what it gives a role is; what it gives the account is the account's to pass on with an identity policy.
//! - Between accounts both must allow.
//! - The root user is allowed everything in its account that is not denied.
//! - Services and the anonymous have no policies of their own: the resource's policy must allow them.
//! - A role is assumed only if its trust policy allows it: [`ResourceRule::Required`].
//!
//! Service and resource control policies of organisations do not exist here.

use std::fmt;

use super::{
    Context, Document, Effect, Principal,
    action::Asked,
    document::{Resources, Statement},
    principal::Closeness,
    variable::Unresolved,
};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// `lambda:InvokeFunction`, in any case.
    pub action: &'a str,
    /// The resource's ARN, or `*` for actions that concern none.
    pub resource: &'a str,
    /// The account (twelve digits) that the resource belongs to; for `*` that in which the action happens.
    pub resource_account: &'a str,
    /// The condition keys.
    pub context: &'a Context,
}

/// A document with the name that decisions call it by: its ARN, or `hello's inline policy write-logs`.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The name.
    pub name: &'a str,
    /// What it says.
    pub document: &'a Document,
}

/// All policies that apply to a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'a> {
    /// Those of the user or of the session's role, inline and managed.
    pub identity: &'a [Policy<'a>],
    /// The permissions boundary of the user or role.
    pub boundary: Option<Policy<'a>>,
    /// Those that the session was made with. One of them must allow, if there are any.
    pub session: &'a [Policy<'a>],
    /// That of the resource; for `sts:AssumeRole` the role's trust policy.
    pub resource: Option<Policy<'a>>,
    /// What the resource's policy is needed for.
    pub resource_rule: ResourceRule,
}

/// Whether an identity policy suffices within an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResourceRule {
    /// It does.
    #[default]
    Either,
    /// The resource's policy must allow too, as a role's trust policy must.
    Required,
}

/// The kind of policy that a statement was found in, or in which none was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Attached to the user or role.
    Identity,
    /// The permissions boundary.
    Boundary,
    /// Given when the session was made.
    Session,
    /// Attached to the resource.
    Resource,
    /// Attached to the role that is to be assumed.
    Trust,
}

/// A statement that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// In which kind of policy.
    pub source: Source,
    /// The policy's name.
    pub policy: &'a str,
    /// Counted from zero.
    pub statement: usize,
    /// Its Sid, if it has one.
    pub sid: Option<&'a str>,
}

/// Whose allow is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking(pub Source);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Yes.
    Allow {
        /// The statement of an identity policy that allows, if one does. The root user needs none, and others do not where
        /// the resource's policy suffices.
        identity: Option<Found<'a>>,
        /// The statement of the resource's policy that allows, if one does.
        resource: Option<Found<'a>>,
    },
    /// No: this statement denies it.
    ExplicitDeny(Found<'a>),
    /// No: nothing allows it.
    ImplicitDeny(Lacking),
}

impl Decision<'_> {
    /// Whether the answer is yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// What follows «User: … is not authorized to perform: … on resource: …» in AWS's words
    /// (source: IAM User Guide, «Troubleshoot access denied error messages»); empty for an allow.
    pub fn because(&self, action: &str) -> String {
        match self {
            Self::Allow { .. } => String::new(),
            Self::ExplicitDeny(found) => {
                format!("with an explicit deny in {} {}", found.source.article(), found.source)
            }
            Self::ImplicitDeny(Lacking(source)) => format!("because no {source} allows the {action} action"),
        }
    }
}

impl Source {
    fn article(self) -> &'static str {
        if self == Self::Identity { "an" } else { "a" }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Resource => "resource-based policy",
            Self::Trust => "role trust policy",
        })
    }
}

/// Decides `request` under `policies`. Takes time with the number of their statements, and for one that is about the
/// request with the length of its patterns times that of what they are compared with; the caller bounds both.
pub fn decide<'a>(request: &Request<'_>, policies: &Policies<'a>) -> Decision<'a> {
    let asked = Asked::new(request.action);
    let scan = |source, of: &[Policy<'a>]| scan(source, of, &asked, request);
    let mut scanned: [Option<(Found<'a>, Closeness)>; 4] = [None; 4];
    let resource_source = policies.resource_source();
    for (slot, (source, of)) in scanned.iter_mut().zip([
        (Source::Identity, policies.identity),
        (Source::Boundary, policies.boundary.as_slice()),
        (Source::Session, policies.session),
        (resource_source, policies.resource.as_slice()),
    ]) {
        *slot = match scan(source, of) {
            Scan::Denied(found) => return Decision::ExplicitDeny(found),
            Scan::Allowed(found) => found,
        };
    }
    let [identity, boundary, session, resource] = scanned;
    let is_root = matches!(request.principal, Principal::Root { .. });
    let narrowed = match () {
        () if policies.boundary.is_some() && boundary.is_none() => Some(Source::Boundary),
        () if !policies.session.is_empty() && session.is_none() => Some(Source::Session),
        () => None,
    };
    // What keeps the principal's own account from allowing it.
    let own = if identity.is_none() && !is_root { Some(Source::Identity) } else { narrowed };
    let closeness = resource.map(|(_, closeness)| closeness);
    let is_within = request.principal.account() == Some(request.resource_account);
    let lacking = match (request.principal.account(), closeness) {
        (None, Some(_)) => None,
        (None, None) => Some(resource_source),
        (Some(_), None) if !is_within => own.or(Some(resource_source)),
        (Some(_), Some(_)) if !is_within => own,
        (Some(_), None) if policies.resource_rule == ResourceRule::Required => Some(resource_source),
        (Some(_), Some(Closeness::Itself)) => None,
        // The role's own policies are not needed, but what narrows its sessions does.
        (Some(_), Some(Closeness::Role)) => narrowed,
        (Some(_), Some(Closeness::Account) | None) => own,
    };
    match lacking {
        Some(source) => Decision::ImplicitDeny(Lacking(source)),
        None => {
            Decision::Allow { identity: identity.map(|(found, _)| found), resource: resource.map(|(found, _)| found) }
        }
    }
}

impl Policies<'_> {
    pub(super) fn resource_source(&self) -> Source {
        match self.resource {
            Some(policy) if policy.document.kind == super::Kind::Trust => Source::Trust,
            None if self.resource_rule == ResourceRule::Required => Source::Trust,
            _ => Source::Resource,
        }
    }
}

enum Scan<'a> {
    Denied(Found<'a>),
    /// The statement that allows, the one that names the principal most closely.
    Allowed(Option<(Found<'a>, Closeness)>),
}

fn scan<'a>(source: Source, policies: &[Policy<'a>], asked: &Asked, request: &Request<'_>) -> Scan<'a> {
    let mut allowed: Option<(Found<'a>, Closeness)> = None;
    for policy in policies {
        let services = policy.document.services.iter().enumerate();
        for (index, _) in services.filter(|(_, services)| services.meet(asked.services())) {
            let statement = &policy.document.statements[index];
            let is_settled = allowed.is_some_and(|(_, closeness)| closeness == Closeness::Itself);
            if is_settled && statement.effect == Effect::Allow {
                continue;
            }
            let Some(closeness) = statement.matches(source, asked, request) else { continue };
            let found = Found { source, policy: policy.name, statement: index, sid: statement.sid.as_deref() };
            if statement.effect == Effect::Deny {
                return Scan::Denied(found);
            }
            if allowed.is_none_or(|(_, before)| before < closeness) {
                allowed = Some((found, closeness));
            }
        }
    }
    Scan::Allowed(allowed)
}

impl Document {
    /// Whether this policy of a resource allows `action` to the anonymous in every request that has the keys of `known`,
    /// whatever else the request holds: one that does need not be asked again. A deny of the action, or an allow that
    /// depends on another key, is not looked into: the answer is no, and each request has to be decided.
    pub fn is_open(&self, action: &str, resource: &str, known: &Context) -> bool {
        let asked = Asked::new(action);
        let principal = &Principal::Anonymous;
        let request = Request { principal, action, resource, resource_account: "", context: known };
        let mut about = self.statements.iter().filter(|statement| statement.actions.cover(&asked));
        let mut is_allowed = false;
        about.all(|statement| {
            is_allowed |=
                statement.depends_only_on(known) && statement.matches(Source::Resource, &asked, &request).is_some();
            statement.effect == Effect::Allow
        }) && is_allowed
    }
}

impl Statement {
    /// Whether keys of `known` are all that decides between requests for one thing. A variable may stand for another key.
    fn depends_only_on(&self, known: &Context) -> bool {
        let has_variable = |texts: &[String]| texts.iter().any(|text| text.contains("${"));
        !self.resources.as_ref().is_some_and(|resources| has_variable(&resources.texts))
            && self.conditions.iter().all(|of| !of.actual(known).is_empty() && !has_variable(&of.values))
    }

    fn matches(&self, source: Source, asked: &Asked, request: &Request<'_>) -> Option<Closeness> {
        if !self.actions.cover(asked) {
            return None;
        }
        let closeness = self.means(source, request.principal)?;
        if let Some(resources) = &self.resources
            && !resources.cover(request).is_ok_and(|covers| covers)
        {
            return None;
        }
        self.conditions.iter().all(|condition| condition.check(request.context).is_ok()).then_some(closeness)
    }

    /// Whether the statement speaks of `principal`. Identity policies speak of whom they are attached to and of nobody
    /// else, the others of those they name: a document in the wrong place says nothing.
    pub(super) fn means(&self, source: Source, principal: &Principal) -> Option<Closeness> {
        match (source, &self.principals) {
            (Source::Identity | Source::Boundary | Source::Session, None) => Some(Closeness::Itself),
            (Source::Resource | Source::Trust, Some(named)) => named.means(principal, self.effect == Effect::Deny),
            _ => None,
        }
    }
}

impl Resources {
    /// Whether the element covers the request's resource. With a variable that cannot be filled in, it covers what another
    /// of its patterns does, and nothing by being negated.
    pub(super) fn cover(&self, request: &Request<'_>) -> Result<bool, Unresolved> {
        let mut unresolved = None;
        for pattern in &self.patterns {
            match pattern.matches(request.resource, request.context) {
                Ok(true) => return Ok(!self.is_negated),
                Ok(false) => {}
                Err(error) => unresolved = Some(error),
            }
        }
        unresolved.map_or(Ok(self.is_negated), Err)
    }
}
