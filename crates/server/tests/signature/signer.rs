//! Requests of every shape, signed by AWS's own signer.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use http::Request;
use proptest::{collection::vec, prelude::*};
use updraft_server::signature::{Error, Form, Payload};

use crate::{SECRET, Sent};

/// A request before it is signed, and how it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) service: &'static str,
    pub(crate) token: Option<String>,
    pub(crate) is_presigned: bool,
    pub(crate) declares_hash: bool,
    pub(crate) at_s: u64,
}

/// Signs as the AWS SDK for Rust does.
pub(crate) fn signed(plan: &Plan) -> Sent {
    let is_s3 = plan.service == "s3";
    let mut settings = SigningSettings::default();
    if is_s3 {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    if plan.is_presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(300));
    } else if plan.declares_hash {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = Credentials::new("AKIDEXAMPLE", SECRET, plan.token.clone(), None, "test").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(plan.service)
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(plan.at_s))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = format!("http://updraft.localhost:4566{}", plan.target);
    let headers = plan.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = if is_s3 && plan.is_presigned { SignableBody::UnsignedPayload } else { SignableBody::Bytes(&plan.body) };
    let signable = SignableRequest::new(plan.method, &url, headers, body).unwrap();
    let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
    let mut request = Request::builder().method(plan.method).uri(&url).body(()).unwrap();
    for (name, value) in &plan.headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    instructions.apply_to_request_http1x(&mut request);
    // As it arrives over HTTP/1.1: the target without, the host in a header.
    let mut head = request.into_parts().0;
    head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
    head.headers.insert("host", "updraft.localhost:4566".parse().unwrap());
    Sent { head, body: plan.body.clone() }
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9._~-]{1,12}",
        Just("arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af".to_owned()),
        Just("%24LATEST".to_owned()),
        Just("%E1%88%B4".to_owned()),
        Just("..".to_owned()),
        Just(String::new()),
    ]
}

/// What only services other than S3 see: characters that are sent as they are.
fn plain_segment() -> impl Strategy<Value = String> {
    "[A-Za-z0-9:@$!*'(),;=&+-]{1,12}"
}

fn target() -> impl Strategy<Value = (String, bool)> {
    let path = prop_oneof![
        3 => vec(segment(), 0..6).prop_map(|segments| (segments.join("/"), true)),
        1 => vec(plain_segment(), 0..4).prop_map(|segments| (segments.join("/"), false)),
    ];
    let parameter =
        ("[A-Za-z][A-Za-z0-9_.-]{0,8}", prop_oneof![Just(None), "[A-Za-z0-9%25+ /é~*-]{0,9}".prop_map(Some)]).prop_map(
            |(name, value)| match value {
                None => name,
                Some(value) => {
                    let mut text = format!("{name}=");
                    text.extend(form_urlencoded::byte_serialize(value.as_bytes()));
                    text
                }
            },
        );
    (path, vec(parameter, 0..5)).prop_map(|((path, is_any), query)| {
        let mark = if query.is_empty() { "" } else { "?" };
        (format!("/{path}{mark}{}", query.join("&")), is_any)
    })
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        Just("content-type".to_owned()),
        Just("x-amz-client-context".to_owned()),
        Just("x-amz-invocation-type".to_owned()),
        Just("accept".to_owned()),
        "[a-z][a-z0-9-]{0,10}[a-z0-9]".prop_map(|name| format!("my-{name}")),
    ];
    vec((name, "[ -~]{0,24}"), 0..5)
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let how = (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of("[A-Za-z0-9/+=]{4,80}"));
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]);
    (method, target(), headers(), vec(any::<u8>(), 0..64), how, 1_000_000_000_u64..4_000_000_000).prop_map(
        |(method, (target, is_any), headers, body, (is_s3, is_presigned, declares_hash, token), at_s)| Plan {
            method,
            target,
            headers,
            body,
            service: if is_s3 && is_any { "s3" } else { "lambda" },
            token,
            is_presigned,
            declares_hash,
            at_s,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_the_official_signer_signs_is_verified(plan in plan(), late_s in 0_u64..300) {
        let sent = signed(&plan);
        let presented = sent.verify(SECRET, plan.at_s + late_s);
        prop_assert!(presented.is_ok(), "{:?}\n{:?}", presented, sent);
        let presented = presented.unwrap();
        prop_assert_eq!(&presented.session_token, &plan.token);
        prop_assert_eq!(presented.form != Form::Headers, plan.is_presigned);
        prop_assert_eq!(presented.payload == Payload::Unsigned, plan.is_presigned && plan.service == "s3");
        prop_assert_eq!(sent.verify("wJalrXUtnFEMI", plan.at_s), Err(Error::Mismatch));
    }
}
