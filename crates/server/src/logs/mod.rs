//! CloudWatch Logs, as far as tools read Lambda's logs: groups, streams, events, filters and live tails.
//!
//! What functions write is in the group `/aws/lambda/NAME`, or the one they configure, in a stream for each instance.
//! The lines are those of `updraft logs`. Bounds on requests are the service model's.

mod events;
mod groups;
mod live;
mod put;
mod streams;
mod tags;

use http::{Response, request::Parts};
use updraft_node::{identity::Denied, logs::stored};
use updraft_types::{Body, LogGroupId};

use self::tags::By;
use crate::{
    api_error::{ApiError, Protocol},
    aws_json::{self, Input, Rule},
    body::Held,
    error::Error,
    scope::{Act, Scope},
    tags::borrowed,
};

/// The largest request, bytes: a full PutLogEvents (1 MB), with every character escaped.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;

const GROUP_NAME: Rule = Rule {
    length: 1..=512,
    pattern: Some((r"[\.\-_/#A-Za-z0-9]+", |text| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte))
    })),
};
const GROUP_IDENTIFIER: Rule = Rule {
    length: 1..=2048,
    pattern: Some((r"[\w#+=/:,.@-]*", |text| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_#+=/:,.@-*".contains(&byte))
    })),
};
const STREAM_NAME: Rule = Rule { length: 1..=512, pattern: Some(("[^:*]*", |text| !text.contains([':', '*']))) };
const TOKEN: Rule = Rule::length(1..=2048);
const FILTER_PATTERN: Rule = Rule::length(0..=1024);
const TIME: std::ops::RangeInclusive<i64> = 0..=i64::MAX;

/// Answers one request.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, ApiError> {
    let operation = aws_json::operation(head, "Logs_20140328")?;
    let input = Input::read(body, "InvalidParameterException")?;
    let resources = resources(scope, operation, &input);
    let keys = tags::keys(operation, &input);
    authorize(scope, operation, &resources, &borrowed(&keys)).await.map_err(|refused| match refused {
        Unauthorized::Denied(denied) => ApiError::denied(&denied, Protocol::Json),
        Unauthorized::Unknown(error) => internal(error),
    })?;
    match operation {
        "CreateLogGroup" => groups::create(scope, input).await,
        "DeleteLogGroup" => groups::delete(scope, input).await,
        "DescribeLogGroups" => groups::describe(scope, input).await,
        "PutRetentionPolicy" => groups::put_retention(scope, input).await,
        "DeleteRetentionPolicy" => groups::delete_retention(scope, input).await,
        "CreateLogStream" => streams::create(scope, input).await,
        "DescribeLogStreams" => streams::describe(scope, input).await,
        "PutLogEvents" => put::put(scope, input).await,
        "GetLogEvents" => events::get(scope, input).await,
        "FilterLogEvents" => events::filter(scope, input).await,
        "StartLiveTail" => live::start(scope, input).await,
        "TagResource" => tags::tag(scope, input, By::Arn).await,
        "TagLogGroup" => tags::tag(scope, input, By::Name).await,
        "UntagResource" => tags::untag(scope, input, By::Arn).await,
        "UntagLogGroup" => tags::untag(scope, input, By::Name).await,
        "ListTagsForResource" => tags::list(scope, input, By::Arn).await,
        "ListTagsLogGroup" => tags::list(scope, input, By::Name).await,
        other => Err(ApiError::not_implemented(&format!("CloudWatch Logs' {other}"))),
    }
}

/// Why somebody may not do something to a group.
#[derive(Debug)]
pub(crate) enum Unauthorized {
    /// Its policies say so.
    Denied(Denied),
    /// What the group is tagged with could not be read.
    Unknown(stored::Error),
}

impl From<Unauthorized> for Error {
    fn from(refused: Unauthorized) -> Self {
        match refused {
            Unauthorized::Denied(denied) => denied.into(),
            Unauthorized::Unknown(error) => Error::internal(&error.to_string()),
        }
    }
}

/// Asks for an operation on each group that it names. Policies write a group's ARN with `:*` at its end and without
/// (source: CloudWatch Logs' user guide, «CloudWatch Logs resources and operations»); either will do.
pub(crate) async fn authorize(
    scope: &Scope<'_>,
    operation: &str,
    groups: &[String],
    keys: &[(&str, &str)],
) -> Result<(), Unauthorized> {
    let action = format!("logs:{operation}");
    let nothing = Act { action: &action, resource: "*", owner: scope.account(), policy: None, tags: None, keys };
    if scope.needs_no_policy(&nothing) {
        return Ok(());
    }
    if groups.is_empty() {
        return scope.authorize_act(&nothing).map_err(Unauthorized::Denied);
    }
    for group in groups {
        let plain = group.strip_suffix(":*").unwrap_or(group);
        let tags = tags::of(scope, plain).await.map_err(Unauthorized::Unknown)?;
        let asked = |resource: &str| scope.authorize_act(&Act { resource, tags: tags.as_ref(), ..nothing });
        match (asked(plain), asked(&format!("{plain}:*"))) {
            (Err(denied), _) | (_, Err(denied)) if denied.is_explicit() => return Err(Unauthorized::Denied(denied)),
            (Ok(()), _) | (_, Ok(())) => {}
            (Err(denied), _) => return Err(Unauthorized::Denied(denied)),
        }
    }
    Ok(())
}

