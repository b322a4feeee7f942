//! The credentials that a request presents, and whether it was they who signed it.

use std::{fmt, time::Duration};

use updraft_types::Timestamp;

use super::{
    Error, Head, Keys, Streaming,
    authorization::{self, Credential},
    canonical::{self, PathRule},
    key::{hex, unhex},
    presigned, streaming, time,
};

/// How far a signature's time may be from ours.
pub const SKEW_MAX: Duration = Duration::from_secs(15 * 60);
/// Longest a presigned request may count: a week, in seconds.
pub const EXPIRES_MAX_S: u32 = 604_800;

const SKEW_MAX_S: i64 = 15 * 60;
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const SECURITY_TOKEN: &str = "x-amz-security-token";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What a signing key is good for. `Display` writes it as strings to sign have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `20150830`.
    pub day: String,
    /// `us-east-1`.
    pub region: String,
    /// `lambda`.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/aws4_request", self.day, self.region, self.service)
    }
}

/// Where a request carries its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In headers, signed as it is sent.
    Headers,
    /// In its query, signed ahead.
    Presigned {
        /// How long it counts, seconds from when it was signed; at most [`EXPIRES_MAX_S`].
        expires_s: u32,
    },
}

/// How a request's body is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// By its hash; the one in `x-amz-content-sha256`, if that is there, has to be the body's.
    Whole {
        /// The header's.
        declared: Option<[u8; 32]>,
    },
    /// Not at all. S3 only.
    Unsigned,
    /// In chunks, each with a signature of its own. S3 only.
    Chunked {
        /// Which of the framings.
        streaming: Streaming,
        /// Bytes of the body once it is taken apart (`x-amz-decoded-content-length`).
        decoded_length: u64,
    },
}

/// Credentials as presented: well formed, in order, and not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Where they were.
    pub form: Form,
    /// Whose secret is said to have signed: 1 to 128 characters.
    pub access_key_id: String,
    /// For what.
    pub scope: Scope,
    /// The session token, which has to be that access key's. It is signed.
    pub session_token: Option<String>,
    /// How the body is signed.
    pub payload: Payload,
    pub(super) timestamp: String,
    pub(super) signed_at_s: i64,
    pub(super) signature: [u8; 32],
    signed_headers: String,
}

impl Presented {
    /// Reads what a request presents; none where it presents nothing at all.
    pub fn read(head: Head<'_>) -> Result<Option<Self>, Error> {
        let query = head.uri.query().unwrap_or_default();
        let authorization = head.one("authorization")?;
        let presented = match (authorization, presigned::is_presigned(query)) {
            (None, false) => return Ok(None),
            (Some(value), false) => Self::from_headers(head, value)?,
            (None, true) => Self::from_query(head, query)?,
            (Some(_), true) => {
                return Err(Error::Incomplete(
                    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                     parameter or the Authorization header should be specified"
                        .into(),
                ));
            }
        };
        presented.check_signed_headers(head)?;
        presented.check_day()?;
        Ok(Some(presented))
    }

    fn from_headers(head: Head<'_>, authorization: &str) -> Result<Self, Error> {
        let read = authorization::parse(authorization)?;
        let (signed_at_s, timestamp) = match (head.one("x-amz-date")?, head.one("date")?) {
            (Some(text), _) => (time::parse_basic(text).ok_or_else(|| no_date(text))?, text.to_owned()),
            (None, Some(text)) => {
                let signed_at_s = time::parse_header(text).ok_or_else(|| no_date(text))?;
                (signed_at_s, time::basic(signed_at_s))
            }
            (None, None) => {
                let text = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
                return Err(Error::Incomplete(text.into()));
            }
        };
        let Credential { access_key_id, scope } = read.credential;
        Ok(Self {
            form: Form::Headers,
            access_key_id,
            session_token: head.one(SECURITY_TOKEN)?.map(str::to_owned),
            payload: payload(head, head.one(CONTENT_SHA256)?, Form::Headers, &scope)?,
            scope,
            timestamp,
            signed_at_s,
            signature: read.signature,
            signed_headers: read.signed_headers.to_owned(),
        })
    }

    fn from_query(head: Head<'_>, query: &str) -> Result<Self, Error> {
        let read = presigned::parse(query)?;
        let form = Form::Presigned { expires_s: read.expires_s };
        let one_of = |name: &str, in_query: Option<String>| match (head.one(name)?, in_query) {
            (Some(_), Some(_)) => Err(Error::Incomplete(format!("Header and query both have '{name}'."))),
            (in_header, in_query) => Ok(in_query.or(in_header.map(str::to_owned))),
        };
        let content_sha256 = one_of(CONTENT_SHA256, read.content_sha256)?;
        let Credential { access_key_id, scope } = read.credential;
        Ok(Self {
            form,
            access_key_id,
            session_token: one_of(SECURITY_TOKEN, read.session_token)?,
            payload: payload(head, content_sha256.as_deref(), form, &scope)?,
            scope,
            signed_at_s: time::parse_basic(&read.timestamp).ok_or_else(|| no_date(&read.timestamp))?,
            timestamp: read.timestamp,
            signature: read.signature,
            signed_headers: read.signed_headers,
        })
    }

