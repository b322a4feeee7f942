//! What goes wrong, as clients hear it: the one place that knows HTTP statuses, public codes and public texts.
//!
//! Statuses and the spelling of `Message` are those of the service model (botocore 1.44.5); texts are AWS's own as
//! recorded, where AWS has the case at all. Texts for the operator go to the log and no further.

mod layers;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use updraft_node::{
    Refusal, control,
    dispatch::{Limit, Throttle},
    events,
    identity::{self, Denied},
};
use updraft_types::{
    AliasName, Body,
    function::State,
    limits::{UNRESERVED_CONCURRENCY_MIN, ZIP_BYTES_MAX},
};

use crate::{body, respond};

/// What kind of error, which decides status, code and envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AccessDenied,
    BareParameterValue,
    CodeSigningNotFound,
    CodeStorageExceeded,
    NoCodeSigning,
    InvalidParameterValue,
    InvalidRequestContent,
    InvalidSignature,
    NotImplemented,
    NotProvisioned,
    PolicyLengthExceeded,
    PreconditionFailed,
    RequestEntityTooLarge,
    RequestTimeout,
    RequestTooLarge,
    ResourceConflict,
    ResourceNotFound,
    Serialization,
    Service,
    ServiceUnavailable,
    TooManyRequests,
    UnknownOperation,
    Validation,
}

/// How the body is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Envelope {
    /// `{"Type":…,"Message":…}`
    Capital,
    /// `{"Type":…,"message":…}`
    Small,
    /// `{"Message":…}`
    BareCapital,
    /// `{"message":…}`: errors of the front end, which the service model does not know.
    Bare,
}

impl Kind {
    fn row(self) -> (StatusCode, &'static str, Envelope) {
        use Envelope::{Bare, BareCapital, Capital, Small};
        match self {
            Kind::AccessDenied => (StatusCode::FORBIDDEN, "AccessDeniedException", Bare),
            Kind::CodeSigningNotFound => (StatusCode::NOT_FOUND, "CodeSigningConfigNotFoundException", Capital),
            Kind::NoCodeSigning => (StatusCode::NOT_FOUND, "ResourceNotFoundException", BareCapital),
            Kind::CodeStorageExceeded => (StatusCode::BAD_REQUEST, "CodeStorageExceededException", Small),
            Kind::InvalidParameterValue => (StatusCode::BAD_REQUEST, "InvalidParameterValueException", Small),
            Kind::InvalidRequestContent => (StatusCode::BAD_REQUEST, "InvalidRequestContentException", Small),
            Kind::InvalidSignature => (StatusCode::FORBIDDEN, "InvalidSignatureException", Bare),
            Kind::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplementedException", Capital),
            Kind::NotProvisioned => (StatusCode::NOT_FOUND, "ProvisionedConcurrencyConfigNotFoundException", Small),
            Kind::PolicyLengthExceeded => (StatusCode::BAD_REQUEST, "PolicyLengthExceededException", Small),
            Kind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PreconditionFailedException", Small),
            Kind::RequestEntityTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", Bare),
            Kind::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", Bare),
            Kind::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", Small),
            Kind::ResourceConflict => (StatusCode::CONFLICT, "ResourceConflictException", Small),
            Kind::ResourceNotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException", Capital),
            Kind::Serialization => (StatusCode::BAD_REQUEST, "SerializationException", Bare),
            Kind::Service => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", Capital),
            Kind::ServiceUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", Bare),
            Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", Small),
            Kind::UnknownOperation => (StatusCode::NOT_FOUND, "UnknownOperationException", Bare),
            // Recorded without a Type, unlike others of its name.
            Kind::BareParameterValue => (StatusCode::BAD_REQUEST, "InvalidParameterValueException", Bare),
            Kind::Validation => (StatusCode::BAD_REQUEST, "ValidationException", Bare),
        }
    }
}

