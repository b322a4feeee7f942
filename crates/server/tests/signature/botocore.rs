//! Requests as boto3 sends them, recorded by `data/record.py`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use updraft_server::signature::{Error, Form, Payload};

use crate::{Sent, seconds};

#[derive(Deserialize)]
pub(crate) struct Recording {
    access_key_id: String,
    pub(crate) secret: String,
    token: String,
    requests: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// The recorded requests by name, each with the second it was signed in.
pub(crate) fn requests() -> (Recording, Vec<(String, Sent, u64)>) {
    let mut recording: Recording = serde_json::from_str(include_str!("data/botocore.json")).unwrap();
    let requests = std::mem::take(&mut recording.requests).into_iter().map(|recorded| {
        let body = BASE64.decode(&recorded.body).unwrap();
        let sent = Sent::new(&recorded.method, &recorded.target, &recorded.headers, &body);
        let signed_at = match sent.head.headers.get("x-amz-date") {
            Some(date) => date.to_str().unwrap().to_owned(),
            None => recorded.target.split_once("X-Amz-Date=").unwrap().1[..16].to_owned(),
        };
        (recorded.name, sent, seconds(&signed_at))
    });
    let requests = requests.collect();
    (recording, requests)
}

#[test]
fn what_boto3_sends_is_verified() {
    let (recording, requests) = requests();
    assert_eq!(requests.len(), 21);
    for (name, sent, at) in &requests {
        let presented = sent.verify(&recording.secret, at + 20).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(presented.access_key_id, recording.access_key_id);
        assert_eq!(presented.scope.region, if name.contains("role") { "eu-west-1" } else { &presented.scope.region });
        if let Some(token) = &presented.session_token {
            assert_eq!(*token, recording.token, "{name}");
        }
        assert_eq!(sent.verify("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEz", at + 20), Err(Error::Mismatch), "{name}");
    }
    let of = |name: &str| {
        let (_, sent, at) = requests.iter().find(|(known, ..)| known == name).unwrap();
        sent.verify(&recording.secret, *at).unwrap()
    };
    assert_eq!(of("invoke").scope.service, "lambda");
    assert_eq!(of("invoke").payload, Payload::Whole { declared: None });
    assert!(of("invoke").session_token.is_none() && of("invoke for a while").session_token.is_some());
    assert!(of("parameter").session_token.is_some() && of("presigned list").session_token.is_some());
    assert_eq!(of("who am I").scope.service, "sts");
    assert!(matches!(of("put").payload, Payload::Whole { declared: Some(_) }));
    assert_eq!(of("presigned put").payload, Payload::Unsigned);
    assert_eq!(of("presigned get").form, Form::Presigned { expires_s: 604_800 });
    assert_eq!(of("presigned who").payload, Payload::Whole { declared: None });
}
