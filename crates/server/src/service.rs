//! Which AWS service a request is meant for. One port serves them all: the credential scope of a signature names the
//! service; a request without one is Lambda's.

use http::{HeaderMap, header};

use crate::{api_error::Protocol, iam, sts};

/// A service with a door here, or the name of one without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Service {
    Lambda,
    Iam,
    Sts,
    /// CloudWatch Logs.
    Logs,
    /// Systems Manager: its Parameter Store.
    Ssm,
    /// Secrets Manager.
    SecretsManager,
    /// Not part of this platform; the name is cut to 40 characters.
    Other(String),
}

impl Service {
    /// The service that a request says it is signed for.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::named(scope_service(headers))
    }

    /// The service of that name; Lambda where there is none.
    pub(crate) fn named(name: Option<&str>) -> Self {
        match name {
            None | Some("lambda") => Service::Lambda,
            Some("iam") => Service::Iam,
            Some("sts") => Service::Sts,
            Some("logs") => Service::Logs,
            Some("ssm") => Service::Ssm,
            Some("secretsmanager") => Service::SecretsManager,
            Some(other) => Service::Other(other.chars().take(40).collect()),
        }
    }

    /// How it words its answers and errors.
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Service::Logs | Service::Ssm | Service::SecretsManager => Protocol::Json,
            Service::Lambda | Service::Other(_) => Protocol::RestJson,
            Service::Iam => Protocol::Query { namespace: iam::NAMESPACE },
            Service::Sts => Protocol::Query { namespace: sts::NAMESPACE },
        }
    }
}

/// The fourth part of the credential scope: `KEY/DATE/REGION/SERVICE/aws4_request`.
fn scope_service(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let scope = authorization.split_once("Credential=")?.1.split([',', ' ']).next()?;
    scope.rsplit('/').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_scope_names_the_service() {
        let service = |authorization: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
            Service::of(&headers)
        };
        let scope = |service: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
            )
        };
        assert_eq!(service(&scope("sqs")), Service::Other("sqs".into()));
        assert_eq!(service(&scope("logs")), Service::Logs);
        assert_eq!(service(&scope("lambda")), Service::Lambda);
        assert_eq!((service(&scope("iam")), service(&scope("sts"))), (Service::Iam, Service::Sts));
        assert_eq!(service("Bearer x"), Service::Lambda);
        assert_eq!(service("Credential="), Service::Lambda);
        assert_eq!(Service::of(&HeaderMap::new()), Service::Lambda);
    }
}