/// An error as a client will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    kind: Kind,
    message: String,
    reason: Option<&'static str>,
    /// When to ask again, where that helps.
    retry_after_s: u32,
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
    #[serde(rename = "Message", skip_serializing_if = "Option::is_none")]
    capital: Option<&'a str>,
    #[serde(rename = "message", skip_serializing_if = "Option::is_none")]
    small: Option<&'a str>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reason: None, retry_after_s: 1 }
    }

    /// The answer, without a request id.
    pub(crate) fn into_response(self) -> Response<Body> {
        let (status, code, envelope) = self.kind.row();
        let message = Some(self.message.as_str());
        let fault = Some(if status.is_server_error() { "Service" } else { "User" });
        let text = match envelope {
            Envelope::Capital => Text { reason: self.reason, fault, capital: message, small: None },
            Envelope::Small => Text { reason: self.reason, fault, capital: None, small: message },
            Envelope::BareCapital => Text { reason: None, fault: None, capital: message, small: None },
            Envelope::Bare => Text { reason: None, fault: None, capital: None, small: message },
        };
        let mut response = respond::json(status, &text);
        let headers = response.headers_mut();
        headers.insert(respond::ERROR_TYPE, HeaderValue::from_static(code));
        if matches!(self.kind, Kind::TooManyRequests | Kind::ServiceUnavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s));
        }
        if matches!(self.kind, Kind::RequestEntityTooLarge | Kind::RequestTooLarge | Kind::RequestTimeout) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Constraints of the service model that a request breaks, each worded as AWS does.
    pub(crate) fn validation(violations: &[String]) -> Self {
        let errors = if violations.len() == 1 { "error" } else { "errors" };
        let text = format!("{} validation {errors} detected: {}", violations.len(), violations.join("; "));
        Self::new(Kind::Validation, text)
    }

    /// A value that the model allows and Lambda, or this platform, does not.
    pub(crate) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameterValue, message)
    }

    /// The same where AWS was recorded to answer without a `Type`.
    pub(crate) fn bare_parameter(message: impl Into<String>) -> Self {
        Self::new(Kind::BareParameterValue, message)
    }

    /// Something that is not there; worded as AWS does for what it is.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::ResourceNotFound, message)
    }

    /// Something that is there already, or in the way.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::ResourceConflict, message)
    }

    /// Nothing is provisioned for a version or alias.
    pub(crate) fn not_provisioned() -> Self {
        Self::new(Kind::NotProvisioned, "No Provisioned Concurrency Config found for this function")
    }

    /// A member of a request that this platform does not have yet, and that asks for something.
    pub(crate) fn unsupported_member(member: &str) -> Self {
        Self::invalid_parameter(format!("{member} is not supported by Updraft yet: leave it out or empty"))
    }

    /// A body that is not JSON, or a payload that is not.
    pub(crate) fn invalid_content(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequestContent, message)
    }

    /// A control request's body that cannot be read: bad syntax, or JSON of the wrong types.
    pub(crate) fn unreadable(error: &serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::serialization(error.to_string()),
            _ => Self::invalid_content(format!("Could not parse request body into json: {error}")),
        }
    }

    /// A value of the wrong type.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new(Kind::Serialization, message)
    }

    /// No function, or none with that qualifier.
    pub(crate) fn function_not_found(arn: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("Function not found: {arn}"))
    }

    /// Creating or changing the URL of a function that is not there.
    pub(crate) fn function_does_not_exist() -> Self {
        Self::new(Kind::ResourceNotFound, "Function does not exist")
    }

    /// A URL configuration or a policy that is not there.
    pub(crate) fn resource_does_not_exist() -> Self {
        Self::new(Kind::ResourceNotFound, "The resource you requested does not exist.")
    }

    /// A function or version whose asynchronous invocations were to be configured, and that is not there.
    pub(crate) fn function_of_events_not_found() -> Self {
        Self::new(Kind::ResourceNotFound, "The function doesn't exist.")
    }

    /// No configuration of asynchronous invocations.
    pub(crate) fn no_event_invoke(arn: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("The function {arn} doesn't have an EventInvokeConfig"))
    }

    /// An alias that is not there.
    pub(crate) fn alias_arn_not_found(arn: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("Cannot find alias arn: {arn}"))
    }

    /// A statement that a policy has already.
    pub(crate) fn statement_exists(sid: &str) -> Self {
        let text = format!(
            "The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the \
             existing statement."
        );
        Self::new(Kind::ResourceConflict, text)
    }

    /// A statement that a policy does not have.
    pub(crate) fn no_statement(sid: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("Statement {sid} is not found in resource policy."))
    }

    /// No policy to take a statement from.
    pub(crate) fn no_policy() -> Self {
        Self::new(Kind::ResourceNotFound, "No policy is associated with the given resource.")
    }

    /// No function, and so no policy.
    pub(crate) fn no_policy_for(arn: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("No policy found for: {arn}"))
    }

    /// A resource policy that would grow too large.
    pub(crate) fn policy_too_long(bytes_max: usize) -> Self {
        Self::new(Kind::PolicyLengthExceeded, format!("The final policy size is bigger than the limit ({bytes_max})."))
    }

    /// Why a resource policy was not changed.
    pub(crate) fn policy_change(error: control::Error, name: &str, arn: &str) -> Self {
        match error {
            control::Error::RevisionMismatch => Self::new(
                Kind::PreconditionFailed,
                "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the \
                 latest Revision Id",
            ),
            error => Self::change(error, name, arn),
        }
    }

    /// An ARN of another region.
    pub(crate) fn wrong_region(asked: &str, ours: &str) -> Self {
        let text = format!("Functions from '{asked}' are not reachable in this region ('{ours}')");
        Self::new(Kind::ResourceNotFound, text)
    }

    /// A role of another account.
    pub(crate) fn cross_account_role() -> Self {
        Self::new(Kind::AccessDenied, "Cross-account pass role is not allowed.")
    }

    /// An ARN of another account.
    pub(crate) fn wrong_account(account: &str) -> Self {
        Self::new(Kind::AccessDenied, format!("Functions of account {account} are not accessible to this one"))
    }

    /// A request to one of our own doors, signed for a service that is not behind it.
    pub(crate) fn signed_for_another() -> Self {
        Self::new(Kind::InvalidSignature, "Credential should be scoped to correct service: 'lambda'.")
    }

    /// What only the root user of the platform's own account sees.
    pub(crate) fn not_root() -> Self {
        Self::new(Kind::AccessDenied, "Only the root user of the platform's own account may see this")
    }

    /// A request that a web page of another site may have sent.
    pub(crate) fn not_local() -> Self {
        Self::new(
            Kind::AccessDenied,
            "This request's Host or Origin is not this machine's. Requests are not authenticated here, so only \
             localhost and loopback addresses are let in, and no other site's pages",
        )
    }

    /// A function URL that exists already.
    pub(crate) fn url_exists(arn: &str) -> Self {
        let text = format!(
            "Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists \
             for this Lambda function"
        );
        Self::new(Kind::ResourceConflict, text)
    }

    /// An operation of Lambda's that is not part of this platform yet.
    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(Kind::NotImplemented, format!("{what} is not part of Updraft yet"))
    }

    /// A method and path that are no operation at all.
    pub(crate) fn unknown_operation() -> Self {
        Self::new(Kind::UnknownOperation, "No operation of the Lambda API has this method and path")
    }

    /// Nothing of the admin door's.
    pub(crate) fn admin_not_found() -> Self {
        Self::new(Kind::ResourceNotFound, "There is nothing here")
    }

    /// Somebody who may not look after accounts.
    pub(crate) fn not_the_platforms_root() -> Self {
        Self::new(Kind::AccessDenied, "Accounts are for the root user of the platform's own account")
    }

    /// An account that is not there.
    pub(crate) fn no_such_account(id: &str) -> Self {
        Self::new(Kind::ResourceNotFound, format!("There is no account {id:.40}"))
    }

    /// An account that is there already.
    pub(crate) fn account_exists() -> Self {
        Self::new(Kind::ResourceConflict, "There is an account of that id")
    }

    /// Why an account or its root user's key was not changed.
    pub(crate) fn identity(error: identity::Error) -> Self {
        use identity::{ChangeError, Noun, Quota, Refusal};
        let refusal = match error {
            identity::Error::HasFunctions
            | identity::Error::Change(ChangeError::Refused(Refusal::InUse(Noun::Function))) => {
                let text = "The account has functions, or calls of them are still running: delete them first";
                return Self::new(Kind::ResourceConflict, text);
            }
            identity::Error::Document(error) => return Self::invalid_parameter(error.to_string()),
            identity::Error::Internal(text) | identity::Error::Change(ChangeError::Internal(text)) => {
                return Self::internal(&text);
            }
            identity::Error::Change(ChangeError::Full) => {
                return Self::new(Kind::CodeStorageExceeded, "There is no room left on the platform's disk");
            }
            identity::Error::Change(ChangeError::Refused(refusal)) => refusal,
        };
        match refusal {
            Refusal::NotFound(Noun::Account) => Self::new(Kind::ResourceNotFound, "There is no such account"),
            Refusal::NotFound(_) => Self::new(Kind::ResourceNotFound, "The account has no such access key"),
            Refusal::Exists => Self::account_exists(),
            Refusal::Quota(Quota::AccessKeys) => Self::new(
                Kind::ResourceConflict,
                "The account's root user has two access keys already: remove one first",
            ),
            other => Self::new(Kind::ResourceConflict, other.to_string()),
        }
    }

    /// Why a control request's body was not read.
    pub(crate) fn body(error: &body::Error, bytes_max: usize, operation: &str) -> Self {
        match error {
            body::Error::TooLarge => Self::new(
                Kind::RequestEntityTooLarge,
                format!("Request must be smaller than {bytes_max} bytes for the {operation} operation"),
            ),
            other => Self::body_unread(other),
        }
    }

    /// Why an invocation's payload was not read.
    pub(crate) fn payload(error: &body::Error, bytes_max: usize) -> Self {
        match error {
            body::Error::TooLarge => Self::new(
                Kind::RequestTooLarge,
                format!("Request must be smaller than {bytes_max} bytes for the InvokeFunction operation"),
            ),
            other => Self::body_unread(other),
        }
    }

    fn body_unread(error: &body::Error) -> Self {
        match error {
            body::Error::Busy => {
                Self::new(Kind::ServiceUnavailable, "Too much is being uploaded at once: try again in a moment")
            }
            body::Error::Slow => Self::new(Kind::RequestTimeout, "The request's body did not arrive in time"),
            body::Error::TooLarge | body::Error::CutOff => {
                Self::invalid_content("Could not parse request body into json: the body broke off before its end")
            }
        }
    }

    /// Why a change to a function was not made. `name` and `arn` are the function's.
    pub(crate) fn change(error: control::Error, name: &str, arn: &str) -> Self {
        match error {
            control::Error::Exists => Self::new(Kind::ResourceConflict, format!("Function already exist: {name}")),
            control::Error::NotFound => Self::function_not_found(arn),
            control::Error::RevisionMismatch => Self::revision_mismatch(),
            control::Error::CodeMismatch { current } => Self::code_mismatch("", &current),
            control::Error::NotActive(state) => Self::not_in_state(match state {
                State::Pending => "Pending",
                State::Active => "Active",
                State::Failed { .. } => "Failed",
            }),
            control::Error::Aliased(aliases) => {
                let aliases: Vec<&str> = aliases.iter().map(AliasName::as_str).collect();
                let text = format!("Aliases {aliases:?} point at {arn}: update or delete them first");
                Self::new(Kind::ResourceConflict, text)
            }
            control::Error::BelowProvisioned { provisioned } => Self::invalid_parameter(format!(
                "ReservedConcurrentExecutions should not be lower than function's total provisioned concurrency \
                 [{provisioned}]."
            )),
            control::Error::ZipTooLarge => Self::new(
                Kind::RequestEntityTooLarge,
                format!("Zipped size must be smaller than {ZIP_BYTES_MAX} bytes"),
            ),
            control::Error::Package(text) | control::Error::Unsupported(text) => Self::invalid_parameter(text),
            control::Error::Scaling(text) => Self::invalid_parameter(text),
            control::Error::Unreservable => Self::new(
                Kind::BareParameterValue,
                format!(
                    "Specified ReservedConcurrentExecutions for function decreases account's \
                     UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
                ),
            ),
            control::Error::CodeStorage => Self::new(Kind::CodeStorageExceeded, "Code storage limit exceeded."),
            control::Error::StorageFull => {
                Self::new(Kind::CodeStorageExceeded, "The platform's disk is full. Nothing was changed")
            }
            control::Error::Internal(text) => Self::internal(&text),
        }
    }

    /// A code signing configuration that is asked for.
    pub(crate) fn no_code_signing(arn: &str) -> Self {
        Self::new(Kind::NoCodeSigning, format!("The Lambda code signing configuration {arn} can not be found."))
    }

    /// A code signing configuration that a function is to have.
    pub(crate) fn code_signing_not_found(arn: &str) -> Self {
        let text =
            "The code signing configuration cannot be found. Check that the provided configuration is not deleted";
        Self::new(Kind::CodeSigningNotFound, format!("{text}: {arn}."))
    }

    /// A CodeSha256 that is not the code's.
    pub(crate) fn code_mismatch(asked: &str, current: &str) -> Self {
        Self::invalid_parameter(format!(
            "CodeSHA256 ({asked}) is different from current CodeSHA256 in $LATEST ({current}). Please try again with \
             the CodeSHA256 in $LATEST."
        ))
    }

    fn not_in_state(state: &str) -> Self {
        let text = "The operation cannot be performed at this time. The function is currently in the following state: ";
        Self::new(Kind::ResourceConflict, format!("{text}{state}"))
    }

    /// A RevisionId that is not the current one.
    pub(crate) fn revision_mismatch() -> Self {
        Self::new(
            Kind::PreconditionFailed,
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
             retrieve the latest Revision Id",
        )
    }

    /// Why an invocation did not run. `arn` is the function's.
    pub(crate) fn refusal(refusal: Refusal, arn: &str) -> Self {
        match refusal {
            Refusal::TooManyRequests(Throttle { limit, retry_after_s }) => Self {
                retry_after_s,
                reason: Some(match limit {
                    Limit::Function => "ReservedFunctionConcurrentInvocationLimitExceeded",
                    Limit::Account | Limit::Node => "ConcurrentInvocationLimitExceeded",
                }),
                ..Self::new(Kind::TooManyRequests, "Rate Exceeded.")
            },
            Refusal::Pending => Self::not_in_state("Pending"),
            Refusal::Failed(reason) => Self::not_in_state(&format!("Failed ({reason})")),
            Refusal::NotFound => Self::function_not_found(arn),
            Refusal::Stopping => Self::new(Kind::ServiceUnavailable, "The platform is stopping"),
        }
    }

    /// Why an event was not accepted. `arn` is the function's. What is full is worded as a rate that is exceeded: Lambda
    /// has no other word for it.
    pub(crate) fn event_refused(refused: events::Refused, arn: &str) -> Self {
        match refused {
            events::Refused::Invocation(refusal) => Self::refusal(refusal, arn),
            events::Refused::Full(full) => Self {
                reason: Some(match full {
                    events::Full::Function => "FunctionInvocationRateLimitExceeded",
                    events::Full::Account => "CallerRateLimitExceeded",
                }),
                ..Self::new(Kind::TooManyRequests, "Rate Exceeded.")
            },
            events::Refused::DiskFull => {
                Self::new(Kind::ServiceUnavailable, "The platform's disk is full. The event was not accepted")
            }
            events::Refused::Internal(text) => Self::internal(&text),
        }
    }

    /// An event's payload over its limit (worded as Lambda does, from memory).
    pub(crate) fn event_too_large(bytes: usize, bytes_max: usize) -> Self {
        let text = format!("{bytes} byte payload is too large for the Event invocation type (limit {bytes_max} bytes)");
        Self::new(Kind::RequestTooLarge, text)
    }

    /// The platform's own failure: `text` goes to the log.
    pub(crate) fn internal(text: &str) -> Self {
        tracing::error!(error = text, "a request failed");
        Self::new(Kind::Service, "An error occurred and the request cannot be processed. The platform's log says more")
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::new(Kind::AccessDenied, denied.to_string())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn told(error: Error) -> (u16, String, String) {
        let response = error.into_response();
        let status = response.status().as_u16();
        let code = response.headers()[respond::ERROR_TYPE].to_str().unwrap().to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn throttled(limit: Limit) -> Refusal {
        Refusal::TooManyRequests(Throttle { limit, retry_after_s: 7 })
    }

    #[test]
    fn a_throttled_caller_is_told_when_to_come_again() {
        let headers = Error::refusal(throttled(Limit::Node), "").into_response().headers().clone();
        assert_eq!(headers[header::RETRY_AFTER], "7");
    }

    /// Envelopes as recorded against AWS.
    #[tokio::test]
    async fn envelopes_are_lambdas() {
        let arn = "arn:aws:lambda:us-east-1:111111111111:function:f";
        for (error, status, code, text) in [
            (
                Error::function_not_found(arn),
                404,
                "ResourceNotFoundException",
                r#"{"Type":"User","Message":"Function not found: arn:aws:lambda:us-east-1:111111111111:function:f"}"#,
            ),
            (
                Error::refusal(throttled(Limit::Node), arn),
                429,
                "TooManyRequestsException",
                r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
            ),
            (
                Error::refusal(throttled(Limit::Function), arn),
                429,
                "TooManyRequestsException",
                r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
            ),
            (
                Error::change(control::Error::Unreservable, "f", arn),
                400,
                "InvalidParameterValueException",
                r#"{"message":"Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."}"#,
            ),
            (
                Error::refusal(Refusal::Pending, arn),
                409,
                "ResourceConflictException",
                r#"{"Type":"User","message":"The operation cannot be performed at this time. The function is currently in the following state: Pending"}"#,
            ),
            (
                Error::validation(&["Value 'r1' at 'role' failed".into()]),
                400,
                "ValidationException",
                r#"{"message":"1 validation error detected: Value 'r1' at 'role' failed"}"#,
            ),
            (
                Error::body(&body::Error::TooLarge, 70_167_211, "CreateFunction"),
                413,
                "RequestEntityTooLargeException",
                r#"{"message":"Request must be smaller than 70167211 bytes for the CreateFunction operation"}"#,
            ),
            (
                Error::change(control::Error::ZipTooLarge, "f", arn),
                413,
                "RequestEntityTooLargeException",
                r#"{"message":"Zipped size must be smaller than 52428800 bytes"}"#,
            ),
            (
                Error::change(control::Error::RevisionMismatch, "f", arn),
                412,
                "PreconditionFailedException",
                r#"{"Type":"User","message":"The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"}"#,
            ),
        ] {
            assert_eq!(told(error).await, (status, code.to_owned(), text.to_owned()));
        }
    }

    #[tokio::test]
    async fn what_is_for_the_operator_stays_here() {
        let (status, code, text) = told(Error::change(control::Error::Internal("/secret".into()), "f", "arn")).await;
        assert_eq!((status, code.as_str()), (500, "ServiceException"));
        assert!(!text.contains("secret"));
    }
}
