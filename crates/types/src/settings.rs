//! What is chosen about a version beside its code and configuration. None of it has a part in the revision's meaning of
//! code and configuration, and a published version may change it.
//!
//! Names and bounds are those of AWS Lambda's service model (botocore 1.44.5).

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
    /// When its runtime is renewed.
    #[serde(skip_serializing_if = "RuntimeManagement::is_auto")]
    pub runtime_management: RuntimeManagement,
    /// What becomes of a loop of calls; of `$LATEST`, for the whole function.
    #[serde(skip_serializing_if = "RecursiveLoop::is_terminate")]
    pub recursive_loop: RecursiveLoop,
    /// What becomes of asynchronous invocations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_invoke: Option<EventInvoke>,
}

/// Lambda's `UpdateRuntimeOn`. Kept and shown: the runtimes here are the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeManagement {
    /// Whenever there is a newer one.
    #[default]
    Auto,
    /// With the next change of the function.
    FunctionUpdate,
    /// Never.
    Manual {
        /// The ARN of the version to stay with.
        runtime_version_arn: String,
    },
}

impl RuntimeManagement {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Lambda's `RecursiveLoop`. Kept and shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecursiveLoop {
    /// A loop that is found is broken.
    #[default]
    Terminate,
    /// A loop is let run.
    Allow,
}

impl RecursiveLoop {
    fn is_terminate(&self) -> bool {
        *self == Self::Terminate
    }
}

/// Lambda's `EventInvokeConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInvoke {
    /// How old an event may become, seconds: 60 to 21,600.
    pub event_age_s_max: Option<u32>,
    /// How often a failed one is tried again: 0 to 2.
    pub retries_max: Option<u32>,
    /// ARN that successes are told to.
    pub on_success: Option<String>,
    /// ARN that failures are told to.
    pub on_failure: Option<String>,
    /// When it last changed.
    pub modified_at: Timestamp,
}
