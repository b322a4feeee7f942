//! A function as the platform remembers it: code, configuration and where it is in its life.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Egress, FunctionId, RevisionId, Runtime, Timestamp, Version, VersionId,
    iam::PrincipalIds,
    image::{Image, Overrides},
    layer::LayerUse,
    logging::Logging,
    settings::Settings,
};

/// Everything known about one version of a function. Immutable once published in a catalog; a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Account and name.
    pub id: FunctionId,
    /// Which version this is. Tags, URL and scaling are the function's as a whole: those of [`Version::Latest`] count.
    #[serde(default)]
    pub version: Version,
    /// Changes with every update of code, configuration or status.
    pub revision: RevisionId,
    /// When code or configuration last changed.
    pub modified_at: Timestamp,
    /// What its author chose.
    pub configuration: Configuration,
    /// The code it runs.
    pub code: Code,
    /// Where it is in its life; see [`State`].
    pub state: State,
    /// How the last update went; `None` until the function first becomes active.
    pub last_update: Option<LastUpdate>,
    /// Tags, at most [`crate::limits::TAGS_MAX`].
    pub tags: BTreeMap<String, String>,
    /// Its function URL, if it has one.
    pub url: Option<FunctionUrl>,
    /// How far it may scale.
    #[serde(default)]
    pub scaling: Scaling,
    /// Who else may use it: its resource policies, by qualifier; the unqualified function's under the empty text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, ResourcePolicy>,
    /// What is chosen about this version beside its code and configuration.
    #[serde(default)]
    pub settings: Settings,
}

impl Function {
    /// What identifies this version.
    pub fn version_id(&self) -> VersionId {
        VersionId { function: self.id.clone(), version: self.version }
    }

    /// Whether its instances are to be copies of one that has been initialised before.
    pub fn is_snapshotted(&self) -> bool {
        self.configuration.snap_start == SnapStart::PublishedVersions && self.version != Version::Latest
    }

    /// Whether an invocation may start now: the code is prepared and not known to be broken.
    pub fn is_invocable(&self) -> bool {
        self.state == State::Active
    }
}

/// What an author chooses about a function. Bounds are in [`crate::limits`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// What runs the code.
    pub runtime: Runtime,
    /// `module.function` for Python and Node.js, a file for wasm, a command for web.
    pub handler: String,
    /// The execution role's ARN, as given.
    pub role: String,
    /// Free text.
    pub description: String,
    /// Longest one invocation may run, seconds.
    pub timeout_s: u32,
    /// Memory limit, MB; processor share follows it.
    pub memory_mb: u32,
    /// Size of /tmp, MB.
    pub ephemeral_storage_mb: u32,
    /// The author's environment variables.
    pub environment: BTreeMap<String, String>,
    /// `x86_64` or `arm64`.
    pub architecture: Architecture,
    /// X-Ray tracing mode, kept and shown.
    pub tracing: TracingMode,
    /// CloudWatch log group; `None` means `/aws/lambda/NAME`.
    pub log_group: Option<String>,
    /// Format and levels of its log.
    #[serde(default)]
    pub logging: Logging,
    /// Where it may connect to; `None` leaves that to the platform's configuration.
    #[serde(default)]
    pub egress: Option<Egress>,
    /// Its layers, in the order they are laid over each other; at most [`crate::limits::LAYERS_MAX`].
    #[serde(default)]
    pub layers: Vec<LayerUse>,
    /// What it says in place of its image, where its code is one.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub image: Overrides,
    /// Whether instances are copies of one that has been initialised before.
    #[serde(default, skip_serializing_if = "SnapStart::is_none")]
    pub snap_start: SnapStart,
}

impl Configuration {
    /// What Lambda gives a function whose author says nothing else.
    pub fn new(runtime: Runtime, handler: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            runtime,
            handler: handler.into(),
            role: role.into(),
            description: String::new(),
            timeout_s: 3,
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            environment: BTreeMap::new(),
            architecture: Architecture::X86_64,
            tracing: TracingMode::PassThrough,
            log_group: None,
            logging: Logging::default(),
            egress: None,
            layers: Vec::new(),
            image: Overrides::default(),
            snap_start: SnapStart::default(),
        }
    }
}

/// Lambda's `SnapStart.ApplyOn`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapStart {
    /// Every instance is initialised on its own.
    #[default]
    None,
    /// Those of published versions are copies.
    PublishedVersions,
}

impl SnapStart {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How far a function may scale. What is `None` is left to the platform's own limits. Has no part in the revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scaling {
    /// Invocations at once that are kept for this function alone, and its limit; 0 stops it. Lambda's
    /// `ReservedConcurrentExecutions`.
    pub reserved_concurrency: Option<u32>,
    /// Most instances. Ours.
    pub instances_max: Option<u32>,
    /// Instances of `$LATEST` that are always there, also without work. Ours: Lambda provisions published versions only.
    pub instances_min: u32,
    /// Its share of a full node beside the other functions of its account; 1 where nothing is said. Ours.
    pub weight: Option<u32>,
    /// Calls one instance takes at once, at most [`crate::Runtime::instance_concurrency_max`]. Ours.
    pub instance_concurrency: Option<u32>,
    /// What of an instance is left for its next call. Ours.
    pub instances: Reuse,
}

