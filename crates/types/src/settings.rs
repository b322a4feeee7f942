//! What is chosen about a version beside its code and configuration; a published version may change it, too.

use serde::{Deserialize, Serialize};

use crate::version::Provisioned;

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
}
