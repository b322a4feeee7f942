//! Where a request comes in: finds its door and sees that every answer carries a request id.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use updraft_node::Handle;
use updraft_node::catalog::UrlOwner;
use updraft_types::{AccountId, Alias, Body, Caller, FunctionId, FunctionName, Qualifier, RequestId, egress::Network};

use crate::{
    Authentication, Config, Roles, RootKey, Transport, admin,
    api_error::{ApiError, Protocol},
    authenticate::{self, Claim},
    body::{self, Budget, Held},
    connection::Peer,
    error::Error,
    forwarded,
    function_url::{self, Target},
    guard, iam, lambda,
    link::Links,
    logs, metrics, respond,
    route::{self, Door},
    scope::Scope,
    secretsmanager,
    service::Service,
    signature::Keys,
    ssm, sts,
};

/// The largest body of a service that says nothing else, bytes.
const OTHER_BODY_BYTES_MAX: usize = 2 << 20;

/// What all doors share.
pub(crate) struct Doors {
    /// Everything is done through it.
    pub(crate) node: Handle,
    /// The account of the root user, and of functions reached by `/fn/NAME/`.
    pub(crate) account: AccountId,
    /// Whether requests have to be signed.
    pub(crate) authentication: Authentication,
    /// Whether a function's role has to be one that Lambda can assume.
    pub(crate) has_real_roles: bool,
    /// The access key of that account's root user, if it has one.
    pub(crate) root: Option<RootKey>,
    /// Derived keys that have verified a signature.
    pub(crate) signing_keys: Keys,
    /// What links to code packages are made with.
    pub(crate) links: Links,
    /// `http` or `https`, as clients see us.
    pub(crate) scheme: &'static str,
    /// Whether every request comes by way of a proxy.
    pub(crate) is_behind_proxy: bool,
    /// Proxies that are believed.
    trusted_proxies: Vec<Network>,
    /// Where we listen.
    pub(crate) address: SocketAddr,
    /// `.lambda-url.REGION.localhost`
    pub(crate) host_suffix: String,
    /// Bounds of request bodies that are read whole.
    pub(crate) budget: Budget,
    /// Most bytes of one answer to InvokeWithResponseStream.
    pub(crate) stream_bytes_max: u64,
    /// Held while a URL or tags are read, checked and written back; this server is the only one to write them.
    pub(crate) annotating: Mutex<()>,
    /// Becomes true when the server is told to stop; endless answers end then.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Where a request goes, with nothing borrowed from it.
enum Place {
    Url(Option<Target>),
    Health,
    Metrics,
    /// Whoever asks signs.
    Signed(Signed),
    /// Nothing that this client may know of.
    Closed,
}

/// The doors behind a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    /// An AWS service.
    Service,
    /// Our own.
    Admin,
    /// The figures, asked for from elsewhere.
    Metrics,
}

impl Doors {
    pub(crate) fn new(config: &Config, address: SocketAddr, node: Handle, stopping: watch::Receiver<bool>) -> Self {
        Self {
            host_suffix: format!(".lambda-url.{}.localhost", node.region()),
            budget: Budget::new(config.body_bytes_in_flight_max, config.body_pause_max),
            account: config.account.clone(),
            authentication: config.authentication,
            has_real_roles: config.roles == Roles::Required && config.authentication == Authentication::Required,
            root: config.root.clone(),
            signing_keys: Keys::default(),
            links: Links::default(),
            scheme: config.transport.scheme(),
            is_behind_proxy: matches!(config.transport, Transport::Proxy),
            trusted_proxies: config.trusted_proxies.clone(),
            stream_bytes_max: config.stream_bytes_max,
            annotating: Mutex::default(),
            address,
            node,
            stopping,
        }
    }

    /// Answers one request.
    pub(crate) async fn serve(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let client = forwarded::client(peer, request.headers(), &self.trusted_proxies);
        let peer = client.as_ref().unwrap_or(peer);
        match self.place(&request, peer) {
            Place::Url(Some(target)) => function_url::serve(self, target, request, peer).await,
            Place::Url(None) => function_url::not_found(),
            other => Box::pin(self.serve_quietly(other, request, peer)).await,
        }
    }

    /// The doors that are not in a hurry.
    async fn serve_quietly(&self, place: Place, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let is_guarded = self.authentication == Authentication::Off && !matches!(place, Place::Health);
        let is_local = !self.is_behind_proxy && guard::is_local(host_of(&request), request.headers());
        let mut response = if is_guarded && !is_local {
            Error::not_local().into_response()
        } else {
            match place {
                Place::Health => health(request.method()),
                Place::Metrics if is_local && peer.address.ip().is_loopback() => {
                    metrics::serve(self, request.method()).unwrap_or_else(Error::into_response)
                }
                Place::Metrics => self.serve_signed(request, Signed::Metrics, peer).await,
                Place::Signed(signed) => self.serve_signed(request, signed, peer).await,
                Place::Url(_) | Place::Closed => Error::admin_not_found().into_response(),
            }
        };
        let headers: &mut HeaderMap = response.headers_mut();
        if !headers.contains_key(respond::REQUEST_ID) {
            headers.insert(respond::REQUEST_ID, respond::request_id(RequestId::random()));
        }
        response
    }

