//! The `Runtime` value of a function, and the family it belongs to.
//!
//! `python3.x`, `nodejsX.x` and `provided.al2023` are Lambda's; `wasm` and `web` are ours, and pass through
//! clients that treat the value as text (boto3 does). `image` is for the function's document alone: doors refuse it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What runs a function's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Runtime {
    /// `python3.MINOR`: our bootstrap on a host CPython.
    Python {
        /// The 12 of `python3.12`.
        minor: u8,
    },
    /// `nodejsMAJOR.x`: our bootstrap on a host Node.js.
    Nodejs {
        /// The 22 of `nodejs22.x`.
        major: u8,
    },
    /// `provided.al2023` (and `provided.al2`): the package's own executable `bootstrap`.
    Provided {
        /// The Amazon Linux the value names.
        image: ProvidedImage,
    },
    /// A `wasi:http` 0.2 component; Handler names the file in the package.
    Wasm,
    /// Any HTTP server that listens on `$PORT`; Handler is its start command.
    Web,
    /// Whatever a container image starts. No value of `Runtime` asks for it: `PackageType` does.
    Image,
}

/// Which operating-system-only runtime a function asked for. Both run alike here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProvidedImage {
    /// `provided.al2`
    Al2,
    /// `provided.al2023`
    Al2023,
}

impl Runtime {
    /// Whether the code takes HTTP requests as they are, rather than events in JSON.
    pub fn speaks_http(self) -> bool {
        matches!(self, Runtime::Wasm | Runtime::Web)
    }

    /// Most calls one instance can be made to take at once. Our Python and Node.js runtimes ask for one event after the
    /// other, and a component's instance is entered by one request at a time. An HTTP server takes more, and so does a
    /// runtime of the author's that is told by `AWS_LAMBDA_MAX_CONCURRENCY` to ask for several events.
    pub fn instance_concurrency_max(self) -> u32 {
        match self {
            Runtime::Web => crate::limits::WEB_INSTANCE_CONCURRENCY_MAX,
            Runtime::Provided { .. } => crate::limits::PROVIDED_INSTANCE_CONCURRENCY_MAX,
            Runtime::Python { .. } | Runtime::Nodejs { .. } | Runtime::Wasm | Runtime::Image => 1,
        }
    }

    /// Whether each call can be given a fresh guest: where starting one costs microseconds.
    pub fn may_be_fresh(self) -> bool {
        self == Runtime::Wasm
    }
}

/// Text that names no runtime of this platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a runtime: expected python3.N, nodejsN.x, provided.al2023, wasm or web")]
pub struct Unknown(String);

impl FromStr for Runtime {
    type Err = Unknown;
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let number = |digits: &str| {
            let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
            canonical.then(|| digits.parse::<u8>().ok()).flatten()
        };
        let parsed = match text {
            "provided.al2023" => Some(Runtime::Provided { image: ProvidedImage::Al2023 }),
            "provided.al2" => Some(Runtime::Provided { image: ProvidedImage::Al2 }),
            "wasm" => Some(Runtime::Wasm),
            "web" => Some(Runtime::Web),
            "image" => Some(Runtime::Image),
            _ => {
                let python = text.strip_prefix("python3.").and_then(number).map(|minor| Runtime::Python { minor });
                let nodejs = text.strip_prefix("nodejs").and_then(|rest| rest.strip_suffix(".x"));
                python.or_else(|| nodejs.and_then(number).map(|major| Runtime::Nodejs { major }))
            }
        };
        parsed.ok_or_else(|| Unknown(text.chars().take(100).collect()))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Runtime::Python { minor } => write!(f, "python3.{minor}"),
            Runtime::Nodejs { major } => write!(f, "nodejs{major}.x"),
            Runtime::Provided { image: ProvidedImage::Al2 } => f.write_str("provided.al2"),
            Runtime::Provided { image: ProvidedImage::Al2023 } => f.write_str("provided.al2023"),
            Runtime::Wasm => f.write_str("wasm"),
            Runtime::Web => f.write_str("web"),
            Runtime::Image => f.write_str("image"),
        }
    }
}

impl TryFrom<String> for Runtime {
    type Error = Unknown;
    fn try_from(text: String) -> Result<Self, Unknown> {
        text.parse()
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> String {
        runtime.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_reads_back_as_written() {
        for text in ["python3.9", "python3.13", "nodejs20.x", "provided.al2", "provided.al2023", "wasm", "web", "image"]
        {
            assert_eq!(text.parse::<Runtime>().map(|runtime| runtime.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["", "python", "python2.7", "python3.", "python3.x", "python3.012", "nodejs.x", "nodejs20", "java21"]
        {
            assert!(text.parse::<Runtime>().is_err(), "{text}");
        }
    }
}
