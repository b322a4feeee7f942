//! Asks a registry over HTTP: follows it as far as [`lead`] allows, gets a token where it wants one, reads answers up to
//! their bound.
//!
//! The HTTP is reqwest's, which is told to follow nothing, to go through no proxy and to decompress nothing. There are two
//! clients of it: one for hosts that the operator named, and one for all others, which looks names up itself and connects to
//! public addresses alone; so what was looked up is what is connected to. The platform has no credentials: a token is what
//! everybody gets. Invariant: no answer is held beyond its bound, and none is shown to anybody.

use std::{error::Error as StdError, fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http_auth::parser::ChallengeParser;
use reqwest::{
    Client, ClientBuilder, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE},
    redirect,
};
use serde::Deserialize;

use super::{
    Allowed, Error, Why,
    lead::{self, Lead, To},
};

/// Longest pause while connecting or while bytes are coming.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Most times that one request is sent on.
const LEADS_MAX: usize = 5;
/// Longest address that a registry may send the platform to; signed ones have a few hundred bytes.
const ADDRESS_BYTES_MAX: usize = 8 << 10;
/// Largest answer of a token service.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Connections to one host that are kept for the next image.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// The two ways of connecting.
#[derive(Clone)]
pub(super) struct Clients {
    /// To whom the operator named, wherever that is.
    named: Client,
    /// To public addresses, over TLS.
    elsewhere: Client,
}

impl Clients {
    pub(super) fn new() -> reqwest::Result<Self> {
        // Without a provider of its own choice the client would ask for the process's, and panic without one. That
        // somebody has set one before is as good.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        Ok(Self { named: plain().build()?, elsewhere: plain().https_only(true).dns_resolver(PublicAlone).build()? })
    }
}

/// A client that does what it is told and no more.
fn plain() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(PAUSE_MAX)
        .read_timeout(PAUSE_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")))
}

/// Looks names up, and knows no addresses but public ones.
struct PublicAlone;

/// A name that leads to no public address.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no public address")]
struct NotPublic;