    /// The host and whatever steers a service have to be signed.
    fn check_signed_headers(&self, head: Head<'_>) -> Result<(), Error> {
        let is_signed = |name: &str| self.signed_headers.split(';').any(|signed| signed == name);
        if !is_signed("host") {
            let text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
            return Err(Error::Refused(text.into()));
        }
        let mut names = head.headers.keys().map(|name| name.as_str());
        match names.find(|name| name.starts_with("x-amz-") && !is_signed(name)) {
            None => Ok(()),
            Some(name) => {
                let text = format!("There were headers present in the request which were not signed: {name}");
                Err(Error::Refused(text))
            }
        }
    }

    fn check_day(&self) -> Result<(), Error> {
        let day = &self.timestamp[..8];
        if self.scope.day == day {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{day}', \
             from '{}'.",
            self.scope.day, self.timestamp
        )))
    }

    /// Whether the body has to be read and hashed before [`Presented::verify`].
    pub fn needs_body_hash(&self) -> bool {
        matches!(self.payload, Payload::Whole { .. })
    }

    /// Whether the holder of `secret` signed this request, body and all, and now is the time for it. `body_sha256` is
    /// the hash of the body as it arrived; it is not looked at where the body is not signed as a whole. `head` is the
    /// one that was read.
    pub fn verify(
        &self,
        head: Head<'_>,
        secret: &str,
        body_sha256: &[u8; 32],
        now: Timestamp,
        keys: &Keys,
    ) -> Result<(), Error> {
        self.check_time(now)?;
        let body_hex = hex(body_sha256);
        let payload = match &self.payload {
            Payload::Whole { declared: Some(declared) } if declared != body_sha256 => return Err(Error::OtherBody),
            Payload::Whole { .. } => &body_hex[..],
            Payload::Unsigned => UNSIGNED.as_bytes(),
            Payload::Chunked { streaming, .. } => streaming.name().as_bytes(),
        };
        let string_to_sign = self.string_to_sign(head, payload).ok_or(Error::Mismatch)?;
        let key = keys.get(secret, &self.scope);
        if !key.verifies(&string_to_sign, &self.signature) {
            return Err(Error::Mismatch);
        }
        keys.remember(secret, &self.scope, &key);
        Ok(())
    }

    /// None where a signed header is not there.
    fn string_to_sign(&self, head: Head<'_>, payload: &[u8]) -> Option<Vec<u8>> {
        let rule = if self.scope.service == "s3" { PathRule::Once } else { PathRule::Twice };
        let is_presigned = self.form != Form::Headers;
        let canonical = canonical::request(head, rule, is_presigned, &self.signed_headers, payload)?;
        Some(canonical::string_to_sign(&self.timestamp, &self.scope.to_string(), &canonical))
    }

    fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        let now_s = i64::try_from(now.as_ms() / 1_000).unwrap_or(i64::MAX);
        let (earliest, latest) = (now_s.saturating_sub(SKEW_MAX_S), now_s.saturating_add(SKEW_MAX_S));
        let (signed, now) = (&self.timestamp, time::basic(now_s));
        if self.signed_at_s > latest {
            let latest = time::basic(latest);
            let text = format!("Signature not yet current: {signed} is still later than {latest} ({now} + 15 min.)");
            return Err(Error::OutOfTime(text));
        }
        match self.form {
            Form::Headers if self.signed_at_s < earliest => {
                let earliest = time::basic(earliest);
                let text = format!("Signature expired: {signed} is now earlier than {earliest} ({now} - 15 min.)");
                Err(Error::OutOfTime(text))
            }
            Form::Presigned { expires_s } if now_s > self.signed_at_s + i64::from(expires_s) => Err(Error::Ended),
            Form::Headers | Form::Presigned { .. } => Ok(()),
        }
    }
}

/// How a body is signed, by what `x-amz-content-sha256` says of it.
fn payload(head: Head<'_>, content_sha256: Option<&str>, form: Form, scope: &Scope) -> Result<Payload, Error> {
    let is_s3 = scope.service == "s3";
    let Some(text) = content_sha256 else {
        // A presigned upload is signed before its body is known.
        let is_open = is_s3 && form != Form::Headers;
        return Ok(if is_open { Payload::Unsigned } else { Payload::Whole { declared: None } });
    };
    if let Some(declared) = unhex(text.as_bytes()) {
        return Ok(Payload::Whole { declared: Some(declared) });
    }
    let streaming = Streaming::named(text);
    if text != UNSIGNED && streaming.is_none() {
        return Err(Error::Incomplete(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, one of STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD and STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value."
                .into(),
        ));
    }
    if !is_s3 {
        let text = format!("{} takes signed bodies only: x-amz-content-sha256 must be the body's hash.", scope.service);
        return Err(Error::Refused(text));
    }
    match streaming {
        None => Ok(Payload::Unsigned),
        Some(streaming) => Ok(Payload::Chunked { streaming, decoded_length: streaming::decoded_length(head)? }),
    }
}

fn no_date(text: &str) -> Error {
    Error::Incomplete(format!(
        "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
    ))
}
