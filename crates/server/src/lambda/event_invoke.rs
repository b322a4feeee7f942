//! The configuration of asynchronous invocations: Put, Update, Get, Delete and ListFunctionEventInvokeConfig(s).
//!
//! Kept by qualifier: it holds for events that were sent by that name. Destinations can be functions of the same account;
//! whatever else Lambda delivers to is refused in the words it has for a destination that is not there. Texts of errors are
//! AWS's recorded ones, save for that of a role that may not invoke its destination.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use updraft_node::events::Undeliverable;
use updraft_types::{Body, Timestamp, settings::EventInvoke};

use super::{
    name::{self, Pattern, Resolved},
    query::Query,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

/// Configurations on one page.
const PAGE_MAX: usize = 50;
const DESTINATION: &str = r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
/// Services that take what becomes of an event.
const SERVICES: [&str; 5] = ["sqs", "sns", "events", "lambda", "s3"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    destination_config: Option<Destinations>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destinations {
    on_success: Option<Destination>,
    on_failure: Option<Destination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    destination: Option<String>,
}

/// Whether what a request leaves out is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Put: it is.
    Replace,
    /// Update: it stays.
    Amend,
}

impl Request {
    fn check(&self) -> Result<(), Error> {
        let mut violations = Violations::default();
        if let Some(retries) = self.maximum_retry_attempts {
            violations.range("maximumRetryAttempts", retries, 0..=2);
        }
        if let Some(age) = self.maximum_event_age_in_seconds {
            violations.range("maximumEventAgeInSeconds", age, 60..=21_600);
        }
        for (member, arn) in [("onSuccess", self.success()), ("onFailure", self.failure())] {
            let Some(arn) = arn else { continue };
            let member = format!("destinationConfig.{member}.destination");
            violations.length_max(&member, arn, 350);
            violations.pattern(&member, arn, is_destination(arn), DESTINATION);
        }
        violations.check()
    }

    fn success(&self) -> Option<&str> {
        self.destination_config.as_ref()?.on_success.as_ref()?.destination.as_deref()
    }

    fn failure(&self) -> Option<&str> {
        self.destination_config.as_ref()?.on_failure.as_ref()?.destination.as_deref()
    }

    fn is_empty(&self) -> bool {
        let Self { maximum_retry_attempts, maximum_event_age_in_seconds, destination_config } = self;
        maximum_retry_attempts.is_none() && maximum_event_age_in_seconds.is_none() && destination_config.is_none()
    }

    /// The configuration after this request.
    fn apply(&self, before: EventInvoke) -> EventInvoke {
        let number = |asked: Option<i64>, before| asked.and_then(|asked| u32::try_from(asked).ok()).or(before);
        let text = |asked: Option<&str>, before: Option<String>| match asked {
            Some("") => None,
            Some(asked) => Some(asked.to_owned()),
            None => before,
        };
        EventInvoke {
            retries_max: number(self.maximum_retry_attempts, before.retries_max),
            age_s_max: number(self.maximum_event_age_in_seconds, before.age_s_max),
            on_failure: text(self.failure(), before.on_failure),
            on_success: text(self.success(), before.on_success),
            modified_at: Timestamp::now(),
        }
    }
}

fn is_destination(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    if let Some(topic) = text.strip_prefix("kafka://") {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        return (1..=249).contains(&topic.len()) && !topic.starts_with('.') && topic.bytes().skip(1).all(is_word);
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, _] = parts[..] else { return false };
    let is_service = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name::is_partition(partition)
        && !partition.is_empty()
        && !service.is_empty()
        && service.bytes().all(is_service)
        && (region.is_empty() || name::is_region(region))
        && (account.is_empty() || (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())))
}

