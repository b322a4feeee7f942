//! The `Authorization` header: `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.

use super::{Error, key::unhex, presented::Scope};

/// The one algorithm there is.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Most characters of an access key id. AWS's own have at most 128.
const ACCESS_KEY_ID_MAX: usize = 128;
/// Most characters of a region's or a service's name.
const SCOPE_PART_MAX: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization<'a> {
    pub(super) credential: Credential,
    pub(super) signed_headers: &'a str,
    pub(super) signature: [u8; 32],
}

/// An access key, and what it was used for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) access_key_id: String,
    pub(super) scope: Scope,
}

pub(super) fn parse(value: &str) -> Result<Authorization<'_>, Error> {
    let (algorithm, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if algorithm != ALGORITHM {
        return Err(unsupported());
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for pair in rest.split(',').map(str::trim).filter(|_| !rest.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            let text = "Authorization header has a part that is no key=value pair (missing equal-sign).";
            return Err(Error::Incomplete(text.into()));
        };
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(Error::Incomplete("Authorization header has a part that is not known.".into())),
        };
        if place.replace(value).is_some() {
            return Err(Error::Incomplete(format!("Authorization header has more than one '{name}'.")));
        }
    }
    let (Some(credential), Some(signed_headers), Some(signature)) = (credential, signed_headers, signature) else {
        let missing = [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)];
        let missing = missing.iter().filter(|(_, value)| value.is_none());
        let texts: Vec<String> =
            missing.map(|(name, _)| format!("Authorization header requires '{name}' parameter.")).collect();
        return Err(Error::Incomplete(texts.join(" ")));
    };
    Ok(Authorization {
        credential: parse_credential(credential)?,
        signed_headers: checked_list(signed_headers)?,
        signature: parse_signature(signature)?,
    })
}

pub(super) fn unsupported() -> Error {
    Error::Incomplete(format!("Unsupported AWS 'algorithm': only '{ALGORITHM}' is."))
}

/// `ACCESSKEYID/DAY/REGION/SERVICE/aws4_request`
pub(super) fn parse_credential(text: &str) -> Result<Credential, Error> {
    let mut parts = text.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let (access_key_id, day, region, service, terminator) = (part(), part(), part(), part(), part());
    let is_word = |text: &str, length_max: usize| {
        (1..=length_max).contains(&text.len())
            && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
    };
    let is_well_formed = is_word(access_key_id, ACCESS_KEY_ID_MAX)
        && day.len() == 8
        && day.bytes().all(|digit| digit.is_ascii_digit())
        && is_word(region, SCOPE_PART_MAX)
        && is_word(service, SCOPE_PART_MAX)
        && !terminator.is_empty()
        && parts.next().is_none();
    if !is_well_formed {
        let text = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.";
        return Err(Error::Incomplete(text.into()));
    }
    if terminator != "aws4_request" {
        return Err(Error::Refused("Credential should be scoped with a valid terminator: 'aws4_request'.".into()));
    }
    let scope = Scope { day: day.into(), region: region.into(), service: service.into() };
    Ok(Credential { access_key_id: access_key_id.into(), scope })
}

pub(super) fn checked_list(signed_headers: &str) -> Result<&str, Error> {
    if is_list_of_headers(signed_headers) {
        return Ok(signed_headers);
    }
    let text = "SignedHeaders must be names of headers in lower case and in order, with a semicolon between two.";
    Err(Error::Incomplete(text.into()))
}

/// Whether names are lower-case headers, each once and in order.
fn is_list_of_headers(names: &str) -> bool {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_.".contains(&it))
    };
    let mut before = "";
    names.split(';').all(|name| {
        let is_next = is_name(name) && before < name;
        before = name;
        is_next
    })
}

pub(super) fn parse_signature(text: &str) -> Result<[u8; 32], Error> {
    unhex(text.as_bytes())
        .ok_or_else(|| Error::Incomplete("Signature must be 64 hexadecimal digits in lower case.".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    const CREDENTIAL: &str = "AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request";

    #[test]
    fn a_header_is_read() {
        for between in [", ", ",", " , "] {
            let text = format!(
                "AWS4-HMAC-SHA256 Credential={CREDENTIAL}{between}SignedHeaders=host;x-amz-date{between}Signature={SIGNATURE}"
            );
            let read = parse(&text).unwrap();
            assert_eq!(read.credential.access_key_id, "AKIDEXAMPLE");
            assert_eq!(read.credential.scope.to_string(), "20150830/us-east-1/lambda/aws4_request");
            assert_eq!(read.signed_headers, "host;x-amz-date");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let all = format!("Credential={CREDENTIAL},SignedHeaders=host,Signature={SIGNATURE}");
        for (text, why) in [
            ("Bearer x".into(), "Unsupported"),
            ("AWS4-HMAC-SHA256".into(), "requires 'Credential' parameter. Authorization header requires 'Signature'"),
            ("AWS4-ECDSA-P256-SHA256 x".into(), "Unsupported"),
            (format!("AWS4-HMAC-SHA256 {all},Signature={SIGNATURE}"), "more than one 'Signature'"),
            (format!("AWS4-HMAC-SHA256 {all},x=1"), "not known"),
            (format!("AWS4-HMAC-SHA256 {all},x"), "equal-sign"),
            (format!("AWS4-HMAC-SHA256 {all},"), "equal-sign"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("us-east-1/", "")), "5 slash-delimited"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("aws4_request", "aws4_request/x")), "5 slash-delimited"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("aws4_request", "aws5")), "terminator"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("2015083", "2015O83")), "5 slash-delimited"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("=host", "=host;date")), "in order"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("=host", "=Host")), "in order"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("=host", "=")), "in order"),
            (format!("AWS4-HMAC-SHA256 {}", all.replace("5fa", "5FA")), "64 hexadecimal"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
