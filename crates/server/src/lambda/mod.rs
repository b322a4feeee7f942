//! Lambda's control and invoke API (REST-JSON, service model 2015-03-31 of botocore 1.44.5).
//!
//! Routes on raw, still encoded path segments, since names arrive as percent-encoded ARNs. What is not part of this
//! platform yet is answered 501 by name, never with a success that means nothing.

mod code;
mod concurrency;
mod configuration;
mod create;
mod delete;
mod invoke;
mod invoke_stream;
mod layer_name;
mod layer_policy;
pub(crate) mod layers;
mod members;
mod name;
mod operations;
mod query;
mod read;
mod tags;
mod update;
mod url_config;
mod validate;
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
    let operation = match (&head.method, &segments[..count]) {
        (&Method::POST, ["2015-03-31", "functions"]) => "CreateFunction",
        (&Method::POST, ["2018-10-31", "layers", _, "versions"]) => "PublishLayerVersion",
        (&Method::PUT, ["2015-03-31", "functions", _, "code"]) => "UpdateFunctionCode",
        (&Method::PUT, ["2015-03-31", "functions", _, "configuration"]) => "UpdateFunctionConfiguration",
        (method, segments) => operations::find(method, segments).unwrap_or("requested"),
    };
    Error::body(error, REQUEST_BODY_BYTES_MAX, operation)
}

fn is_invocation(head: &Parts) -> bool {
    head.method == Method::POST && head.uri.path().trim_end_matches('/').ends_with("invocations")
}

/// Answers one request to the API.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, Error> {
    let mut segments = [""; SEGMENTS_MAX];
    let count = split(head.uri.path(), &mut segments);
    let query = query::Query::new(head.uri.query());
    let (get, post, put, delete) = (&Method::GET, &Method::POST, &Method::PUT, &Method::DELETE);
    match (&head.method, &segments[..count]) {
        (method, ["2015-03-31", "functions"]) if method == post => create::create(scope, body).await,
        (method, ["2015-03-31", "functions"]) if method == get => read::list(scope, &query),
        (method, ["2015-03-31", "functions", name]) if method == get => read::get(scope, name, &query, head),
        (method, ["2015-03-31", "functions", name]) if method == delete => delete::delete(scope, name, &query).await,
        (method, ["2015-03-31", "functions", name, "configuration"]) if method == get => {
            read::get_configuration(scope, name, &query)
        }
        (method, ["2015-03-31", "functions", name, "configuration"]) if method == put => {
            update::configuration(scope, name, body).await
        }
        (method, ["2015-03-31", "functions", name, "code"]) if method == put => update::code(scope, name, body).await,
        (method, ["2015-03-31", "functions", name, "invocations"]) if method == post => {
            invoke::invoke(scope, name, &query, &head.headers, body).await
        }
        (method, ["2021-11-15", "functions", name, "response-streaming-invocations"]) if method == post => {
            invoke_stream::invoke(scope, name, &query, &head.headers, body).await
        }
        (method, ["2015-03-31", "functions", name, "versions"]) if method == get => {
            read::list_versions(scope, name, &query)
        }
        (method, ["2015-03-31", "functions", name, "policy"]) if method == get => read::get_policy(scope, name, &query),
        (method, ["2021-10-31", "functions", name, "url"]) if method == post => {
            url_config::create(scope, name, &query, body).await
        }
        (method, ["2021-10-31", "functions", name, "url"]) if method == get => url_config::get(scope, name, &query),
        (method, ["2021-10-31", "functions", name, "url"]) if method == put => {
            url_config::update(scope, name, &query, body).await
        }
        (method, ["2021-10-31", "functions", name, "url"]) if method == delete => {
            url_config::delete(scope, name, &query).await
        }
        (method, ["2021-10-31", "functions", name, "urls"]) if method == get => url_config::list(scope, name),
        (method, ["2017-03-31", "tags", resource]) if method == get => tags::list(scope, resource),
        (method, ["2017-03-31", "tags", resource]) if method == post => tags::add(scope, resource, body).await,
        (method, ["2017-03-31", "tags", resource]) if method == delete => tags::remove(scope, resource, &query).await,
        (method, ["2017-10-31", "functions", name, "concurrency"]) if method == put => {
            concurrency::put(scope, name, body).await
        }
        (method, ["2017-10-31", "functions", name, "concurrency"]) if method == delete => {
            concurrency::delete(scope, name).await
        }
        (method, ["2019-09-30", "functions", name, "concurrency"]) if method == get => concurrency::get(scope, name),
        (method, ["2018-10-31", "layers"]) if method == get => match query.get("find").as_deref() {
            Some("LayerVersion") => layers::get_by_arn(scope, &query, head).await,
            _ => layers::list(scope, &query).await,
        },
        (method, ["2018-10-31", "layers", layer, "versions"]) if method == get => {
            layers::list_versions(scope, layer, &query).await
        }
        (method, ["2018-10-31", "layers", layer, "versions"]) if method == post => {
            layers::publish(scope, layer, head, body).await
        }
        (method, ["2018-10-31", "layers", layer, "versions", version]) if method == get => {
            layers::get(scope, layer, version, head).await
        }
        (method, ["2018-10-31", "layers", layer, "versions", version]) if method == delete => {
            layers::delete(scope, layer, version).await
        }
        (method, ["2018-10-31", "layers", layer, "versions", version, "policy"]) if method == get => {
            layer_policy::get(scope, layer, version).await
        }
        (method, ["2018-10-31", "layers", layer, "versions", version, "policy"]) if method == post => {
            layer_policy::add(scope, layer, version, &query, body).await
        }
        (method, ["2018-10-31", "layers", layer, "versions", version, "policy", sid]) if method == delete => {
            layer_policy::remove(scope, layer, version, sid, &query).await
        }
        (method, ["2016-08-19", "account-settings"]) if method == get => Ok(read::account_settings(scope)),
        (method, ["2020-06-30", "functions", name, "code-signing-config"]) if method == get => {
            read::code_signing(scope, name)
        }
        (method, segments) => Err(match operations::find(method, segments) {
            Some(operation) => Error::not_implemented(operation),
            None => Error::unknown_operation(),
        }),
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
