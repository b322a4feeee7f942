//! What the platform talks about: names, limits, functions, invocations and how they end.
//!
//! Plain data and the rules that make a value valid; no I/O, no clock, no policy. Every other crate may
//! depend on this one, and it depends on none of them. A value that exists is valid: identifiers are
//! checked where they are parsed, so nobody downstream checks them again.

pub mod body;
pub mod egress;
pub mod event;
pub mod fault;
pub mod function;
pub mod iam;
pub mod identity;
pub mod image;
pub mod invocation;
pub mod layer;
pub mod limits;
pub mod log_group;
pub mod logging;
pub mod name;
pub mod runtime;
pub mod settings;
pub mod time;
pub mod version;

pub use body::{Body, BoxError};
pub use egress::Egress;
pub use event::Event;
pub use fault::{ExitStatus, ExtensionFailure, Fault};
pub use function::Function;
pub use identity::{Caller, Principal};
pub use invocation::{Invocation, Payload};
pub use layer::{LayerId, LayerVersionId};
pub use log_group::{LogGroupId, LogGroupName};
pub use name::{AccountId, AliasName, FunctionId, FunctionName, InstanceId, LayerName, Region, RequestId, RevisionId};
pub use runtime::Runtime;
pub use time::Timestamp;
pub use version::{Alias, Qualifier, Version, VersionId};
