//! What a failed request is called in `wasi:http` (source: its `error-code`, whose cases are those of RFC 9209, 2.3).

use std::{error::Error as _, io};

use tokio_rustls::rustls;
use updraft_executor::egress::Error as DialError;
use updraft_types::egress::Why;
use wasmtime_wasi_http::Error;

/// No connection was made.
pub(super) fn of_dial(error: &DialError) -> Error {
    match error {
        DialError::Denied(denial) => match denial.why {
            Why::NotAllowed | Why::Operator => Error::HttpRequestDenied,
            Why::Private | Why::Never(_) | Why::OwnHost => Error::DestinationIpProhibited,
        },
        DialError::Unresolved { source, .. } if source.kind() == io::ErrorKind::TimedOut => Error::DnsTimeout,
        DialError::Unresolved { .. } => Error::DnsError { rcode: None, info_code: None },
        DialError::Unreachable { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Error::DestinationIpUnroutable,
            io::ErrorKind::ConnectionReset => Error::ConnectionTerminated,
            // The host turned out to talk to itself.
            io::ErrorKind::PermissionDenied => Error::DestinationIpProhibited,
            _ => Error::DestinationUnavailable,
        },
    }
}

/// A connection broke, or its other end could not prove who it is.
pub(super) fn of_stream(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Error::HttpProtocolError,
            io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            _ => Error::ConnectionTerminated,
        },
    }
}

/// The exchange over a connection that stood failed.
pub(super) fn of_exchange(error: &hyper::Error) -> Error {
    if let Some(cause) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        return match cause.kind() {
            io::ErrorKind::UnexpectedEof => Error::HttpResponseIncomplete,
            _ => of_stream(cause),
        };
    }
    if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_closed() || error.is_canceled() || error.is_body_write_aborted() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}
