//! How a call into a function fails, and the words Lambda answers it with.
//!
//! Source of the wordings: AWS's recorded responses (invoke and API snapshots).

use std::fmt;

use bytes::Bytes;

use crate::RequestId;

/// Why a call did not return a value. All but [`Fault::Platform`] are the function's own doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The handler raised, and the runtime reported it.
    #[error("the handler failed: {error_type}")]
    Handler {
        /// Value of `Lambda-Runtime-Function-Error-Type`, or `Unhandled`.
        error_type: String,
        /// What the runtime posted, byte for byte: `{errorMessage, errorType, stackTrace}`.
        body: Bytes,
    },
    /// The code could not be loaded, and the runtime reported it to `/runtime/init/error`.
    #[error("the function could not be initialised: {error_type}")]
    Init {
        /// Value of `Lambda-Runtime-Function-Error-Type`, or `Unhandled`.
        error_type: String,
        /// What the runtime posted, byte for byte.
        body: Bytes,
    },
    /// The process ended (in init or during the call) without an answer.
    #[error("the runtime exited: {0}")]
    Exit(ExitStatus),
    /// The process could not be started, such as a bootstrap that is not executable.
    #[error("the entry point could not be started: {reason}")]
    Entrypoint {
        /// For the author: what was to be started and why it could not be.
        reason: String,
    },
    /// The function's timeout, or the init time limit, passed.
    #[error("timed out after {limit_ms} ms")]
    Timeout {
        /// The limit that passed, milliseconds.
        limit_ms: u64,
    },
    /// More memory was asked for than the function has.
    #[error("out of memory")]
    OutOfMemory,
    /// The reply was over [`crate::limits::PAYLOAD_BYTES_MAX`].
    #[error("the response is too large")]
    ResponseTooLarge,
    /// The guest broke its contract: a wasm trap, a reply that is not HTTP, a stream cut off half-way.
    #[error("the function broke off: {reason}")]
    Crash {
        /// For the author.
        reason: String,
    },
    /// An extension of the function's could not be started, failed, or ended before its time.
    #[error("an extension failed ({}): {reason}", failure.error_type())]
    Extension {
        /// How.
        failure: ExtensionFailure,
        /// For the author.
        reason: String,
    },
    /// The platform could not do its part; the text is for the operator's log, not for the caller.
    #[error("platform failure: {reason}")]
    Platform {
        /// For the operator.
        reason: String,
    },
}

impl Fault {
    /// The short name shown in REPORT lines (`Error Type: …`).
    pub fn error_type(&self) -> &str {
        match self {
            Fault::Handler { error_type, .. } | Fault::Init { error_type, .. } => error_type,
            Fault::Exit(_) => "Runtime.ExitError",
            Fault::Entrypoint { .. } => "Runtime.InvalidEntrypoint",
            Fault::Timeout { .. } => "Sandbox.Timedout",
            Fault::OutOfMemory => "Runtime.OutOfMemory",
            Fault::ResponseTooLarge => "Function.ResponseSizeTooLarge",
            Fault::Crash { .. } => "Runtime.Crash",
            Fault::Extension { failure, .. } => failure.error_type(),
            Fault::Platform { .. } => "Platform.Failure",
        }
    }

    /// The JSON body a caller of Invoke receives.
    pub fn to_json(&self, request: RequestId) -> Bytes {
        let message = match self {
            Fault::Handler { body, .. } | Fault::Init { body, .. } => return body.clone(),
            Fault::Exit(status) => format!("RequestId: {request} Error: {status}"),
            Fault::Entrypoint { reason } => format!("RequestId: {request} Error: {reason}"),
            Fault::Timeout { limit_ms } => {
                let (seconds, hundredths) = (limit_ms / 1000, limit_ms % 1000 / 10);
                format!("RequestId: {request} Error: Task timed out after {seconds}.{hundredths:02} seconds")
            }
            Fault::OutOfMemory => format!("RequestId: {request} Error: Runtime exited with error: signal: killed"),
            Fault::ResponseTooLarge => format!(
                "Response payload size exceeded maximum allowed payload size ({} bytes).",
                crate::limits::PAYLOAD_BYTES_MAX
            ),
            Fault::Crash { reason } | Fault::Extension { reason, .. } => {
                format!("RequestId: {request} Error: {reason}")
            }
            Fault::Platform { .. } => format!("RequestId: {request} Error: the platform could not run the function"),
        };
        serde_json::json!({ "errorType": self.error_type(), "errorMessage": message }).to_string().into()
    }
}

/// How an extension failed; Lambda's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionFailure {
    /// It could not be started.
    Launch,
    /// It said so while it initialised.
    Init,
    /// It said so later.
    Exit,
    /// Its process ended.
    Crash,
}

impl ExtensionFailure {
    /// As callers and the log see it.
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Launch => "Extension.LaunchError",
            Self::Init => "Extension.InitError",
            Self::Exit => "Extension.ExitError",
            Self::Crash => "Extension.Crash",
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By returning or calling exit.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for ExitStatus {
    /// Lambda's wording.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(0) => f.write_str("Runtime exited without providing a reason"),
            ExitStatus::Code(code) => write!(f, "Runtime exited with error: exit status {code}"),
            ExitStatus::Signal(signal) => write!(f, "Runtime exited with error: signal: {}", signal_name(*signal)),
        }
    }
}

/// The name Go's `syscall.Signal` prints, which is what Lambda's messages carry.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        31 => "bad system call",
        _ => return signal.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_are_lambdas() {
        let request: RequestId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let text = |fault: Fault| String::from_utf8(fault.to_json(request).to_vec()).unwrap();
        assert_eq!(
            text(Fault::Timeout { limit_ms: 30_000 }),
            r#"{"errorMessage":"RequestId: 00000000-0000-0000-0000-000000000001 Error: Task timed out after 30.00 seconds","errorType":"Sandbox.Timedout"}"#
        );
        assert!(text(Fault::Exit(ExitStatus::Code(127))).contains("Runtime exited with error: exit status 127"));
        assert!(text(Fault::Exit(ExitStatus::Code(0))).contains("Runtime exited without providing a reason"));
        assert!(text(Fault::Exit(ExitStatus::Signal(11))).contains("signal: segmentation fault"));
    }

    #[test]
    fn a_platform_failure_keeps_its_detail_from_callers() {
        let fault = Fault::Platform { reason: "secret path".into() };
        let body = fault.to_json(RequestId::random());
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
