//! What is refused, and in which words.

use updraft_server::signature::{Dialect, Error};

use crate::{
    SECRET, Sent, seconds,
    signer::{Plan, signed},
};

const AT: &str = "20260301T120000Z";

fn plan() -> Plan {
    Plan {
        method: "POST",
        target: "/2015-03-31/functions/f/invocations".into(),
        headers: Vec::new(),
        body: b"{}".to_vec(),
        service: "lambda",
        token: None,
        is_presigned: false,
        declares_hash: false,
        at_s: seconds(AT),
    }
}

/// The request of a plan, changed after it was signed.
fn with(plan: Plan, change: impl FnOnce(&mut Sent)) -> Result<(), Error> {
    let at_s = plan.at_s;
    let mut sent = signed(&plan);
    change(&mut sent);
    sent.verify(SECRET, at_s).map(drop)
}

fn header(name: &'static str, value: &str) -> impl FnOnce(&mut Sent) {
    move |sent| drop(sent.head.headers.insert(name, value.parse().unwrap()))
}

#[test]
fn clocks_may_be_a_quarter_of_an_hour_apart() {
    let (sent, at) = (signed(&plan()), seconds(AT));
    for now in [at - 900, at, at + 900] {
        assert!(sent.verify(SECRET, now).is_ok());
    }
    let text = "Signature expired: 20260301T120000Z is now earlier than 20260301T120001Z (20260301T121501Z - 15 min.)";
    assert_eq!(sent.verify(SECRET, at + 901), Err(Error::OutOfTime(text.into())));
    let text = "Signature not yet current: 20260301T120000Z is still later than 20260301T115959Z (20260301T114459Z + \
                15 min.)";
    assert_eq!(sent.verify(SECRET, at - 901), Err(Error::OutOfTime(text.into())));

    let ahead = signed(&Plan { is_presigned: true, ..plan() });
    assert!(ahead.verify(SECRET, at + 300).is_ok() && ahead.verify(SECRET, at - 900).is_ok());
    assert_eq!(ahead.verify(SECRET, at + 301), Err(Error::Ended));
    assert!(matches!(ahead.verify(SECRET, at - 901), Err(Error::OutOfTime(_))));
}

#[test]
fn what_steers_a_service_has_to_be_signed() {
    let unsigned = with(plan(), header("x-amz-invocation-type", "DryRun")).unwrap_err();
    assert_eq!(
        unsigned.to_string(),
        "There were headers present in the request which were not signed: x-amz-invocation-type"
    );
    assert_eq!(unsigned.public(Dialect::Json).code, "InvalidSignatureException");
    assert!(matches!(with(plan(), header("x-amz-security-token", "t")), Err(Error::Refused(_))));
    let hosts = with(plan(), |sent| {
        let text = sent.head.headers["authorization"].to_str().unwrap().replace("=host;", "=");
        sent.head.headers.insert("authorization", text.parse().unwrap());
    });
    assert!(matches!(hosts, Err(Error::Refused(text)) if text.starts_with("'Host' or ':authority'")));
    assert_eq!(with(plan(), header("x-amzn-trace-id", "Root=1")), Ok(()));
    assert_eq!(with(plan(), header("host", "elsewhere")), Err(Error::Mismatch));
    assert_eq!(with(plan(), |sent| drop(sent.head.headers.remove("host"))), Err(Error::Mismatch));
}

#[test]
fn the_authority_counts_where_there_is_one() {
    assert_eq!(
        with(plan(), |sent| sent.head.uri = "http://elsewhere/2015-03-31/functions/f/invocations".parse().unwrap()),
        Err(Error::Mismatch)
    );
    let same = with(plan(), |sent| {
        sent.head.headers.remove("host");
        sent.head.uri = "http://updraft.localhost:4566/2015-03-31/functions/f/invocations".parse().unwrap();
    });
    assert_eq!(same, Ok(()));
}

#[test]
fn scope_and_date_belong_together() {
    let other_day = with(plan(), header("x-amz-date", "20260302T000000Z")).unwrap_err();
    assert_eq!(
        other_day.to_string(),
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260301' != \
         '20260302', from '20260302T000000Z'."
    );
    let no_date = with(plan(), |sent| drop(sent.head.headers.remove("x-amz-date"))).unwrap_err();
    assert!(no_date.to_string().contains("'X-Amz-Date' or a 'Date' header"));
    assert_eq!(no_date.public(Dialect::Query).code, "IncompleteSignature");
    assert!(with(plan(), header("x-amz-date", "yesterday")).unwrap_err().to_string().contains("Got 'yesterday'"));
    for scope in ["eu-west-1/lambda", "us-east-1/iam"] {
        let other = with(plan(), |sent| {
            let text = sent.head.headers["authorization"].to_str().unwrap().replace("us-east-1/lambda", scope);
            sent.head.headers.insert("authorization", text.parse().unwrap());
        });
        assert_eq!(other, Err(Error::Mismatch), "{scope}");
    }
}

#[test]
fn one_signature_is_enough() {
    let both = with(plan(), |sent| sent.head.uri = "/?X-Amz-Signature=1".parse().unwrap()).unwrap_err();
    assert!(both.to_string().starts_with("Only one auth mechanism allowed"));
    let twice = with(plan(), |sent| {
        let first = sent.head.headers["authorization"].clone();
        sent.head.headers.append("authorization", first);
    });
    assert!(matches!(twice, Err(Error::Incomplete(_))));
    let bearer = with(plan(), header("authorization", "Bearer x")).unwrap_err();
    assert_eq!(bearer.public(Dialect::Json).code, "IncompleteSignatureException");
    let none = Sent::new("GET", "/?X-Amz-Date=1", &[], b"");
    assert_eq!(none.read(), Ok(None));
}

#[test]
fn only_s3_leaves_bodies_unsigned() {
    let declared = Plan { declares_hash: true, ..plan() };
    assert_eq!(with(declared.clone(), |_| ()), Ok(()));
    assert_eq!(with(declared.clone(), |sent| sent.body.push(b' ')), Err(Error::OtherBody));
    for text in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        assert!(matches!(with(declared.clone(), header("x-amz-content-sha256", text)), Err(Error::Refused(_))));
    }
    assert!(matches!(with(declared, header("x-amz-content-sha256", "x")), Err(Error::Incomplete(_))));
    // A presigned request of another service is for an empty body, or the one it was signed with.
    let ahead = Plan { is_presigned: true, ..plan() };
    assert_eq!(with(ahead.clone(), |_| ()), Ok(()));
    assert_eq!(with(ahead, |sent| sent.body.clear()), Err(Error::Mismatch));
    let object = Plan { is_presigned: true, service: "s3", ..plan() };
    assert_eq!(with(object, |sent| sent.body.clear()), Ok(()));
}

#[test]
fn a_token_belongs_to_the_signature() {
    let temporary = Plan { token: Some("token".into()), ..plan() };
    assert_eq!(with(temporary.clone(), |_| ()), Ok(()));
    assert_eq!(with(temporary.clone(), header("x-amz-security-token", "other")), Err(Error::Mismatch));
    let ahead = Plan { is_presigned: true, ..temporary };
    assert!(matches!(with(ahead, header("x-amz-security-token", "token")), Err(Error::Incomplete(_))));
}
