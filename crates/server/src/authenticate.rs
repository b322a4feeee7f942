//! Who asks: the one place that makes a [`Caller`] of a request.
//!
//! In two steps, so that nobody's body is read who presents nothing: [`Claim::read`] takes what a request presents and
//! looks the access key up; [`Claim::verify`] has the signature checked once the body is there. What a caller may do
//! is not asked here.

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use updraft_types::{Caller, Timestamp};

use crate::{
    Authentication,
    api_error::{ApiError, Protocol},
    doors::Doors,
    link,
    service::Service,
    signature::{Dialect, Error, Head, Presented, sha256},
};

/// Largest body hashed on the spot; a larger one is hashed where blocking does no harm.
const HASHED_INLINE_BYTES_MAX: usize = 256 << 10;

/// What is known of an access key.
pub(crate) struct Credential {
    /// What it signs with.
    pub(crate) secret: String,
    /// The token that has to come along, for temporary ones; none for others.
    pub(crate) session_token: Option<String>,
    /// When a temporary one ends.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether it counts at the moment: a disabled one does not.
    pub(crate) is_active: bool,
    /// Whose it is.
    pub(crate) caller: Caller,
}

/// Who a request says it is from, and how that is to be shown.
pub(crate) enum Claim {
    /// Nothing is to be shown: requests are not authenticated, or this one follows a link of ours.
    Settled(Caller),
    /// A signature, and the key it is said to be made with.
    Signed { presented: Box<Presented>, credential: Box<Credential> },
}

impl Claim {
    /// The claim and the service it is for, before the body is read.
    pub(crate) fn read(doors: &Doors, head: &Parts) -> Result<(Self, Service), (ApiError, Protocol)> {
        let said = Service::of(&head.headers);
        if doors.authentication == Authentication::Off {
            return Ok((Self::Settled(Caller::root(doors.account.clone())), said));
        }
        if let Some(account) = link::follow(&doors.links, head, Timestamp::now()) {
            return Ok((Self::Settled(Caller::root(account)), said));
        }
        let presented = match Presented::read(Head::from(head)) {
            Ok(Some(presented)) => presented,
            Ok(None) => return Err(refusal(&Error::Missing, &said)),
            Err(error) => return Err(refusal(&error, &said)),
        };
        let service = Service::named(Some(&presented.scope.service));
        match look_up(doors, &presented) {
            Ok(credential) => {
                let (presented, credential) = (Box::new(presented), Box::new(credential));
                Ok((Self::Signed { presented, credential }, service))
            }
            Err(error) => Err(refusal(&error, &service)),
        }
    }

    /// The caller, if the request is signed as it says. `head` is the one that was read.
    pub(crate) async fn verify(self, doors: &Doors, head: &Parts, service: &Service, body: &Bytes) -> Verified {
        let (presented, credential) = match self {
            Self::Settled(caller) => return Ok(caller),
            Self::Signed { presented, credential } => (presented, credential),
        };
        let hash = match hash_of(&presented, body).await {
            Ok(hash) => hash,
            Err(error) => return Err((error, service.protocol())),
        };
        presented
            .verify(Head::from(head), &credential.secret, &hash, Timestamp::now(), &doors.signing_keys)
            .map_err(|error| refusal(&error, service))?;
        Ok(credential.caller)
    }
}

/// A caller, or the answer it gets instead, with the protocol that words it.
pub(crate) type Verified = Result<Caller, (ApiError, Protocol)>;

fn look_up(doors: &Doors, presented: &Presented) -> Result<Credential, Error> {
    let credential = doors.credential(&presented.access_key_id).filter(|credential| credential.is_active);
    let credential = credential.ok_or(Error::UnknownKey)?;
    let digest = |token: &Option<String>| token.as_ref().map(|token| sha256(token.as_bytes()));
    if digest(&credential.session_token) != digest(&presented.session_token) {
        return Err(Error::UnknownKey);
    }
    match credential.expires_at {
        Some(expires_at) if expires_at <= Timestamp::now() => Err(Error::TokenExpired),
        _ => Ok(credential),
    }
}

async fn hash_of(presented: &Presented, body: &Bytes) -> Result<[u8; 32], ApiError> {
    if !presented.needs_body_hash() {
        return Ok([0; 32]);
    }
    if body.len() <= HASHED_INLINE_BYTES_MAX {
        return Ok(sha256(body));
    }
    let body = body.clone();
    let hashing = tokio::task::spawn_blocking(move || sha256(&body));
    hashing.await.map_err(|panic| ApiError::internal(&panic.to_string()))
}

/// An error in a service's own code and words.
fn refusal(error: &Error, service: &Service) -> (ApiError, Protocol) {
    let protocol = service.protocol();
    let dialect = match protocol {
        Protocol::RestJson | Protocol::Json => Dialect::Json,
        Protocol::Query { .. } => Dialect::Query,
    };
    let public = error.public(dialect);
    let status = StatusCode::from_u16(public.status).unwrap_or(StatusCode::FORBIDDEN);
    (ApiError::new(status, public.code, error.to_string()), protocol)
}