/// PutFunctionEventInvokeConfig and UpdateFunctionEventInvokeConfig.
pub(super) async fn set(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    body: &Held,
    manner: Manner,
) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let request: Request = read_json(body).await?;
    request.check()?;
    if request.is_empty() {
        return Err(Error::invalid_parameter(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    let (Some(latest), Some(_)) = (resolved.find(scope), resolved.version(scope)) else {
        return Err(Error::function_of_events_not_found());
    };
    for arn in [request.success(), request.failure()].into_iter().flatten().filter(|arn| !arn.is_empty()) {
        check_destination(scope, &resolved, arn, &request)?;
    }
    let key = key(&resolved);
    if manner == Manner::Amend && !latest.settings.event_invoke.contains_key(&key) {
        return Err(missing(scope, &resolved));
    }
    let changed = scope.node.update_settings(&latest.id, {
        let key = key.clone();
        // What there is counts when the change's turn has come; nothing, if it was deleted meanwhile.
        move |settings| {
            let before = match manner {
                Manner::Replace => Some(EventInvoke::default()),
                Manner::Amend => settings.event_invoke.get(&key).cloned(),
            };
            if let Some(before) = before {
                settings.event_invoke.insert(key, request.apply(before));
            }
        }
    });
    let changed = changed.await.map_err(|error| Error::change(error, &resolved.name, &resolved.arn(scope)))?;
    let after = changed.settings.event_invoke.get(&key).ok_or_else(|| missing(scope, &resolved))?;
    Ok(respond::json(StatusCode::OK, &view(scope, &resolved, &key, after)))
}

fn check_destination(scope: &Scope<'_>, resolved: &Resolved, arn: &str, request: &Request) -> Result<(), Error> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let service = parts.get(2).copied().unwrap_or_default();
    if !SERVICES.contains(&service) && !arn.starts_with("kafka://") {
        let told = |part: &str, arn: Option<&str>| match arn {
            Some(arn) => format!("On{part}(destination={arn})"),
            None => "null".to_owned(),
        };
        return Err(Error::invalid_parameter(format!(
            "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid.",
            told("Success", request.success()),
            told("Failure", request.failure()),
        )));
    }
    let invalid = || Error::invalid_parameter(format!("The destination ARN {arn} is invalid."));
    if service != "lambda" {
        return Err(invalid());
    }
    let own = resolved.arn(scope);
    if arn == own || arn.strip_prefix(&own).is_some_and(|rest| rest.starts_with(':')) {
        return Err(Error::invalid_parameter("You can't specify the function as a destination for itself."));
    }
    let source = resolved.version(scope).ok_or_else(Error::function_of_events_not_found)?;
    match scope.node.check_destination(&source, arn) {
        // A role that is not there yet may be there when the first record is to be delivered.
        Ok(()) | Err(Undeliverable::NoRole(_)) => Ok(()),
        Err(Undeliverable::NotAFunction | Undeliverable::NoFunction) => Err(invalid()),
        Err(Undeliverable::Denied(_)) => Err(Error::invalid_parameter(format!(
            "The function's execution role does not have permissions to call InvokeFunction on {arn}"
        ))),
    }
}

/// GetFunctionEventInvokeConfig.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let (latest, key) = (resolved.find(scope), key(&resolved));
    let found = latest.as_ref().and_then(|latest| latest.settings.event_invoke.get(&key));
    let found = found.ok_or_else(|| missing(scope, &resolved))?;
    Ok(respond::json(StatusCode::OK, &view(scope, &resolved, &key, found)))
}

/// DeleteFunctionEventInvokeConfig.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, query, Pattern::Namespaced)?;
    let key = key(&resolved);
    let latest = resolved.find(scope).filter(|latest| latest.settings.event_invoke.contains_key(&key));
    let latest = latest.ok_or_else(|| missing(scope, &resolved))?;
    let changed = scope.node.update_settings(&latest.id, move |settings| {
        settings.event_invoke.remove(&key);
    });
    changed.await.map_err(|error| Error::change(error, &resolved.name, &resolved.arn(scope)))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// ListFunctionEventInvokeConfigs; the marker is the last qualifier shown.
pub(super) fn list(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Namespaced)?;
    let latest = resolved.find(scope).ok_or_else(Error::function_of_events_not_found)?;
    let (count, after) = (query.page(PAGE_MAX)?, query.get("Marker").unwrap_or_default());
    let mut rest = latest.settings.event_invoke.iter().filter(|(key, _)| after.is_empty() || **key > after);
    let page: Vec<_> = rest.by_ref().take(count).collect();
    let views: Vec<Value> = page.iter().map(|(key, config)| view(scope, &resolved, key, config)).collect();
    let view = match (page.last(), rest.next()) {
        (Some((last, _)), Some(_)) => json!({ "FunctionEventInvokeConfigs": views, "NextMarker": last }),
        _ => json!({ "FunctionEventInvokeConfigs": views }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}

fn key(resolved: &Resolved) -> String {
    resolved.qualifier.clone().unwrap_or_else(|| "$LATEST".to_owned())
}

fn missing(scope: &Scope<'_>, resolved: &Resolved) -> Error {
    Error::no_event_invoke(&format!("{}:{}", resolved.arn(scope), key(resolved)))
}

fn view(scope: &Scope<'_>, resolved: &Resolved, key: &str, config: &EventInvoke) -> Value {
    let destination = |arn: &Option<String>| match arn {
        Some(arn) => json!({ "Destination": arn }),
        None => json!({}),
    };
    let mut view = json!({
        "LastModified": config.modified_at.as_ms() as f64 / 1_000.0,
        "FunctionArn": format!("{}:{key}", resolved.arn(scope)),
        "DestinationConfig": {
            "OnSuccess": destination(&config.on_success),
            "OnFailure": destination(&config.on_failure),
        },
    });
    for (member, value) in
        [("MaximumRetryAttempts", config.retries_max), ("MaximumEventAgeInSeconds", config.age_s_max)]
    {
        if let Some(value) = value {
            view[member] = json!(value);
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_follow_the_pattern() {
        for good in ["", "kafka://topic", "arn:aws:sqs:us-east-1:111111111111:queue", "arn:aws:s3:::bucket"] {
            assert!(is_destination(good), "{good}");
        }
        for bad in
            ["x", "kafka://", "kafka://.x", "arn:aws:_-/!lambda:us-east-1:111111111111:function:f", "arn:aws:sqs"]
        {
            assert!(!is_destination(bad), "{bad}");
        }
    }

    #[test]
    fn an_update_leaves_what_it_does_not_name() {
        let read = |text: &str| serde_json::from_str::<Request>(text).unwrap();
        let before =
            read(r#"{"MaximumRetryAttempts":1,"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:s3:::b"}}}"#);
        let before = before.apply(EventInvoke::default());
        let after = read(r#"{"MaximumEventAgeInSeconds":60}"#).apply(before.clone());
        assert_eq!((after.retries_max, after.age_s_max, &after.on_failure), (Some(1), Some(60), &before.on_failure));
        let cleared = read(r#"{"DestinationConfig":{"OnFailure":{"Destination":""}}}"#).apply(after);
        assert_eq!(cleared.on_failure, None);
        assert!(read(r#"{"MaximumRetryAttempts":3}"#).check().is_err());
        assert!(read(r#"{"MaximumEventAgeInSeconds":59}"#).check().is_err());
    }
}
