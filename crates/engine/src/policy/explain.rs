//! Why nothing allowed a request: the statements that came nearest, and what each of them lacked.
//!
//! Apart from [`decide`](super::decide), which is on every request's way; this is asked when somebody wants to know.

use std::fmt;

use super::{
    Context, Effect, Policies, Policy, Request, Source,
    action::Asked,
    condition::{Condition, Unmet},
    document::Statement,
    evaluate::Found,
    variable::Unresolved,
};

/// An allowing statement that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss<'a> {
    /// The statement.
    pub statement: Found<'a>,
    /// All that did not match.
    pub missed: Vec<Miss>,
}

/// Something of a statement that a request did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// The action is not among those of the statement, or is among its `NotAction`.
    Action {
        /// As the statement has them.
        stated: Vec<String>,
    },
    /// The principal is not one that the statement names.
    Principal,
    /// The resource is not among those of the statement, or is among its `NotResource`.
    Resource {
        /// As the statement has them.
        stated: Vec<String>,
    },
    /// A condition does not hold.
    Condition {
        /// `StringEquals`
        operator: String,
        /// `aws:SourceAccount`
        key: String,
        /// As the statement has them.
        stated: Vec<String>,
        /// As the request has them; none if it does not have the key.
        actual: Vec<String>,
    },
    /// A policy variable has no value in this request.
    Variable {
        /// `aws:username`
        key: String,
    },
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action { stated } => write!(f, "the action is not covered by {}", stated.join(", ")),
            Self::Principal => write!(f, "the principal is not one that it names"),
            Self::Resource { stated } => write!(f, "the resource is not covered by {}", stated.join(", ")),
            Self::Condition { operator, key, stated, actual } if actual.is_empty() => {
                write!(f, "{operator} {key} [{}]: the request has no {key}", stated.join(", "))
            }
            Self::Condition { operator, key, stated, actual } => {
                write!(f, "{operator} {key} [{}]: the request has {}", stated.join(", "), actual.join(", "))
            }
            Self::Variable { key } => write!(f, "${{{key}}} has no value in this request"),
        }
    }
}

/// The `at_most` allowing statements that lack the least, nearest first: those about the action before others, then by how
/// many elements did not match. Statements that match are not among them.
pub fn near_misses<'a>(request: &Request<'_>, policies: &Policies<'a>, at_most: usize) -> Vec<NearMiss<'a>> {
    let asked = Asked::new(request.action);
    let mut misses = Vec::new();
    for (source, of) in [
        (Source::Identity, policies.identity),
        (Source::Boundary, policies.boundary.as_slice()),
        (Source::Session, policies.session),
        (policies.resource_source(), policies.resource.as_slice()),
    ] {
        for policy in of {
            misses.extend(of_policy(source, policy, &asked, request));
        }
    }
    misses.sort_by_key(|miss: &NearMiss<'_>| {
        (miss.missed.iter().any(|missed| matches!(missed, Miss::Action { .. })), miss.missed.len())
    });
    misses.truncate(at_most);
    misses
}

fn of_policy<'a>(source: Source, policy: &Policy<'a>, asked: &Asked, request: &Request<'_>) -> Vec<NearMiss<'a>> {
    let allowing = policy.document.statements.iter().enumerate().filter(|(_, of)| of.effect == Effect::Allow);
    allowing
        .map(|(index, statement)| NearMiss {
            statement: Found { source, policy: policy.name, statement: index, sid: statement.sid.as_deref() },
            missed: statement.missed(source, asked, request),
        })
        .filter(|miss| !miss.missed.is_empty())
        .collect()
}

impl Statement {
    fn missed(&self, source: Source, asked: &Asked, request: &Request<'_>) -> Vec<Miss> {
        let mut missed = Vec::new();
        if !self.actions.cover(asked) {
            missed.push(Miss::Action { stated: named(self.actions.is_negated, &self.actions.texts) });
        }
        if self.means(source, request.principal).is_none() {
            missed.push(Miss::Principal);
        }
        match self.resources.as_ref().map(|resources| (resources, resources.cover(request))) {
            None | Some((_, Ok(true))) => {}
            Some((resources, Ok(false))) => {
                missed.push(Miss::Resource { stated: named(resources.is_negated, &resources.texts) });
            }
            Some((_, Err(Unresolved(key)))) => missed.push(Miss::Variable { key }),
        }
        missed.extend(self.conditions.iter().filter_map(|condition| of_condition(condition, request.context)));
        missed
    }
}

fn of_condition(condition: &Condition, context: &Context) -> Option<Miss> {
    match condition.check(context) {
        Ok(()) => None,
        Err(Unmet::Unresolved(key)) => Some(Miss::Variable { key }),
        Err(Unmet::Value) => Some(Miss::Condition {
            operator: condition.operator.clone(),
            key: condition.key.clone(),
            stated: condition.values.clone(),
            actual: condition.actual(context).to_vec(),
        }),
    }
}

fn named(is_negated: bool, texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| if is_negated { format!("anything but {text}") } else { text.clone() }).collect()
}
