//! Where the platform is and with whose credentials it is called, from the variables AWS's own tools read.

use std::{collections::BTreeMap, path::Path};

use aws_credential_types::Credentials;
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::problem::Problem;

/// Where to send requests and how to sign them.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `http://HOST:PORT` or `https://…`, without a slash at the end.
    pub url: String,
    /// The region in the signature.
    pub region: String,
    /// The key pair, and a session token if there is one.
    pub credentials: Credentials,
    /// What is trusted in place of the usual authorities, if anything.
    pub roots: Vec<Certificate<'static>>,
}

/// Address used when nothing else is said.
pub const DEFAULT_URL: &str = "http://127.0.0.1:4566";

/// The variables that say where, the more particular first.
const URL_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"];

impl Endpoint {
    /// Whether the command line or a variable says where the platform is.
    pub fn is_said(given: Option<&str>, variables: &BTreeMap<String, String>) -> bool {
        let is_set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
        given.is_some() || URL_VARIABLES.iter().any(|name| is_set(name))
    }

    /// Reads `AWS_ENDPOINT_URL_LAMBDA`, `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_DEFAULT_REGION` and the credential
    /// variables. `given` is the command line's own; `local` is where this folder's platform listens.
    pub fn resolve(
        given: Option<&str>,
        local: Option<&str>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Endpoint, Problem> {
        let variable = |name: &str| variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let url = given
            .or_else(|| URL_VARIABLES.into_iter().find_map(variable))
            .or(local)
            .unwrap_or(DEFAULT_URL)
            .trim_end_matches('/');
        let valid = url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
        });
        if !valid {
            return Err(Problem::usage(format!("{url:?} is not an endpoint"))
                .because("expected http://HOST:PORT or https://HOST")
                .try_next("check --endpoint-url, AWS_ENDPOINT_URL_LAMBDA and AWS_ENDPOINT_URL"));
        }
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).unwrap_or("us-east-1");
        let pair = match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => (id, secret),
            (None, None) => ("test", "test"),
            (Some(_), None) => return Err(Problem::usage("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not")),
            (None, Some(_)) => return Err(Problem::usage("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not")),
        };
        let token = variable("AWS_SESSION_TOKEN").map(str::to_owned);
        let credentials = Credentials::from_keys(pair.0, pair.1, token);
        Ok(Endpoint { url: url.to_owned(), region: region.to_owned(), credentials, roots: Vec::new() })
    }

    /// The same, trusting the certificates in a PEM file and nothing else.
    pub fn trusting(self, file: &Path) -> Result<Endpoint, Problem> {
        let shown = file.display();
        let pem = std::fs::read(file)
            .map_err(|error| Problem::usage(format!("the certificates in {shown} cannot be read")).because(error))?;
        let roots: Vec<_> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if roots.is_empty() {
            return Err(Problem::usage(format!("there is no certificate in {shown}"))
                .because("it holds no PEM section CERTIFICATE")
                .try_next("check --ca-file, UPDRAFT_CA_FILE and AWS_CA_BUNDLE"));
        }
        Ok(Endpoint { roots, ..self })
    }
}

/// The process's variables that start with `AWS_`.
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("AWS_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(given: Option<&str>, local: Option<&str>, variables: &[(&str, &str)]) -> Result<Endpoint, Problem> {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Endpoint::resolve(given, local, &variables)
    }

    #[test]
    fn the_most_particular_source_wins() {
        let both = [("AWS_ENDPOINT_URL", "http://a:1"), ("AWS_ENDPOINT_URL_LAMBDA", "https://b/")];
        assert_eq!(resolve(Some("http://c:3/"), None, &both).unwrap().url, "http://c:3");
        assert_eq!(resolve(None, Some("http://d:4"), &both).unwrap().url, "https://b");
        assert_eq!(resolve(None, Some("http://d:4"), &both[..1]).unwrap().url, "http://a:1");
        assert_eq!(resolve(None, Some("http://d:4"), &[]).unwrap().url, "http://d:4");
        assert_eq!(resolve(None, None, &[("AWS_ENDPOINT_URL", "")]).unwrap().url, DEFAULT_URL);
    }

    #[test]
    fn credentials_come_in_pairs() {
        let endpoint = resolve(None, None, &[]).unwrap();
        assert_eq!((endpoint.credentials.access_key_id(), endpoint.region.as_str()), ("test", "us-east-1"));
        assert!(resolve(None, None, &[("AWS_ACCESS_KEY_ID", "a")]).is_err());
        assert!(resolve(None, None, &[("AWS_SECRET_ACCESS_KEY", "a")]).is_err());
    }

    #[test]
    fn what_is_not_a_url_is_refused() {
        for text in ["localhost:4566", "ftp://x", "http://", "http://a b"] {
            assert!(resolve(Some(text), None, &[]).is_err(), "{text}");
        }
    }
}