/// The ARNs that an operation's permission is asked for, by the members that the operation reads, before they are checked.
fn resources(scope: &Scope<'_>, operation: &str, input: &Input) -> Vec<String> {
    let members: &[&str] = match operation {
        // AWS asks on the stream without a name of the group without a name, and says so in its denials. Policies allow it
        // with `log-group:*`, or with those words.
        "DescribeLogGroups" => return vec![format!("{}:log-stream:", group_arn(scope, ""))],
        "TagResource" | "UntagResource" | "ListTagsForResource" => &["resourceArn"],
        "GetLogEvents" | "FilterLogEvents" | "DescribeLogStreams" => &["logGroupName", "logGroupIdentifier"],
        "StartLiveTail" => return input.peek_all("logGroupIdentifiers").map(|text| asked(scope, text)).collect(),
        _ => &["logGroupName"],
    };
    let groups = members.iter().filter_map(|name| input.peek(name)).map(|text| asked(scope, text));
    // Some operations act on a stream.
    let stream = match operation {
        "PutLogEvents" | "GetLogEvents" => input.peek("logStreamName"),
        _ => None,
    };
    groups
        .map(|group| match stream {
            Some(stream) => format!("{}:log-stream:{stream}", group.strip_suffix(":*").unwrap_or(&group)),
            None => group,
        })
        .collect()
}

/// A group's ARN, given that or its name.
fn asked(scope: &Scope<'_>, text: &str) -> String {
    if text.starts_with("arn:") { text.to_owned() } else { group_arn(scope, text) }
}

/// `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`.
fn group_arn(scope: &Scope<'_>, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", scope.node.region(), scope.account())
}

/// A group of the caller's, by its name or its ARN; `None` if it is no group's, or another account's.
fn identified(scope: &Scope<'_>, text: &str) -> Option<LogGroupId> {
    let name = match text.strip_prefix("arn:") {
        Some(_) => {
            let name = text.strip_prefix(&group_arn(scope, ""))?;
            name.strip_suffix(":*").unwrap_or(name)
        }
        None => text,
    };
    Some(LogGroupId { account: scope.account().clone(), name: name.parse().ok()? })
}

/// The group that a request must name by `logGroupName`.
fn named(scope: &Scope<'_>, input: &mut Input) -> Result<LogGroupId, ApiError> {
    let name = input.required_text("logGroupName", &GROUP_NAME)?;
    or_complained(scope, input, identified(scope, &name))
}

/// The group that a request names by `logGroupName` or `logGroupIdentifier`, one of which must be there.
fn named_or_identified(scope: &Scope<'_>, input: &mut Input) -> Result<LogGroupId, ApiError> {
    let name = input.text("logGroupName", &GROUP_NAME)?;
    let identifier = input.text("logGroupIdentifier", &GROUP_IDENTIFIER)?;
    let text = match (name, identifier) {
        (Some(text), None) | (None, Some(text)) => text,
        (Some(_), Some(_)) => {
            return Err(invalid("LogGroup name and LogGroup ARN are mutually exclusive parameters."));
        }
        (None, None) => {
            input.missing("logGroupName");
            String::new()
        }
    };
    or_complained(scope, input, identified(scope, &text))
}

/// What `identified` found. Where it found nothing and the input has no complaint, the name is of no group of the caller's;
/// where it has, [`Input::finish`] comes before anything is looked up.
fn or_complained(scope: &Scope<'_>, input: &Input, group: Option<LogGroupId>) -> Result<LogGroupId, ApiError> {
    match group {
        Some(group) => Ok(group),
        None if input.is_sound() => Err(not_found("group")),
        None => Ok(LogGroupId { account: scope.account().clone(), name: "-".parse().expect("a hyphen is a name") }),
    }
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::bad_request("InvalidParameterException", text)
}

fn not_found(what: &str) -> ApiError {
    ApiError::bad_request("ResourceNotFoundException", format!("The specified log {what} does not exist."))
}

fn internal(error: stored::Error) -> ApiError {
    match error {
        stored::Error::Full => {
            let status = http::StatusCode::SERVICE_UNAVAILABLE;
            ApiError::new(status, "ServiceUnavailableException", "The disk is full")
        }
        other => ApiError::internal(&other.to_string()),
    }
}

/// An error unless a change was made; `what` exists already, if it does.
fn settled(change: stored::Change, what: &str) -> Result<(), ApiError> {
    match change {
        stored::Change::Done => Ok(()),
        stored::Change::Exists => {
            let text = format!("The specified log {what} already exists");
            Err(ApiError::bad_request("ResourceAlreadyExistsException", text))
        }
        stored::Change::NoGroup => Err(not_found("group")),
        stored::Change::NoStream => Err(not_found("stream")),
        stored::Change::TooMany => {
            Err(ApiError::bad_request("LimitExceededException", format!("Resource limit exceeded: log {what}s")))
        }
    }
}
