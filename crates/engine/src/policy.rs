//! Decides whether a principal may do something: IAM's policy language, parsed once and evaluated per request.
//!
//! Owns the language (documents, patterns, conditions, variables) and how several policies add up. It knows no
//! service, no operation and no condition key by name: what a request is about arrives as a [`Request`] with a map of
//! [`Context`], the time in it. Refuses what IAM's grammar refuses, and never guesses: what it cannot read is an
//! [`Error`], what it cannot resolve does not match.
//! Invariant: an explicit deny wins over everything, and without an allow the answer is no.
//! Callers: the doors ask [`decide`]; `updraft policy check` and refused callers are told why by [`Decision`] and
//! [`near_misses`]. [What is supported](../../../docs/policies.md), [why our own](../../../docs/adr/0009-policy.md).

mod action;
mod condition;
mod context;
mod document;
mod error;
mod evaluate;
mod explain;
mod json;
mod pattern;
mod principal;
mod value;
mod variable;
mod write;

pub use context::Context;
pub use document::{Document, Effect, Kind, STATEMENTS_MAX, Version, bytes_max};
pub use error::Error;
pub use evaluate::{Decision, Found, Lacking, Policies, Policy, Request, ResourceRule, Source, decide};
pub use explain::{Miss, NearMiss, near_misses};
pub use principal::{Principal, is_principal};

#[cfg(test)]
mod tests;
