//! Policy documents from anybody: parsing ends in a document or an error, what was read can be written and read again, and
//! a decision under it is made.

#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_engine::policy::{
    Context, Document, Kind, Policies, Policy, Principal, Request, bytes_max, decide, near_misses,
};

fuzz_target!(|text: &str| {
    let arn = "arn:aws:iam::111122223333:user/ada".into();
    let principal = Principal::User { account: "111122223333".into(), arn, id: "AIDA1".into() };
    let context = Context::new().with("aws:username", "ada").with("aws:SourceIp", "192.0.2.7");
    for kind in [Kind::Identity, Kind::Resource, Kind::Trust] {
        let Ok(document) = Document::parse(text, kind, bytes_max::RESOURCE) else { continue };
        let again = Document::parse(&document.to_json(), kind, usize::MAX);
        assert_eq!(again.as_ref(), Ok(&document));
        let policy = Policy { name: "fuzzed", document: &document };
        let identity = [policy];
        let policies = match kind {
            Kind::Identity => Policies { identity: &identity, ..Policies::default() },
            Kind::Resource | Kind::Trust => Policies { resource: Some(policy), ..Policies::default() },
        };
        let request = Request {
            principal: &principal,
            action: "s3:GetObject",
            resource: "arn:aws:s3:::bucket/ada/x:y",
            resource_account: "111122223333",
            context: &context,
        };
        decide(&request, &policies);
        near_misses(&request, &policies, 8);
    }
});
