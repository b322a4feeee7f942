//! AWS Signature Version 4, verified: who signed a request, and whether they did.
//!
//! Pure and bounded: no clock, no I/O, no lookup. [`Presented::read`] takes the credentials that a request presents
//! (`Authorization` header or presigned query) without believing any of it; the caller looks the access key up;
//! [`Presented::verify`] then computes the signature again over the request as it arrived and compares in constant
//! time. What is verified is what is used: host, path, query and body are those that routing and operations see.
//!
//! Refuses: requests whose `host` or any `x-amz-*` header is not signed, scopes of another day, clocks more than
//! [`SKEW_MAX`] apart, presigned requests past their end, a second opinion (header and query at once, or anything given
//! twice), bodies other than the one signed. Only S3 may leave a body unsigned or sign it in chunks ([`Decoder`]).
//!
//! Source: "AWS Signature Version 4 for API requests" (IAM user guide) and "Authenticating Requests" (S3 API
//! reference); checked against the official signer, its vectors and requests signed by botocore.

mod authorization;
mod canonical;
mod error;
mod key;
mod presented;
mod presigned;
mod streaming;
mod time;

pub use canonical::{Head, canonical_path, canonical_query};
pub use error::{Dialect, Error, Public};
pub use key::{Keys, SigningKey, sha256};
pub use presented::{EXPIRES_MAX_S, Form, Payload, Presented, SKEW_MAX, Scope};
pub use streaming::{CHUNK_LINE_BYTES_MAX, Decoder, Streaming, TRAILER_BYTES_MAX, TRAILERS_MAX};
