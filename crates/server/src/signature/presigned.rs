//! A presigned request: the same things in its query, and how long they count.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{
    Error,
    authorization::{ALGORITHM, Credential, checked_list, parse_credential, parse_signature, unsupported},
    canonical::SIGNATURE_PARAMETER,
    presented::EXPIRES_MAX_S,
};

/// How long a request counts that does not say, seconds; S3's always do.
const EXPIRES_DEFAULT_S: u32 = 900;

/// What a query says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Presigned {
    pub(super) credential: Credential,
    pub(super) timestamp: String,
    pub(super) expires_s: u32,
    pub(super) signed_headers: String,
    pub(super) session_token: Option<String>,
    pub(super) content_sha256: Option<String>,
    pub(super) signature: [u8; 32],
}

/// Whether a query presents credentials.
pub(super) fn is_presigned(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair.split('=').next(), Some("X-Amz-Algorithm" | SIGNATURE_PARAMETER)))
}

pub(super) fn parse(query: &str) -> Result<Presigned, Error> {
    let mut found: [Option<String>; NAMES.len()] = [const { None }; NAMES.len()];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(index) = NAMES.iter().position(|known| *known == name) else { continue };
        let spaced = value.replace('+', " ");
        let value = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
        let value =
            value.map_err(|_| Error::Incomplete(format!("The query-string parameter '{name}' is not text.")))?;
        if found[index].replace(value).is_some() {
            return Err(Error::Incomplete(format!("The query-string parameter '{name}' must be given once.")));
        }
    }
    let [algorithm, credential, timestamp, expires, signed_headers, signature, session_token, content_sha256] = found;
    let (Some(algorithm), Some(credential), Some(timestamp), Some(signed_headers), Some(signature)) =
        (algorithm, credential, timestamp, signed_headers, signature)
    else {
        return Err(Error::Incomplete(
            "AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Signature', \
             'X-Amz-SignedHeaders' and 'X-Amz-Date'. Re-examine the query-string parameters."
                .into(),
        ));
    };
    if algorithm != ALGORITHM {
        return Err(unsupported());
    }
    checked_list(&signed_headers)?;
    Ok(Presigned {
        credential: parse_credential(&credential)?,
        timestamp,
        expires_s: expires.map_or(Ok(EXPIRES_DEFAULT_S), |text| parse_expires(&text))?,
        signed_headers,
        session_token,
        content_sha256,
        signature: parse_signature(&signature)?,
    })
}

/// In the order that [`parse`] takes them apart.
const NAMES: [&str; 8] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    SIGNATURE_PARAMETER,
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

fn parse_expires(text: &str) -> Result<u32, Error> {
    let incomplete = |text: &str| Err(Error::Incomplete(text.into()));
    if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return incomplete("X-Amz-Expires should be a number");
    }
    match text.parse() {
        Ok(seconds @ 1..=EXPIRES_MAX_S) => Ok(seconds),
        Ok(0) => incomplete("X-Amz-Expires must be positive"),
        _ => incomplete(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             604800 seconds",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Flambda%2F\
                         aws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-Amz-Expires=3600&\
                         X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d";

    #[test]
    fn a_query_is_read() {
        let read = parse(&format!("a=b&{QUERY}&X-Amz-Security-Token=a%2Bb")).unwrap();
        assert_eq!(read.credential.scope.service, "lambda");
        assert_eq!((read.expires_s, read.signed_headers.as_str()), (3600, "host;my-header1"));
        assert_eq!(read.session_token.as_deref(), Some("a+b"));
        assert_eq!(parse(&format!("{QUERY}&X-Amz-Security-Token=a+b")).unwrap().session_token.as_deref(), Some("a b"));
        assert!(is_presigned(QUERY) && !is_presigned("x-amz-algorithm=1&a=X-Amz-Algorithm"));
        assert_eq!(parse(&QUERY.replace("&X-Amz-Expires=3600", "")).unwrap().expires_s, 900);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |from: &str, to: &str| parse(&QUERY.replace(from, to)).unwrap_err().to_string();
        assert!(with("X-Amz-Date", "Date").starts_with("AWS query-string parameters must include"));
        assert!(with("=3600", "=604801").contains("less than a week"));
        assert!(with("=3600", "=99999999999999").contains("less than a week"));
        assert!(with("=3600", "=0").contains("positive"));
        assert!(with("=3600", "=-1").contains("number"));
        assert!(with("=3600", "=3600&X-Amz-Expires=3600").contains("given once"));
        assert!(with("AWS4-HMAC", "AWS4-ECDSA").contains("Unsupported"));
        assert!(with("=host%3B", "=%FF").contains("not text"));
    }
}
