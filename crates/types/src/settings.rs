//! What is chosen about a version, or about a function as a whole, beside its code and configuration.
//!
//! What is the function's as a whole is kept with `$LATEST`, by qualifier where it is a version's or an alias's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, version::Provisioned};

/// The settings of one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Instances kept ready; of published versions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,
    /// Of a published version: the description that `$LATEST` had then, which its own may replace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_description: Option<String>,
    /// Of a published version with SnapStart: why its instances are not copies after all; for the author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap_start_off: Option<String>,
    /// How asynchronous invocations are treated, by qualifier. With `$LATEST`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_invoke: BTreeMap<String, EventInvoke>,
    /// When the runtime is updated, by version. With `$LATEST`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runtime_management: BTreeMap<String, UpdateRuntimeOn>,
    /// What becomes of a function that calls itself. With `$LATEST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursion: Option<RecursiveLoop>,
}

/// Lambda's `EventInvokeConfig`; `None` is the default of asynchronous invocations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInvoke {
    /// Tries after the first, 0 to 2.
    pub retries_max: Option<u32>,
    /// Longest an event waits, seconds, 60 to 21,600.
    pub age_s_max: Option<u32>,
    /// Where events go that failed: an ARN.
    pub on_failure: Option<String>,
    /// Where events go that succeeded: an ARN.
    pub on_success: Option<String>,
    /// When this was last changed.
    pub modified_at: Timestamp,
}

/// Lambda's `UpdateRuntimeOn`. Kept and shown: interpreters here are the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateRuntimeOn {
    /// Whenever there is a newer one.
    Auto,
    /// With the function's own updates.
    FunctionUpdate,
    /// Never: the version of this ARN.
    Manual(String),
}

/// Lambda's `RecursiveLoop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecursiveLoop {
    /// It may go on.
    Allow,
    /// It is stopped: the default.
    Terminate,
}
