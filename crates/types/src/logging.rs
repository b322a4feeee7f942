//! Lambda's `LoggingConfig`: how a function's own lines and the platform's are written, and which of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The format of a function's log, and the levels from which on lines are kept. Its group is
/// [`crate::function::Configuration::log_group`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least level of the function's own lines. Held by its runtime. Has no meaning with [`LogFormat::Text`].
    pub application: ApplicationLevel,
    /// The least level of the platform's lines. Has no meaning with [`LogFormat::Text`].
    pub system: SystemLevel,
}

/// Lambda's `LogFormat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Lines of text.
    #[default]
    Text,
    /// A JSON object a line.
    #[serde(rename = "JSON")]
    Json,
}

impl LogFormat {
    /// As `AWS_LAMBDA_LOG_FORMAT` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Json => "JSON",
        }
    }
}

/// Lambda's `ApplicationLogLevel`, least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ApplicationLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    Fatal,
}

impl fmt::Display for ApplicationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        })
    }
}

/// Lambda's `SystemLogLevel`, least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SystemLevel {
    Debug,
    #[default]
    Info,
    Warn,
}

impl Logging {
    /// Whether a line of the platform's at this level is written in JSON; in text all are written.
    pub fn writes(&self, level: SystemLevel) -> bool {
        self.format == LogFormat::Text || level >= self.system
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_an_order_and_read_back() {
        assert!(ApplicationLevel::Trace < ApplicationLevel::Fatal && SystemLevel::Debug < SystemLevel::Warn);
        let json = Logging { format: LogFormat::Json, system: SystemLevel::Warn, ..Logging::default() };
        assert!(!json.writes(SystemLevel::Info) && json.writes(SystemLevel::Warn));
        let text = serde_json::to_string(&json).unwrap();
        assert_eq!(text, r#"{"format":"JSON","application":"INFO","system":"WARN"}"#);
        assert_eq!(serde_json::from_str::<Logging>(&text).unwrap(), json);
        assert_eq!(serde_json::from_str::<Logging>("{}").unwrap(), Logging::default());
    }
}
