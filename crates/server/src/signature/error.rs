//! Why a request is not let in, in AWS's own codes and words.
//!
//! The texts say no more than AWS's do: never what the signature should have been.

use std::fmt;

/// Whose error codes a client expects; services of different age spell them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Lambda, CloudWatch Logs, SSM and other JSON services: `…Exception`.
    Json,
    /// IAM, STS and other query services: XML.
    Query,
    /// S3: XML, with codes of its own.
    S3,
}

/// What a client sees of an error beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Public {
    /// The HTTP status.
    pub status: u16,
    /// The error's code.
    pub code: &'static str,
}

/// Why a request is not authenticated. `Display` is the public text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It presents no credentials.
    Missing,
    /// What it presents cannot be read; AWS's words for what is wrong.
    Incomplete(String),
    /// No such access key, or it is disabled, or the session token is not that key's.
    UnknownKey,
    /// The session token's time is over.
    TokenExpired,
    /// The signature is another.
    Mismatch,
    /// The signature cannot count, whatever it is: its scope or its signed headers are wrong.
    Refused(String),
    /// It was signed at another time than now: AWS's words for how far apart.
    OutOfTime(String),
    /// A presigned request that has ended.
    Ended,
    /// The body is not the one of `x-amz-content-sha256`.
    OtherBody,
    /// A chunk or a trailer of a body signed in chunks is not the one signed.
    ChunkMismatch,
    /// A body signed in chunks that is not put together as one.
    MalformedChunks(&'static str),
}

impl Error {
    /// The status and code for services of a dialect.
    pub fn public(&self, dialect: Dialect) -> Public {
        use Dialect::{Json, Query, S3};
        let (status, code) = match (self, dialect) {
            (Error::Missing, Json) => (403, "MissingAuthenticationTokenException"),
            (Error::Missing, Query) => (403, "MissingAuthenticationToken"),
            (Error::Missing, S3) => (403, "AccessDenied"),
            (Error::Incomplete(_), Json) => (403, "IncompleteSignatureException"),
            (Error::Incomplete(_), Query) => (400, "IncompleteSignature"),
            (Error::Incomplete(_), S3) => (400, "AuthorizationHeaderMalformed"),
            (Error::UnknownKey, Json) => (403, "UnrecognizedClientException"),
            (Error::UnknownKey, Query) => (403, "InvalidClientTokenId"),
            (Error::UnknownKey, S3) => (403, "InvalidAccessKeyId"),
            (Error::TokenExpired, Json) => (403, "ExpiredTokenException"),
            (Error::TokenExpired, Query) => (403, "ExpiredToken"),
            (Error::TokenExpired, S3) => (400, "ExpiredToken"),
            (Error::Mismatch | Error::Refused(_) | Error::OutOfTime(_) | Error::OtherBody, Json) => {
                (403, "InvalidSignatureException")
            }
            (Error::OutOfTime(_), S3) => (403, "RequestTimeTooSkewed"),
            (Error::OtherBody, S3) => (400, "XAmzContentSHA256Mismatch"),
            (Error::Refused(_), S3) => (403, "AccessDenied"),
            (Error::Mismatch | Error::Refused(_) | Error::OutOfTime(_) | Error::OtherBody, _) => {
                (403, "SignatureDoesNotMatch")
            }
            (Error::Ended, Json) => (403, "RequestExpiredException"),
            (Error::Ended, Query) => (400, "RequestExpired"),
            (Error::Ended, S3) => (403, "AccessDenied"),
            (Error::ChunkMismatch, _) => (403, "SignatureDoesNotMatch"),
            (Error::MalformedChunks(_), _) => (400, "InvalidChunkFormatError"),
        };
        Public { status, code }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Missing => "Missing Authentication Token",
            Error::Incomplete(text) | Error::Refused(text) | Error::OutOfTime(text) => text,
            Error::UnknownKey => "The security token included in the request is invalid.",
            Error::TokenExpired => "The security token included in the request is expired",
            Error::Mismatch | Error::ChunkMismatch => {
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details."
            }
            Error::Ended => "Request has expired.",
            Error::OtherBody => "The provided 'x-amz-content-sha256' header does not match what was computed.",
            Error::MalformedChunks(text) => text,
        })
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_hears_its_own_code() {
        let codes = |error: Error| [Dialect::Json, Dialect::Query, Dialect::S3].map(|it| error.public(it).code);
        assert_eq!(
            codes(Error::Mismatch),
            ["InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch"]
        );
        assert_eq!(
            codes(Error::UnknownKey),
            ["UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"]
        );
        assert_eq!(codes(Error::Ended), ["RequestExpiredException", "RequestExpired", "AccessDenied"]);
        assert_eq!(codes(Error::OutOfTime(String::new()))[2], "RequestTimeTooSkewed");
    }
}
