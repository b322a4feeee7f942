//! Lambda's control and invoke API (REST-JSON, service model 2015-03-31 of botocore 1.44.5).
//!
//! Routes on raw, still encoded path segments, since names arrive as percent-encoded ARNs. What is not part of this
//! platform yet is answered 501 by name, never with a success that means nothing.

mod aliases;
pub(crate) mod authorize;
mod code;
mod code_signing;
mod concurrency;
mod condition_keys;
mod configuration;
mod create;
mod delete;
mod event_invoke;
mod event_sources;
mod invoke;
mod invoke_stream;
mod layer_name;
mod layer_policy;
pub(crate) mod layers;
mod members;
mod name;
mod operations;
mod permissions;
mod provisioned;
mod query;
mod read;
mod recursion;
mod resource_policy;
mod runtime_management;
mod tags;
mod update;
mod url_config;
mod validate;
mod versions;
mod view;

use http::{Method, Response, request::Parts};
use serde::de::DeserializeOwned;
use updraft_types::{
    Body,
    limits::{PAYLOAD_BYTES_MAX, REQUEST_BODY_BYTES_MAX},
};

use crate::{
    body::{self, Held},
    error::Error,
    scope::Scope,
};

/// Most segments an operation's path has; the rest of a longer path is one segment that matches nothing.
const SEGMENTS_MAX: usize = 8;

/// Largest body parsed on the spot; a larger one is a package.
const PARSED_INLINE_BYTES_MAX: usize = 256 << 10;

/// The largest body that an operation takes, bytes.
pub(crate) fn body_bytes_max(head: &Parts) -> usize {
    if is_invocation(head) { PAYLOAD_BYTES_MAX } else { REQUEST_BODY_BYTES_MAX }
}

/// Why an operation's body was not read, worded as the operation does.
pub(crate) fn unread(head: &Parts, error: &body::Error) -> Error {
    if is_invocation(head) {
        return Error::payload(error, PAYLOAD_BYTES_MAX);
    }
    let mut segments = [""; SEGMENTS_MAX];
    let count = split(head.uri.path(), &mut segments);
    let found = operations::find(&head.method, &segments[..count], &query::Query::new(head.uri.query()));
    let operation = found.map_or("requested", |(operation, _)| operation.name);
    Error::body(error, REQUEST_BODY_BYTES_MAX, operation)
}

fn is_invocation(head: &Parts) -> bool {
    let path = head.uri.path().trim_end_matches('/');
    head.method == Method::POST && (path.ends_with("invocations") || path.ends_with("/invoke-async"))
}

