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

use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use updraft_types::{Body, limits::REQUEST_BODY_BYTES_MAX};

use crate::{doors::Doors, error::Error};

/// Most segments an operation's path has; the rest of a longer path is one segment that matches nothing.
const SEGMENTS_MAX: usize = 8;

/// Largest body parsed on the spot; a larger one is a package.
const PARSED_INLINE_BYTES_MAX: usize = 256 << 10;

/// Answers one request to the API.
pub(crate) async fn serve(doors: &Doors, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    if let Some(service) = foreign_service(&request) {
        return Err(Error::not_implemented(&format!("The service {service}")));
    }
    let (head, body) = request.into_parts();
    let mut segments = [""; SEGMENTS_MAX];
    let count = split(head.uri.path(), &mut segments);
    let query = query::Query::new(head.uri.query());
    let (get, post, put, delete) = (&Method::GET, &Method::POST, &Method::PUT, &Method::DELETE);
    match (&head.method, &segments[..count]) {
        (method, ["2015-03-31", "functions"]) if method == post => create::create(doors, body).await,
        (method, ["2015-03-31", "functions"]) if method == get => read::list(doors, &query),
        (method, ["2015-03-31", "functions", name]) if method == get => read::get(doors, name, &query, &head),
        (method, ["2015-03-31", "functions", name]) if method == delete => delete::delete(doors, name, &query).await,
        (method, ["2015-03-31", "functions", name, "configuration"]) if method == get => {
            read::get_configuration(doors, name, &query)
        }
        (method, ["2015-03-31", "functions", name, "configuration"]) if method == put => {
            update::configuration(doors, name, body).await
        }
        (method, ["2015-03-31", "functions", name, "code"]) if method == put => update::code(doors, name, body).await,
        (method, ["2015-03-31", "functions", name, "invocations"]) if method == post => {
            invoke::invoke(doors, name, &query, &head.headers, body).await
        }
        (method, ["2015-03-31", "functions", name, "versions"]) if method == get => {
            read::list_versions(doors, name, &query)
        }
        (method, ["2015-03-31", "functions", name, "policy"]) if method == get => read::get_policy(doors, name, &query),
        (method, ["2021-10-31", "functions", name, "url"]) if method == post => {
            url_config::create(doors, name, &query, body).await
        }
        (method, ["2021-10-31", "functions", name, "url"]) if method == get => url_config::get(doors, name, &query),
        (method, ["2021-10-31", "functions", name, "url"]) if method == put => {
            url_config::update(doors, name, &query, body).await
        }
        (method, ["2021-10-31", "functions", name, "url"]) if method == delete => {
            url_config::delete(doors, name, &query).await
        }
        (method, ["2021-10-31", "functions", name, "urls"]) if method == get => url_config::list(doors, name),
        (method, ["2017-03-31", "tags", resource]) if method == get => tags::list(doors, resource),
        (method, ["2017-03-31", "tags", resource]) if method == post => tags::add(doors, resource, body).await,
        (method, ["2017-03-31", "tags", resource]) if method == delete => tags::remove(doors, resource, &query).await,
        (method, ["2017-10-31", "functions", name, "concurrency"]) if method == put => {
            concurrency::put(doors, name, body).await
        }
        (method, ["2017-10-31", "functions", name, "concurrency"]) if method == delete => {
            concurrency::delete(doors, name).await
        }
        (method, ["2019-09-30", "functions", name, "concurrency"]) if method == get => concurrency::get(doors, name),
        (method, ["2016-08-19", "account-settings"]) if method == get => Ok(read::account_settings(doors)),
        (method, ["2020-06-30", "functions", name, "code-signing-config"]) if method == get => {
            read::code_signing(doors, name)
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

/// The service a request is signed for, where it is not Lambda: the fourth part of the credential scope.
fn foreign_service<B>(request: &Request<B>) -> Option<String> {
    let authorization = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let scope = authorization.split_once("Credential=")?.1.split([',', ' ']).next()?;
    let service = scope.rsplit('/').nth(1)?;
    (service != "lambda").then(|| service.chars().take(40).collect())
}

/// Reads a control request's JSON body. A large one is parsed where blocking does no harm.
pub(crate) async fn read_json<T>(doors: &Doors, body: Incoming, operation: &str) -> Result<T, Error>
where
    T: DeserializeOwned + Send + 'static,
{
    let read = doors.budget.read(body, REQUEST_BODY_BYTES_MAX).await;
    let held = read.map_err(|error| Error::body(&error, REQUEST_BODY_BYTES_MAX, operation))?;
    let parsed = if held.bytes.len() <= PARSED_INLINE_BYTES_MAX {
        serde_json::from_slice(&held.bytes)
    } else {
        let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&held.bytes));
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

    #[test]
    fn the_credential_scope_names_the_service() {
        let service = |authorization: &str| {
            foreign_service(&Request::get("/").header("authorization", authorization).body(()).unwrap())
        };
        let scope = |service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
            )
        };
        assert_eq!(service(&scope("sqs")).as_deref(), Some("sqs"));
        assert_eq!(service(&scope("lambda")), None);
        assert_eq!(service("Bearer x"), None);
        assert_eq!(service("Credential="), None);
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
