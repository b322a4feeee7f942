//! Who asks: the one place that makes a [`Caller`] of a request.

use http::request::Parts;
use updraft_types::Caller;

use crate::{api_error::ApiError, doors::Doors, service::Service};

/// The caller of a request whose body has been read whole.
pub(crate) fn authenticate(doors: &Doors, _head: &Parts, _service: &Service, _body: &[u8]) -> Result<Caller, ApiError> {
    Ok(Caller::root(doors.account.clone()))
}