/// Answers one request to the API.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, Error> {
    let mut segments = [""; SEGMENTS_MAX];
    let count = split(head.uri.path(), &mut segments);
    let query = query::Query::new(head.uri.query());
    let Some((operation, parameters)) = operations::find(&head.method, &segments[..count], &query) else {
        return Err(Error::unknown_operation());
    };
    if operation.is_missing() {
        return Err(Error::not_implemented(operation.name));
    }
    authorize::check(scope, operation, &parameters, &query, body).await?;
    let [name, second, third] = parameters;
    match operation.name {
        "CreateFunction" => Box::pin(create::create(scope, body)).await,
        "ListFunctions" => read::list(scope, &query),
        "GetFunction" => read::get(scope, name, &query, head),
        "DeleteFunction" => delete::delete(scope, name, &query).await,
        "GetFunctionConfiguration" => read::get_configuration(scope, name, &query),
        "UpdateFunctionConfiguration" => Box::pin(update::configuration(scope, name, body)).await,
        "UpdateFunctionCode" => Box::pin(update::code(scope, name, body)).await,
        "Invoke" => invoke::invoke(scope, name, &query, &head.headers, body).await,
        "InvokeAsync" => invoke::invoke_async(scope, name, &head.headers, body).await,
        "ListVersionsByFunction" => versions::list(scope, name, &query),
        "PublishVersion" => versions::publish(scope, name, body).await,
        "CreateAlias" => aliases::create(scope, name, body).await,
        "ListAliases" => aliases::list(scope, name, &query),
        "GetAlias" => aliases::get(scope, name, second),
        "UpdateAlias" => aliases::update(scope, name, second, body).await,
        "DeleteAlias" => aliases::delete(scope, name, second).await,
        "PutProvisionedConcurrencyConfig" => provisioned::put(scope, name, &query, body).await,
        "GetProvisionedConcurrencyConfig" | "ListProvisionedConcurrencyConfigs" => {
            provisioned::get(scope, name, &query)
        }
        "DeleteProvisionedConcurrencyConfig" => provisioned::delete(scope, name, &query).await,
        "AddPermission" => permissions::add(scope, name, &query, body).await,
        "RemovePermission" => permissions::remove(scope, name, second, &query).await,
        "GetPolicy" => permissions::get(scope, name, &query),
        "PutResourcePolicy" => resource_policy::put(scope, name, body).await,
        "GetResourcePolicy" => resource_policy::get(scope, name),
        "DeleteResourcePolicy" => resource_policy::delete(scope, name, &query).await,
        "CreateFunctionUrlConfig" => url_config::create(scope, name, &query, body).await,
        "GetFunctionUrlConfig" => url_config::get(scope, name, &query),
        "UpdateFunctionUrlConfig" => url_config::update(scope, name, &query, body).await,
        "DeleteFunctionUrlConfig" => url_config::delete(scope, name, &query).await,
        "ListFunctionUrlConfigs" => url_config::list(scope, name, &query),
        "InvokeWithResponseStream" => invoke_stream::invoke(scope, name, &query, &head.headers, body).await,
        "ListLayers" => layers::list(scope, &query).await,
        "GetLayerVersionByArn" => layers::get_by_arn(scope, &query, head).await,
        "ListLayerVersions" => layers::list_versions(scope, name, &query).await,
        "PublishLayerVersion" => layers::publish(scope, name, head, body).await,
        "GetLayerVersion" => layers::get(scope, name, second, head).await,
        "DeleteLayerVersion" => layers::delete(scope, name, second).await,
        "GetLayerVersionPolicy" => layer_policy::get(scope, name, second).await,
        "AddLayerVersionPermission" => layer_policy::add(scope, name, second, &query, body).await,
        "RemoveLayerVersionPermission" => layer_policy::remove(scope, name, second, third, &query).await,
        "PutFunctionEventInvokeConfig" => {
            event_invoke::set(scope, name, &query, body, event_invoke::Manner::Replace).await
        }
        "UpdateFunctionEventInvokeConfig" => {
            event_invoke::set(scope, name, &query, body, event_invoke::Manner::Amend).await
        }
        "GetFunctionEventInvokeConfig" => event_invoke::get(scope, name, &query),
        "DeleteFunctionEventInvokeConfig" => event_invoke::delete(scope, name, &query).await,
        "ListFunctionEventInvokeConfigs" => event_invoke::list(scope, name, &query),
        "PutFunctionRecursionConfig" => recursion::put(scope, name, body).await,
        "GetFunctionRecursionConfig" => recursion::get(scope, name),
        "PutRuntimeManagementConfig" => runtime_management::put(scope, name, &query, body).await,
        "GetRuntimeManagementConfig" => runtime_management::get(scope, name, &query),
        "ListTags" => tags::list(scope, name),
        "TagResource" => tags::add(scope, name, body).await,
        "UntagResource" => tags::remove(scope, name, &query).await,
        "PutFunctionConcurrency" => concurrency::put(scope, name, body).await,
        "DeleteFunctionConcurrency" => concurrency::delete(scope, name).await,
        "GetFunctionConcurrency" => concurrency::get(scope, name),
        "GetAccountSettings" => read::account_settings(scope).await,
        "ListEventSourceMappings" => event_sources::list(scope, &query),
        "GetEventSourceMapping" | "UpdateEventSourceMapping" | "DeleteEventSourceMapping" => {
            event_sources::missing(name)
        }
        "ListCodeSigningConfigs" => code_signing::list(&query),
        "GetCodeSigningConfig"
        | "UpdateCodeSigningConfig"
        | "DeleteCodeSigningConfig"
        | "ListFunctionsByCodeSigningConfig" => code_signing::missing(name),
        "GetFunctionCodeSigningConfig" => code_signing::get(scope, name),
        "PutFunctionCodeSigningConfig" => code_signing::put(body).await,
        "DeleteFunctionCodeSigningConfig" => code_signing::delete(scope, name),
        other => Err(Error::internal(&format!("{other} has no handler"))),
    }
}

/// Splits a raw path at its slashes; one slash at the end counts for nothing. Answers how many there are.
fn split<'a>(path: &'a str, segments: &mut [&'a str; SEGMENTS_MAX]) -> usize {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut count = 0;
    for segment in path.splitn(SEGMENTS_MAX, '/') {
        segments[count] = segment;
        count += 1;
    }
    count
}

/// Parses a control request's JSON body. A large one is parsed where blocking does no harm.
pub(crate) async fn read_json<T>(body: &Held) -> Result<T, Error>
where
    T: DeserializeOwned + Send + 'static,
{
    let bytes = body.bytes.clone();
    let parsed = if bytes.len() <= PARSED_INLINE_BYTES_MAX {
        serde_json::from_slice(&bytes)
    } else {
        let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes));
        parsing.await.map_err(|panic| Error::internal(&panic.to_string()))?
    };
    parsed.map_err(|error| Error::unreadable(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(path: &str) -> Vec<&str> {
        let mut segments = [""; SEGMENTS_MAX];
        let count = split(path, &mut segments);
        segments[..count].to_vec()
    }

    #[test]
    fn paths_are_split_raw() {
        assert_eq!(parts("/2015-03-31/functions/"), ["2015-03-31", "functions"]);
        assert_eq!(parts("/2015-03-31/functions/a%2Fb%3Ac/code"), ["2015-03-31", "functions", "a%2Fb%3Ac", "code"]);
        assert_eq!(parts("/a//b"), ["a", "", "b"]);
        assert_eq!(parts("/1/2/3/4/5/6/7/8/9").last(), Some(&"8/9"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn no_path_is_too_odd(path in ".{0,60}") {
            let mut segments = [""; SEGMENTS_MAX];
            let count = split(&path, &mut segments);
            prop_assert!((1..=SEGMENTS_MAX).contains(&count));
        }
    }
}
