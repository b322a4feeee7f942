//! `GET`, `PUT` and `DELETE functions/NAME/egress`: where a function may connect to.
//!
//! A PUT's body, and what every method answers in `{"egress": …}`, is `"none"`, `"all"` or
//! `{"allow": ["api.example.com:443", "10.0.0.0/8:5432", …]}`; `null` is what a function says that leaves it to the
//! platform's configuration, and what DELETE goes back to. A change starts new instances, like any configuration's.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use serde::Serialize;
use updraft_types::{Body, Egress, Function};

use crate::{
    body::{self, Held},
    error::Error,
    respond,
    scope::Scope,
};

/// Room for the most rules there may be, each as long as names may be.
const BODY_BYTES_MAX: usize = 32 * 1024;

#[derive(Serialize)]
struct View<'a> {
    egress: Option<&'a Egress>,
}

/// Answers one request about one function's egress.
pub(super) async fn serve(
    scope: &Scope<'_>,
    function: Arc<Function>,
    method: &Method,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let wanted = match *method {
        Method::GET => return Ok(view(&function)),
        Method::DELETE => None,
        Method::PUT => {
            if body.bytes.len() > BODY_BYTES_MAX {
                return Err(Error::body(&body::Error::TooLarge, BODY_BYTES_MAX, "PutEgress"));
            }
            Some(serde_json::from_slice(&body.bytes).map_err(|error| Error::unreadable(&error))?)
        }
        _ => return Err(Error::admin_not_found()),
    };
    if function.configuration.egress == wanted {
        return Ok(view(&function));
    }
    let changed = scope.node.update_configuration(&function.id, None, |to| to.egress = wanted).await;
    let arn = function.id.arn(scope.node.region());
    let deployed = changed.map_err(|error| Error::change(error, function.id.name.as_str(), &arn))?;
    Ok(view(&deployed.function))
}

fn view(function: &Function) -> Response<Body> {
    respond::json(StatusCode::OK, &View { egress: function.configuration.egress.as_ref() })
}
