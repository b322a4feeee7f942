//! HTTP bodies as they cross the platform: boxed streams of bytes, so a door, an executor and the meter
//! between them need not name each other's types.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};

/// An error of any kind that ends a body early. A function's own late failure arrives as a
/// [`crate::Fault`] inside it; see [`fault_of`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming body.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body with nothing in it.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is already whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The function's failure that ended a body, if that is what the error is.
pub fn fault_of(error: BoxError) -> Result<crate::Fault, BoxError> {
    error.downcast::<crate::Fault>().map(|fault| *fault)
}
