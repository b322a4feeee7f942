//! Which door a request goes to, by its host and raw path. Pure; nothing is decoded here.
//!
//! Order: a function URL's host name wins over every path, so a function may serve any path; then `/fn/NAME/…`,
//! `/healthz`, `/metrics`, `/_updraft/v1/…`; all else is Lambda's API.

use http::uri::PathAndQuery;

/// A door and what the route says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Door<'a> {
    /// `URLID.lambda-url.REGION.localhost`; empty where the host is a function URL of no region of ours.
    UrlHost { url_id: &'a str },
    /// `/fn/NAME/…`: the name, and the path that the function sees.
    UrlPath { name: &'a str, path: &'a str },
    /// `/healthz`.
    Health,
    /// `/metrics`.
    Metrics,
    /// What follows `/_updraft/v1/`.
    Admin { path: &'a str },
    /// Everything else.
    Lambda,
}

/// The door for a request. `suffix` is `.lambda-url.REGION.localhost`.
pub(crate) fn door<'a>(host: Option<&'a str>, path: &'a str, suffix: &str) -> Door<'a> {
    if let Some(url_id) = host.and_then(|host| url_id(host, suffix)) {
        return Door::UrlHost { url_id };
    }
    if let Some(rest) = path.strip_prefix("/fn/") {
        let split = rest.find('/').unwrap_or(rest.len());
        let (name, path) = rest.split_at(split);
        return Door::UrlPath { name, path: if path.is_empty() { "/" } else { path } };
    }
    if path == "/healthz" {
        return Door::Health;
    }
    if path == "/metrics" {
        return Door::Metrics;
    }
    match path.strip_prefix("/_updraft/v1/") {
        Some(path) => Door::Admin { path },
        None => Door::Lambda,
    }
}

/// A host without its port.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()) => &host[..colon],
        _ => host,
    }
}

fn url_id<'a>(host: &'a str, suffix: &str) -> Option<&'a str> {
    let name = without_port(host);
    if let Some((id, end)) = name.len().checked_sub(suffix.len()).and_then(|at| name.split_at_checked(at))
        && end.eq_ignore_ascii_case(suffix)
    {
        return Some(id);
    }
    let marker = b".lambda-url.";
    let is_elsewhere = name.as_bytes().windows(marker.len()).any(|window| window.eq_ignore_ascii_case(marker));
    is_elsewhere.then_some("")
}

/// The target a function sees behind `/fn/NAME`: `path` with the query as it was.
pub(crate) fn rebased(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    match query {
        Some(query) => {
            let mut target = String::with_capacity(path.len() + 1 + query.len());
            target.push_str(path);
            target.push('?');
            target.push_str(query);
            PathAndQuery::try_from(target).ok()
        }
        None => PathAndQuery::try_from(path).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUFFIX: &str = ".lambda-url.us-east-1.localhost";

    #[test]
    fn hosts_and_paths_find_their_doors() {
        let url = |url_id| Door::UrlHost { url_id };
        let lambda_host = Some("127.0.0.1:4566");
        for (host, path, expected) in [
            (Some("abc.lambda-url.us-east-1.localhost:4566"), "/healthz", url("abc")),
            (Some("abc.lambda-url.us-east-1.localhost"), "/fn/x/", url("abc")),
            (Some("ABC.Lambda-URL.us-east-1.LOCALHOST:1"), "/", url("ABC")),
            (Some("abc.lambda-url.eu-west-1.localhost:4566"), "/", url("")),
            (lambda_host, "/fn/hello/a/b", Door::UrlPath { name: "hello", path: "/a/b" }),
            (lambda_host, "/fn/hello", Door::UrlPath { name: "hello", path: "/" }),
            (lambda_host, "/fn/hello/", Door::UrlPath { name: "hello", path: "/" }),
            (lambda_host, "/healthz", Door::Health),
            (lambda_host, "/metrics", Door::Metrics),
            (lambda_host, "/metrics/", Door::Lambda),
            (Some("abc.lambda-url.us-east-1.localhost"), "/metrics", url("abc")),
            (lambda_host, "/_updraft/v1/logs/x", Door::Admin { path: "logs/x" }),
            (lambda_host, "/2015-03-31/functions", Door::Lambda),
            (lambda_host, "/fn", Door::Lambda),
            (Some("[::1]:4566"), "/", Door::Lambda),
            (Some("[::1]"), "/healthz", Door::Health),
            (None, "/healthz", Door::Health),
        ] {
            assert_eq!(door(host, path, SUFFIX), expected, "{host:?} {path}");
        }
    }

    #[test]
    fn the_query_goes_along() {
        assert_eq!(rebased("/a", Some("x=%20&y")).unwrap().as_str(), "/a?x=%20&y");
        assert_eq!(rebased("/", None).unwrap().as_str(), "/");
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
        #[test]
        fn no_host_and_no_path_is_too_odd(host in ".{0,80}", path in ".{0,80}", region in "[a-zü.-]{0,20}") {
            let suffix = format!(".lambda-url.{region}.localhost");
            door(Some(&host), &path, &suffix);
            let in_front = format!("{host}{suffix}:80");
            prop_assert_eq!(door(Some(&in_front), &path, &suffix), Door::UrlHost { url_id: &host });
            rebased(&path, Some(&host));
        }
    }
}
