//! Cross-origin rules of a function URL: preflights are answered here, and answers to a listed origin are marked.
//! What the rules set replaces what the function set, as Lambda documents.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use updraft_types::{Body, function::Cors};

use crate::respond;

/// The answer to a preflight; `None` where the request is not one, and the function is to answer it.
pub(super) fn preflight(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let is_preflight = *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let origin = headers.get(header::ORIGIN)?;
    let mut response = respond::empty(StatusCode::OK);
    if allowed(cors, origin).is_some() {
        let marked = response.headers_mut();
        set_list(marked, header::ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.as_deref());
        set_list(marked, header::ACCESS_CONTROL_ALLOW_HEADERS, cors.allow_headers.as_deref());
        if let Some(max_age) = cors.max_age {
            marked.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(max_age));
        }
    }
    Some(response)
}

/// Marks an answer for the page that asked, if its origin is listed.
pub(super) fn mark(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        headers.remove(name);
    }
    let Some(allowed) = allowed(cors, origin) else { return };
    if allowed != "*" {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.allow_credentials == Some(true) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    set_list(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose_headers.as_deref());
}

/// What to allow this origin as: `*` where every origin is, and credentials are not at stake.
fn allowed(cors: &Cors, origin: &HeaderValue) -> Option<HeaderValue> {
    let listed = cors.allow_origins.as_deref().unwrap_or_default();
    if listed.iter().any(|listed| listed == "*") {
        let with_credentials = cors.allow_credentials == Some(true);
        return Some(if with_credentials { origin.clone() } else { HeaderValue::from_static("*") });
    }
    listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn set_list(headers: &mut HeaderMap, name: HeaderName, list: Option<&[String]>) {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return };
    if let Ok(value) = HeaderValue::try_from(list.join(",")) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &[&str], credentials: bool) -> Cors {
        Cors {
            allow_credentials: Some(credentials),
            allow_headers: Some(vec!["content-type".into(), "x-key".into()]),
            allow_methods: Some(vec!["GET".into(), "POST".into()]),
            allow_origins: Some(origins.iter().map(|origin| (*origin).to_owned()).collect()),
            expose_headers: Some(vec!["date".into()]),
            max_age: Some(600),
        }
    }

    fn asking(origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        headers
    }

    #[test]
    fn a_preflight_is_answered_for_listed_origins() {
        let cors = rules(&["https://a.example"], false);
        let answer = preflight(&cors, &Method::OPTIONS, &asking("https://a.example")).unwrap();
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_MAX_AGE], "600");
        let stranger = preflight(&cors, &Method::OPTIONS, &asking("https://b.example")).unwrap();
        assert!(stranger.headers().is_empty());
        assert!(preflight(&cors, &Method::GET, &asking("https://a.example")).is_none());
        assert!(preflight(&cors, &Method::OPTIONS, &HeaderMap::new()).is_none());
    }

    #[test]
    fn answers_are_marked_and_the_functions_own_marks_replaced() {
        let origin = HeaderValue::from_static("https://a.example");
        let marked = |cors: &Cors| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("https://function.example"));
            mark(cors, &origin, &mut headers);
            headers
        };
        let any = marked(&rules(&["*"], false));
        assert_eq!(any[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let any = marked(&rules(&["*"], true));
        assert_eq!(any[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin);
        assert_eq!(any[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert!(marked(&rules(&["https://b.example"], true)).is_empty());
    }
}
