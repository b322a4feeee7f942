//! Where a request comes in: finds its door and sees that every answer carries a request id.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use updraft_node::Handle;
use updraft_types::{AccountId, Body, Function, FunctionId, FunctionName, RequestId};

use crate::{
    Config, admin,
    api_error::ApiError,
    authenticate::authenticate,
    body::{self, Budget},
    connection::Peer,
    error::Error,
    function_url::{self, Target},
    guard, lambda, logs, metrics, respond,
    route::{self, Door},
    scope::Scope,
    secretsmanager,
    service::Service,
    ssm,
};

/// The largest body of a service that says nothing else, bytes.
const OTHER_BODY_BYTES_MAX: usize = 2 << 20;

/// What all doors share.
pub(crate) struct Doors {
    /// Everything is done through it.
    pub(crate) node: Handle,
    /// The account of the root user, and of functions reached by `/fn/NAME/`.
    pub(crate) account: AccountId,
    /// Where we listen.
    pub(crate) address: SocketAddr,
    /// `.lambda-url.REGION.localhost`
    pub(crate) host_suffix: String,
    /// Bounds of request bodies that are read whole.
    pub(crate) budget: Budget,
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
    /// The AWS services and our own admin door: whoever asks signs.
    Signed {
        is_admin: bool,
    },
}

impl Doors {
    pub(crate) fn new(config: &Config, address: SocketAddr, node: Handle, stopping: watch::Receiver<bool>) -> Self {
        Self {
            host_suffix: format!(".lambda-url.{}.localhost", node.region()),
            budget: Budget::new(config.body_bytes_in_flight_max, config.body_pause_max),
            account: config.account.clone(),
            annotating: Mutex::default(),
            address,
            node,
            stopping,
        }
    }

    /// Answers one request.
    pub(crate) async fn serve(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        match self.place(&request) {
            Place::Url(Some(target)) => function_url::serve(self, target, request, peer).await,
            Place::Url(None) => function_url::not_found(),
            other => Box::pin(self.serve_quietly(other, request)).await,
        }
    }

    /// The doors that are not in a hurry.
    async fn serve_quietly(&self, place: Place, request: Request<Incoming>) -> Response<Body> {
        let mut response = if !guard::is_local(host_of(&request), request.headers()) {
            Error::not_local().into_response()
        } else {
            match place {
                Place::Health => health(request.method()),
                Place::Metrics => metrics::serve(self, request.method()).unwrap_or_else(Error::into_response),
                Place::Signed { is_admin } => self.serve_signed(request, is_admin).await,
                Place::Url(_) => Error::admin_not_found().into_response(),
            }
        };
        let headers: &mut HeaderMap = response.headers_mut();
        if !headers.contains_key(respond::REQUEST_ID) {
            headers.insert(respond::REQUEST_ID, respond::request_id(RequestId::random()));
        }
        response
    }

    /// The doors that ask who is there. Reads the body first: a signature covers it.
    async fn serve_signed(&self, request: Request<Incoming>, is_admin: bool) -> Response<Body> {
        let (head, body) = request.into_parts();
        let service = if is_admin { Service::Lambda } else { Service::of(&head.headers) };
        let protocol = service.protocol();
        let body = match self.budget.read(body, body_bytes_max(&service, &head)).await {
            Ok(body) => body,
            Err(error) => return unread(&service, &head, &error),
        };
        let caller = match authenticate(self, &head, &service, &body.bytes) {
            Ok(caller) => caller,
            Err(error) => return error.into_response(protocol),
        };
        let scope = Scope::new(self, caller);
        if is_admin {
            return admin::serve(&scope, &head, &body).await.unwrap_or_else(Error::into_response);
        }
        match &service {
            Service::Lambda => lambda::serve(&scope, &head, &body).await.unwrap_or_else(Error::into_response),
            Service::Logs => {
                logs::serve(&scope, &head, &body).await.unwrap_or_else(|error| error.into_response(protocol))
            }
            Service::Ssm => {
                ssm::serve(&scope, &head, &body).await.unwrap_or_else(|error| error.into_response(protocol))
            }
            Service::SecretsManager => {
                secretsmanager::serve(&scope, &head, &body).await.unwrap_or_else(|error| error.into_response(protocol))
            }
            Service::Other(name) => ApiError::not_implemented(&format!("The service {name}")).into_response(protocol),
        }
    }

    fn place(&self, request: &Request<Incoming>) -> Place {
        match route::door(host_of(request), request.uri().path(), &self.host_suffix) {
            Door::UrlHost { url_id } => Place::Url(self.by_url(url_id).map(|function| Target { function, path: None })),
            Door::UrlPath { name, path } => {
                let path = route::rebased(path, request.uri().query());
                Place::Url(self.by_name(name).zip(path).map(|(function, path)| Target { function, path: Some(path) }))
            }
            Door::Health => Place::Health,
            Door::Metrics => Place::Metrics,
            Door::Admin { .. } => Place::Signed { is_admin: true },
            Door::Lambda => Place::Signed { is_admin: false },
        }
    }

    fn by_url(&self, url_id: &str) -> Option<Arc<Function>> {
        let catalog = self.node.catalog();
        if url_id.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return catalog.by_url(&url_id.to_ascii_lowercase()).cloned();
        }
        catalog.by_url(url_id).cloned()
    }

    fn by_name(&self, name: &str) -> Option<Arc<Function>> {
        let name: FunctionName = name.parse().ok()?;
        self.node.catalog().get(&self.id(name)).cloned()
    }

    /// A function's full identity.
    pub(crate) fn id(&self, name: FunctionName) -> FunctionId {
        FunctionId { account: self.account.clone(), name }
    }
}

/// The largest body a service takes, bytes.
fn body_bytes_max(service: &Service, head: &Parts) -> usize {
    match service {
        Service::Lambda => lambda::body_bytes_max(head),
        Service::Logs => logs::BODY_BYTES_MAX,
        Service::Ssm => ssm::BODY_BYTES_MAX,
        Service::SecretsManager => secretsmanager::BODY_BYTES_MAX,
        Service::Other(_) => OTHER_BODY_BYTES_MAX,
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