impl Resolve for PublicAlone {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<_> = found.filter(|address| lead::is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// A registry being asked for one image of one repository.
#[derive(Clone)]
pub(super) struct Session {
    clients: Clients,
    registry: Allowed,
    allowed: Arc<[Allowed]>,
    /// What a token has to be good for.
    scope: String,
    /// What the registry is shown, once it has wanted something.
    token: Option<HeaderValue>,
}

/// The beginning of an answer that is none of a refusal.
pub(super) struct Answer {
    response: Response,
    registry: String,
}

impl Session {
    pub(super) fn new(clients: Clients, registry: Allowed, allowed: Arc<[Allowed]>, repository: &str) -> Self {
        Self { clients, registry, allowed, scope: format!("repository:{repository}:pull"), token: None }
    }

    pub(super) fn failed(&self, why: Why) -> Error {
        failed(&self.registry.host, why)
    }

    /// What is at a path of the registry's, wherever it sends the platform for it. A token that has become too old, or is
    /// not there yet, is got once.
    pub(super) async fn get(&mut self, path: &str, to: To, accept: &str) -> Result<Answer, Error> {
        let target = self.registry.root.join(path).map_err(|_| self.failed(Why::NotThere))?;
        let (lead, response) = self.follow(target.clone(), to, accept).await?;
        if response.status() != StatusCode::UNAUTHORIZED || lead != Lead::Registry {
            return self.answer(response);
        }
        self.token = Some(self.authenticate(response.headers()).await?);
        let (_, response) = self.follow(target, to, accept).await?;
        self.answer(response)
    }

    fn answer(&self, response: Response) -> Result<Answer, Error> {
        match response.status() {
            StatusCode::OK => Ok(Answer { response, registry: self.registry.host.clone() }),
            StatusCode::NOT_FOUND => Err(self.failed(Why::NotThere)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.failed(Why::Login)),
            StatusCode::TOO_MANY_REQUESTS => Err(self.failed(Why::AskedTooOften)),
            other => Err(self.failed(Why::Status(other.as_u16()))),
        }
    }

    /// Asks, and asks where the answer says to. Answers whose the last answer is.
    async fn follow(&self, mut target: Url, to: To, accept: &str) -> Result<(Lead, Response), Error> {
        for _ in 0..=LEADS_MAX {
            let (lead, response) = self.ask(&target, to, accept).await?;
            let Some(next) = next_of(&response) else { return Ok((lead, response)) };
            let next = next.filter(|next| next.len() <= ADDRESS_BYTES_MAX).and_then(|next| target.join(next).ok());
            target = next.ok_or_else(|| self.failed(Why::Status(response.status().as_u16())))?;
        }
        Err(self.failed(Why::TooManyLeads))
    }

    /// One request.
    async fn ask(&self, target: &Url, to: To, accept: &str) -> Result<(Lead, Response), Error> {
        let lead = lead::whose(target, to, &self.registry, &self.allowed).map_err(|why| self.failed(why))?;
        let client = if lead == Lead::Elsewhere { &self.clients.elsewhere } else { &self.clients.named };
        let mut request = client.get(target.clone()).header(ACCEPT, accept);
        if let (Lead::Registry, Some(token)) = (lead, &self.token) {
            request = request.header(AUTHORIZATION, token);
        }
        let response = request.send().await.map_err(|error| broken(&self.registry.host, target, error))?;
        Ok((lead, response))
    }

    /// A token as everybody gets one, of the service that a refusal names.
    async fn authenticate(&self, refusal: &HeaderMap) -> Result<HeaderValue, Error> {
        let (mut service, named) = bearer(refusal).ok_or_else(|| self.failed(Why::Login))?;
        {
            let mut query = service.query_pairs_mut();
            query.append_pair("scope", &self.scope);
            if let Some(named) = named {
                query.append_pair("service", &named);
            }
        }
        let without = Self { token: None, ..self.clone() };
        let (_, response) = without.ask(&service, To::Token, "application/json").await?;
        if response.status().is_redirection() {
            return Err(self.failed(Why::NoToken));
        }
        let bytes = self.answer(response)?.read(TOKEN_BYTES_MAX, "token").await?;
        token_of(&bytes).ok_or_else(|| self.failed(Why::NoToken))
    }
}

impl Answer {
    /// How many bytes it says it has.
    pub(super) fn promised_bytes(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes of it, as many as have come.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = self.response.chunk().await;
        piece.map_err(|error| broken(&self.registry, &self.response.url().clone(), error))
    }

    /// All of it, of which there may be `bytes_max`.
    pub(super) async fn read(mut self, bytes_max: usize, part: &'static str) -> Result<Vec<u8>, Error> {
        let too_large = |registry: &str| failed(registry, Why::TooLarge { part, max: bytes_max as u64 });
        if self.promised_bytes().is_some_and(|promised| promised > bytes_max as u64) {
            return Err(too_large(&self.registry));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            if piece.len() > bytes_max - bytes.len() {
                return Err(too_large(&self.registry));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// Where a redirect leads: `None` where it is none, and nothing where it does not say.
fn next_of(response: &Response) -> Option<Option<&str>> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    is_redirect.then(|| response.headers().get(LOCATION).and_then(|location| location.to_str().ok()))
}

/// The token service that a refusal names: its realm, and what it calls the registry.
fn bearer(refusal: &HeaderMap) -> Option<(Url, Option<String>)> {
    let texts = refusal.get_all(WWW_AUTHENTICATE).iter().filter_map(|text| text.to_str().ok());
    let mut challenges = texts
        .filter(|text| text.len() <= ADDRESS_BYTES_MAX)
        .flat_map(|text| ChallengeParser::new(text).map_while(Result::ok));
    challenges.find_map(|challenge| {
        let value = |name: &str| {
            let found = challenge.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let is_bearer = challenge.scheme.eq_ignore_ascii_case("Bearer");
        let realm = value("realm").filter(|_| is_bearer)?;
        Some((Url::parse(&realm).ok()?, value("service")))
    })
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// A token service's answer as a header.
fn token_of(bytes: &[u8]) -> Option<HeaderValue> {
    let Token { token, access_token } = serde_json::from_slice(bytes).ok()?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.or(access_token)?)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn failed(registry: &str, why: Why) -> Error {
    Error::Registry { registry: registry.to_owned(), why, detail: String::new() }
}

/// What a failed connection is to the author, and in full to the operator.
fn broken(registry: &str, target: &Url, error: reqwest::Error) -> Error {
    // An address may be signed, and so a secret.
    let error = error.without_url();
    let mut detail = format!("{}: {error}", lead::shown(target));
    let mut is_public = true;
    let mut cause: Option<&dyn StdError> = error.source();
    while let Some(inner) = cause {
        is_public &= inner.downcast_ref::<NotPublic>().is_none();
        let _ = write!(detail, ": {inner}");
        cause = inner.source();
    }
    let why = match (is_public, error.is_timeout(), error.is_connect()) {
        (false, ..) => Why::Astray { host: lead::shown(target), reason: lead::NOT_PUBLIC },
        (_, true, _) => Why::TooSlow,
        (_, _, true) => Why::Unreachable(lead::shown(target)),
        _ => Why::BrokenOff,
    };
    Error::Registry { registry: registry.to_owned(), why, detail: detail.chars().take(500).collect() }
}