/// Whether calls find what earlier ones left. As JSON `"reused"` or `"fresh"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// An instance's memory lasts from call to call, as on Lambda.
    #[default]
    Reused,
    /// Each call finds the component as it was deployed. Components only, see [`crate::Runtime::may_be_fresh`].
    Fresh,
}

/// A resource policy, as `AddPermission` builds it up or `PutResourcePolicy` sets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePolicy {
    /// Changes with every change of it; has no part in the function's own.
    pub revision: RevisionId,
    /// The document's `Id`, if it has one.
    #[serde(default = "ResourcePolicy::usual_id")]
    pub id: Option<String>,
    /// In order.
    pub statements: Vec<PolicyStatement>,
}

/// One statement of a resource policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatement {
    /// Unique within its policy; empty for one without.
    pub sid: String,
    /// The statement as JSON, as `GetPolicy` shows it.
    pub text: String,
    /// Whom it named when it was stored; `None` of one from before that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<PrincipalIds>,
}

impl Default for ResourcePolicy {
    /// One without statements, which allows nothing.
    fn default() -> Self {
        Self { revision: RevisionId::random(), id: Self::usual_id(), statements: Vec::new() }
    }
}

impl ResourcePolicy {
    /// The `Id` of those that `AddPermission` makes.
    fn usual_id() -> Option<String> {
        Some("default".to_owned())
    }

    /// The whole document as JSON, as `GetPolicy` shows it.
    pub fn document(&self) -> String {
        let statements: Vec<&str> = self.statements.iter().map(|statement| statement.text.as_str()).collect();
        let id = self.id.as_ref().map(|id| format!(r#""Id":{},"#, serde_json::Value::from(id.as_str())));
        format!(r#"{{"Version":"2012-10-17",{}"Statement":[{}]}}"#, id.unwrap_or_default(), statements.join(","))
    }
}

/// Processor architecture a function declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    #[serde(rename = "arm64")]
    Arm64,
}

/// Lambda's `TracingConfig.Mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TracingMode {
    /// Pass the caller's trace header on.
    PassThrough,
    /// Sample here.
    Active,
}

/// The code of a function: a zip, or a container image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Code {
    /// As `CodeSha256` shows it: SHA-256 of the zip, base64 with padding, or of the image's manifest, hexadecimal.
    pub sha256: String,
    /// Size of the zip, bytes; 0 of an image, as on Lambda.
    pub size_bytes: u64,
    /// The image, where it is one. Then the runtime is [`Runtime::Image`], and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// Lambda's `State` (source: the `function_active_v2` waiter of botocore).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Being prepared for the first time; invocations are refused.
    Pending,
    /// Ready.
    Active,
    /// The first preparation failed; the reason is for the author.
    Failed {
        /// Says what is wrong with the package.
        reason: String,
    },
}

/// Lambda's `LastUpdateStatus` (source: the `function_updated_v2` waiter of botocore).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastUpdate {
    /// The current code and configuration are in force.
    Successful,
    /// A change is being prepared; the previous one serves until it is ready.
    InProgress,
    /// The change could not be prepared; the reason is for the author.
    Failed {
        /// Says what is wrong with the package.
        reason: String,
    },
}

/// A function URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionUrl {
    /// The first label of its host name: 32 lower-case letters and digits.
    pub url_id: String,
    /// Who may call it.
    pub auth: UrlAuth,
    /// Whether replies may stream; `None` where nobody has said, which is told apart: see [`FunctionUrl::invoke_mode`].
    pub invoke_mode: Option<InvokeMode>,
    /// Cross-origin rules, as the author gave them.
    pub cors: Option<Cors>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

impl FunctionUrl {
    /// Whether replies may stream: not unless somebody has said so.
    pub fn invoke_mode(&self) -> InvokeMode {
        self.invoke_mode.unwrap_or(InvokeMode::Buffered)
    }
}

/// Lambda's `AuthType` of a function URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UrlAuth {
    /// Anyone.
    #[serde(rename = "NONE")]
    None,
    /// Signed requests only.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

/// Lambda's `InvokeMode` of a function URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvokeMode {
    /// The whole reply at once.
    #[serde(rename = "BUFFERED")]
    Buffered,
    /// As it is written.
    #[serde(rename = "RESPONSE_STREAM")]
    ResponseStream,
}

/// Cross-origin rules of a function URL; absent lists are not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cors {
    /// Whether credentials may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Request headers allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Methods allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Origins allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Response headers a page may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// Seconds a preflight may be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
}