    /// The doors that ask who is there. The body of one who presents nothing is not kept; the others' are read before
    /// anything is done, since a signature covers them.
    async fn serve_signed(&self, request: Request<Incoming>, signed: Signed, peer: &Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        use authenticate::Links as Follow;
        let links = if signed == Signed::Admin { Follow::Followed } else { Follow::Nothing };
        let (claim, service) = match Claim::read(self, &head, links) {
            Ok(read) => read,
            Err((error, protocol)) => {
                body::discard(body).await;
                return error.into_response(protocol);
            }
        };
        // Our own doors are Lambda's. A signature for another service is not for them: one for S3 need not cover the body.
        if signed != Signed::Service && service != Service::Lambda {
            body::discard(body).await;
            return Error::signed_for_another().into_response();
        }
        let protocol = service.protocol();
        let body = match self.budget.read(body, body_bytes_max(&service, &head)).await {
            Ok(body) => body,
            Err(error) => return unread(&service, &head, &error),
        };
        let scope = match claim.verify(self, &head, &service, &body.bytes).await {
            Ok(who) => Scope::new(self, who, &head, peer),
            Err((error, protocol)) => return error.into_response(protocol),
        };
        match (signed, &service) {
            (Signed::Admin, _) => admin::serve(&scope, &head, &body).await.unwrap_or_else(Error::into_response),
            // They name every account's functions.
            (Signed::Metrics, _) if scope.caller != Caller::root(self.account.clone()) => {
                Error::not_root().into_response()
            }
            (Signed::Metrics, _) => metrics::serve(self, &head.method).unwrap_or_else(Error::into_response),
            (Signed::Service, service) => serve_service(&scope, service, &head, &body, protocol).await,
        }
    }

    /// Where a request goes. A guest finds the AWS services alone: they are all who ask for a signature.
    fn place(&self, request: &Request<Incoming>, peer: &Peer) -> Place {
        match route::door(host_of(request), request.uri().path(), &self.host_suffix) {
            Door::Lambda => Place::Signed(Signed::Service),
            _ if peer.is_guest => Place::Closed,
            Door::UrlHost { url_id } => Place::Url(self.by_url(url_id)),
            Door::UrlPath { name, path } => {
                let path = route::rebased(path, request.uri().query());
                let target = self.by_name(name).zip(path);
                Place::Url(target.map(|(target, path)| Target { path: Some(path), ..target }))
            }
            Door::Health => Place::Health,
            Door::Metrics => Place::Metrics,
            Door::Admin { .. } => Place::Signed(Signed::Admin),
        }
    }

    fn by_url(&self, url_id: &str) -> Option<Target> {
        let catalog = self.node.catalog();
        let owner = if url_id.bytes().any(|byte| byte.is_ascii_uppercase()) {
            catalog.by_url(&url_id.to_ascii_lowercase())
        } else {
            catalog.by_url(url_id)
        };
        match owner? {
            UrlOwner::Function(function) => Some(Target { function, alias: None, path: None }),
            UrlOwner::Alias(alias) => self.by_alias(alias),
        }
    }

    /// By `NAME`, or by `NAME:ALIAS`.
    fn by_name(&self, name: &str) -> Option<Target> {
        let (name, alias) = name.split_once(':').map_or((name, None), |(name, alias)| (name, Some(alias)));
        let id = self.id(name.parse::<FunctionName>().ok()?);
        let catalog = self.node.catalog();
        match alias {
            None => catalog.get(&id).map(|function| Target { function: function.clone(), alias: None, path: None }),
            Some(alias) => self.by_alias(catalog.alias(&id, &alias.parse().ok()?)?.clone()),
        }
    }

    fn by_alias(&self, alias: Arc<Alias>) -> Option<Target> {
        let function = self.node.route(&alias.function, &Qualifier::Alias(alias.name.clone()))?;
        Some(Target { function, alias: Some(alias), path: None })
    }

    /// A function's full identity.
    pub(crate) fn id(&self, name: FunctionName) -> FunctionId {
        FunctionId { account: self.account.clone(), name }
    }
}

/// One request to one of the AWS services.
async fn serve_service(
    scope: &Scope<'_>,
    service: &Service,
    head: &Parts,
    body: &Held,
    protocol: Protocol,
) -> Response<Body> {
    match service {
        Service::Lambda => lambda::serve(scope, head, body).await.unwrap_or_else(Error::into_response),
        Service::Iam => iam::serve(scope, head, body).await.unwrap_or_else(|error| error.into_response(protocol)),
        Service::Sts => sts::serve(scope, head, body).await.unwrap_or_else(|error| error.into_response(protocol)),
        Service::Logs => logs::serve(scope, head, body).await.unwrap_or_else(|error| error.into_response(protocol)),
        Service::Ssm => ssm::serve(scope, head, body).await.unwrap_or_else(|error| error.into_response(protocol)),
        Service::SecretsManager => {
            secretsmanager::serve(scope, head, body).await.unwrap_or_else(|error| error.into_response(protocol))
        }
        Service::Other(name) => ApiError::not_implemented(&format!("The service {name}")).into_response(protocol),
    }
}

/// The largest body a service takes, bytes.
fn body_bytes_max(service: &Service, head: &Parts) -> usize {
    match service {
        Service::Lambda => lambda::body_bytes_max(head),
        Service::Iam | Service::Sts | Service::Other(_) => OTHER_BODY_BYTES_MAX,
        Service::Logs => logs::BODY_BYTES_MAX,
        Service::Ssm => ssm::BODY_BYTES_MAX,
        Service::SecretsManager => secretsmanager::BODY_BYTES_MAX,
    }
}

fn unread(service: &Service, head: &Parts, error: &body::Error) -> Response<Body> {
    match service {
        Service::Lambda => lambda::unread(head, error).into_response(),
        other => ApiError::body(error, body_bytes_max(other, head)).into_response(other.protocol()),
    }
}

/// The host a request names: HTTP/2 and absolute targets carry it in the URI, the rest in a header.
pub(crate) fn host_of<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST)?.to_str().ok(),
    }
}

fn health(method: &Method) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Error::admin_not_found().into_response();
    }
    respond::json(StatusCode::OK, &json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}
