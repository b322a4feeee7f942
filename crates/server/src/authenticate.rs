//! Who asks: the one place that makes a [`Caller`] of a request.
//!
//! In two steps, so that nobody's body is read who presents nothing: [`Claim::read`] takes what a request presents and
//! looks the access key up; [`Claim::verify`] has the signature checked once the body is there. What a caller may do
//! is not asked here.

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use updraft_node::identity::credential::{Credential, SessionBounds, Unusable};
use updraft_types::{AccountId, Caller, Principal, Timestamp};

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

/// Who a request is from, with what bounds its session beside its principal's policies.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) caller: Caller,
    /// What bounds its session.
    pub(crate) session: Option<SessionBounds>,
}

impl Authenticated {
    fn root(account: AccountId) -> Self {
        Self { caller: Caller::root(account), session: None }
    }

    /// Somebody who shows nothing, at the door of an account.
    pub(crate) fn anonymous(account: AccountId) -> Self {
        Self { caller: Caller { account, principal: Principal::Anonymous }, session: None }
    }
}

/// Whether a link of ours ([`link`]) counts in place of a signature: at the door that serves what links lead to, alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Nothing,
}

/// Who a request says it is from, and how that is to be shown.
pub(crate) enum Claim {
    /// Nothing is to be shown: requests are not authenticated, or this one follows a link of ours.
    Settled(Box<Authenticated>),
    /// A signature, and the key it is said to be made with.
    Signed { presented: Box<Presented>, credential: Box<Credential> },
}

impl Claim {
    /// The claim and the service it is for, before the body is read.
    pub(crate) fn read(doors: &Doors, head: &Parts, links: Links) -> Result<(Self, Service), (ApiError, Protocol)> {
        let said = Service::of(&head.headers);
        if doors.authentication == Authentication::Off {
            return Ok((Self::Settled(Authenticated::root(doors.account.clone()).into()), said));
        }
        if links == Links::Followed
            && let Some(account) = link::follow(&doors.links, head, Timestamp::now())
        {
            return Ok((Self::Settled(Authenticated::root(account).into()), said));
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

    /// The access key that it is said to be signed with; empty for a settled one.
    pub(crate) fn access_key(&self) -> &str {
        match self {
            Self::Settled(_) => "",
            Self::Signed { presented, .. } => &presented.access_key_id,
        }
    }

    /// The caller, if the request is signed as it says. `head` is the one that was read.
    pub(crate) async fn verify(self, doors: &Doors, head: &Parts, service: &Service, body: &Bytes) -> Verified {
        let (presented, credential) = match self {
            Self::Settled(who) => return Ok(*who),
            Self::Signed { presented, credential } => (presented, credential),
        };
        let hash = match hash_of(&presented, body).await {
            Ok(hash) => hash,
            Err(error) => return Err((error, service.protocol())),
        };
        presented
            .verify(Head::from(head), credential.secret.expose(), &hash, Timestamp::now(), &doors.signing_keys)
            .map_err(|error| refusal(&error, service))?;
        let Credential { caller, session, .. } = *credential;
        Ok(Authenticated { caller, session })
    }
}

/// A caller, or the answer it gets instead, with the protocol that words it.
pub(crate) type Verified = Result<Authenticated, (ApiError, Protocol)>;

fn look_up(doors: &Doors, presented: &Presented) -> Result<Credential, Error> {
    let (id, token) = (presented.access_key_id.as_str(), presented.session_token.as_deref());
    if let Some(root) = doors.root.as_ref().filter(|root| root.access_key_id == id) {
        if token.is_some() {
            return Err(Error::UnknownKey);
        }
        let (secret, caller) = (root.secret_access_key.clone().into(), Caller::root(doors.account.clone()));
        return Ok(Credential { secret, caller, session: None });
    }
    doors.node.identity().credential(id, token, Timestamp::now()).map_err(|unusable| match unusable {
        Unusable::Expired => Error::TokenExpired,
        Unusable::Unknown | Unusable::Inactive | Unusable::Token => Error::UnknownKey,
    })
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
