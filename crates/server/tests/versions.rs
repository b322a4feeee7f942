//! Versions, aliases and provisioned concurrency through the Lambda door, answer by answer beside what AWS was recorded
//! to say (`golden/versions.json`, from LocalStack's snapshots of runs against AWS, Apache-2.0).

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

mod platform;

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use platform::{Answer, Platform, zip};
use serde_json::{Value, json};

const FUNCTIONS: &str = "/2015-03-31/functions";

/// One recorded run, and what its placeholders have been found to stand for.
struct Recorded {
    answers: Value,
    revisions: HashMap<String, String>,
}

impl Recorded {
    fn of(test: &str) -> Self {
        let all: Value = serde_json::from_str(include_str!("golden/versions.json")).unwrap();
        Self { answers: all[test].clone(), revisions: HashMap::new() }
    }

    /// Compares an answer with the recorded one of this name: status, code, and every field.
    #[track_caller]
    fn same(&mut self, name: &str, answer: &Answer) {
        let mut expected = self.answers[name].clone();
        let fields = expected.as_object_mut().unwrap_or_else(|| panic!("nothing was recorded as {name}"));
        if let Some(status) = fields.remove("HTTPStatusCode") {
            assert_eq!(answer.status, status, "{name}: {:?}", answer.body);
        }
        if let Some(error) = fields.remove("Error") {
            assert_eq!(answer.code(), error["Code"], "{name}");
            if !fields.contains_key("Message") && !fields.contains_key("message") {
                fields.insert("message".into(), error["Message"].clone());
            }
        }
        if fields.is_empty() {
            return;
        }
        self.compare(name, &expected, &answer.json());
    }

    #[track_caller]
    fn compare(&mut self, at: &str, expected: &Value, found: &Value) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
                let (mut wanted, mut had) = (names(expected), names(found));
                wanted.sort();
                had.sort();
                // We do not show an empty environment.
                wanted.retain(|name| had.contains(name) || expected[name] != json!({ "Variables": {} }));
                assert_eq!(had, wanted, "{at}");
                for name in wanted {
                    self.compare(&format!("{at}.{name}"), &expected[&name], &found[&name]);
                }
            }
            (Value::Array(expected), Value::Array(found)) => {
                assert_eq!(found.len(), expected.len(), "{at}");
                for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                    self.compare(&format!("{at}[{index}]"), expected, found);
                }
            }
            (Value::String(expected), found) => self.compare_text(at, expected, found),
            (expected, found) => assert_eq!(found, expected, "{at}"),
        }
    }

    #[track_caller]
    fn compare_text(&mut self, at: &str, expected: &str, found: &Value) {
        if expected == "date" || expected == "<code-size>" || at.ends_with(".Role") || at.ends_with("FunctionUrl") {
            return;
        }
        let found = found.as_str().unwrap_or_else(|| panic!("{at}: {found} is no text"));
        if expected.starts_with("<uuid:") {
            // The same placeholder is the same revision, another is another.
            let known = self.revisions.entry(expected.to_owned()).or_insert_with(|| found.to_owned());
            assert_eq!(found, known, "{at}");
            let names = self.revisions.iter().filter(|(_, revision)| *revision == found);
            assert_eq!(names.count(), 1, "{at}: it is the revision of another placeholder, too");
            return;
        }
        // A placeholder stands for any text; what is around it stays.
        let expected = expected.replace("111111111111", "000000000000");
        let mut rest = found;
        let mut may_skip = false;
        for piece in expected.split_inclusive('>') {
            let (text, placeholder) = piece.split_once('<').map_or((piece, false), |(text, _)| (text, true));
            let start = if may_skip { rest.find(text) } else { rest.starts_with(text).then_some(0) };
            let start = start.unwrap_or_else(|| panic!("{at}: {found:?} is not {expected:?}"));
            rest = &rest[start + text.len()..];
            may_skip = placeholder;
        }
        assert!(may_skip || rest.is_empty(), "{at}: {found:?} is not {expected:?}");
    }
}

/// A function under test, and requests about it.
struct Subject<'a> {
    platform: &'a Platform,
    name: &'a str,
}

impl Subject<'_> {
    async fn get(&self, after: &str) -> Answer {
        self.platform.get(&format!("{FUNCTIONS}/{}{after}", self.name)).await
    }

    async fn send(&self, method: &str, after: &str, body: Value) -> Answer {
        self.platform.send(method, &format!("{FUNCTIONS}/{}{after}", self.name), &[], &body.to_string()).await
    }

    async fn create(&self, changes: Value) -> Answer {
        let mut parameters = json!({ "Handler": "index.handler" });
        parameters.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.platform.create(self.name, "python3.12", parameters).await
    }

    async fn settled(&self) {
        self.platform.settled(self.name).await;
    }

    async fn publish(&self, body: Value) -> Answer {
        self.send("POST", "/versions", body).await
    }

    async fn alias(&self, body: Value) -> Answer {
        self.send("POST", "/aliases", body).await
    }
}

#[tokio::test]
async fn a_version_published_on_create_is_as_recorded() {
    let platform = Platform::start().await;
    let (mut recorded, f) =
        (Recorded::of("test_publish_version_on_create"), Subject { platform: &platform, name: "f" });
    recorded.same("create_response", &f.create(json!({ "Publish": true })).await);
    f.settled().await;
    platform.settled("f:1").await;
    recorded.same("get_function_result", &f.get("").await);
    recorded.same("get_function_version_result", &f.get("?Qualifier=1").await);
    recorded.same("get_function_latest_result", &f.get("?Qualifier=%24LATEST").await);
    recorded.same("list_versions_result", &f.get("/versions").await);
    recorded.same("repeated_publish_response", &f.publish(json!({})).await);
    recorded.same("list_versions_result_after_publish", &f.get("/versions").await);
    platform.stop().await;
}

#[tokio::test]
async fn the_life_of_versions_is_as_recorded() {
    let platform = Platform::start().await;
    let (mut recorded, f) = (Recorded::of("test_version_lifecycle"), Subject { platform: &platform, name: "f" });
    recorded.same("create_response", &f.create(json!({ "Description": "No version :(" })).await);
    f.settled().await;
    recorded.same("get_function_result", &f.get("").await);
    recorded.same("list_versions_result", &f.get("/versions").await);
    let updated = f.send("PUT", "/configuration", json!({ "Description": "First version :)" })).await;
    recorded.same("first_update_response", &updated);
    f.settled().await;
    recorded.same("first_update_get_function", &f.get("").await);
    let published = f.publish(json!({ "Description": "First version description :)" })).await;
    recorded.same("first_publish_response", &published);
    recorded.same("first_publish_get_function", &f.get("?Qualifier=1").await);
    recorded.same("first_publish_get_function_config", &f.get("/configuration?Qualifier=1").await);
    let updated = f.send("PUT", "/configuration", json!({ "Description": "Second version :))" })).await;
    recorded.same("second_update_response", &updated);
    f.settled().await;
    recorded.same("first_publish_get_function_after_update", &f.get("?Qualifier=1").await);
    recorded.same("second_publish_response", &f.publish(json!({})).await);
    let again = f.publish(json!({ "Description": "Third version description :)" })).await;
    recorded.same("third_publish_response", &again);
    recorded.same("list_versions_result_after_third_publish", &f.get("/versions").await);
    assert_eq!(f.send("DELETE", "?Qualifier=1", json!({})).await.status, 204);
    recorded.same("list_versions_result_after_deletion_of_first_version", &f.get("/versions").await);
    platform.stop().await;
}

#[tokio::test]
async fn publishing_with_an_update_or_a_wrong_hash_is_as_recorded() {
    let platform = Platform::start().await;
    let (mut recorded, f) =
        (Recorded::of("test_publish_with_wrong_sha256"), Subject { platform: &platform, name: "f" });
    recorded.same("create_response", &f.create(json!({})).await);
    f.settled().await;
    recorded.same("get_fn_response", &f.get("").await);
    recorded.same("publish_wrong_sha256_exc", &f.publish(json!({ "CodeSha256": "somenonexistentsha256" })).await);
    let sha256 = f.get("/configuration").await.json()["CodeSha256"].clone();
    recorded.same("publish_result", &f.publish(json!({ "CodeSha256": sha256 })).await);
    let stale = f.publish(json!({ "RevisionId": "00000000-0000-0000-0000-000000000000" })).await;
    assert_eq!((stale.status, stale.code()), (412, "PreconditionFailedException"));

    let (mut recorded, g) = (Recorded::of("test_publish_with_update"), Subject { platform: &platform, name: "g" });
    recorded.same("create_response", &g.create(json!({})).await);
    g.settled().await;
    recorded.same("get_function_result", &g.get("").await);
    let code = BASE64.encode(zip("app.py", b"other"));
    let updated = g.send("PUT", "/code", json!({ "ZipFile": code, "Publish": true })).await;
    recorded.same("update_function_code_result", &updated);
    g.settled().await;
    // What is shown of a version's code is that version's, also after it is no longer the function's.
    let code = BASE64.encode(zip("app.py", b"third"));
    assert_eq!(g.send("PUT", "/code", json!({ "ZipFile": code })).await.status, 200);
    g.settled().await;
    for (qualifier, content) in [("1", b"other"), ("%24LATEST", b"third")] {
        let shown = g.get(&format!("?Qualifier={qualifier}")).await.json();
        let location = shown["Code"]["Location"].as_str().unwrap();
        let target = &location[location.find("/_updraft").unwrap()..];
        assert_eq!(platform.get(target).await.body, zip("app.py", content), "{qualifier}");
    }
    platform.stop().await;
}

#[tokio::test]
async fn the_life_of_aliases_is_as_recorded() {
    let platform = Platform::start().await;
    let (mut recorded, f) = (Recorded::of("test_alias_lifecycle"), Subject { platform: &platform, name: "f" });
    let environment = |value: &str| json!({ "Environment": { "Variables": { "testenv": value } } });
    recorded.same("create_response", &f.create(environment("staging")).await);
    f.settled().await;
    recorded.same("publish_v1", &f.publish(json!({})).await);
    assert_eq!(f.send("PUT", "/configuration", environment("prod")).await.status, 200);
    f.settled().await;
    recorded.same("publish_v2", &f.publish(json!({})).await);
    let draft =
        |name: &str, version: &str| json!({ "Name": name, "FunctionVersion": version, "Description": "custom-alias" });
    let mut weighted = draft("aliasname1_1", "1");
    weighted["RoutingConfig"] = json!({ "AdditionalVersionWeights": { "2": 0.2 } });
    recorded.same("create_alias_1_1", &f.alias(weighted).await);
    recorded.same("get_alias_1_1", &f.get("/aliases/aliasname1_1").await);
    recorded.same("get_function_alias_1_1", &f.get("?Qualifier=aliasname1_1").await);
    let arn = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af%3A";
    recorded.same("get_function_byarn_alias_1_1", &platform.get(&format!("{arn}aliasname1_1")).await);
    recorded.same("get_function_alias_notfound_exc", &f.get("?Qualifier=aliasdoesnotexist").await);
    recorded.same("get_function_alias_byarn_notfound_exc", &platform.get(&format!("{arn}aliasdoesnotexist")).await);
    recorded.same("create_alias_1_2", &f.alias(draft("aliasname1_2", "1")).await);
    recorded.same("get_alias_1_2", &f.get("/aliases/aliasname1_2").await);
    recorded.same("create_alias_1_3", &f.alias(json!({ "Name": "aliasname1_3", "FunctionVersion": "1" })).await);
    recorded.same("get_alias_1_3", &f.get("/aliases/aliasname1_3").await);
    recorded.same("create_alias_2", &f.alias(draft("aliasname2", "2")).await);
    recorded.same("get_alias_2", &f.get("/aliases/aliasname2").await);
    recorded.same("list_aliases_for_fnname", &f.get("/aliases").await);
    let plain = json!({ "RoutingConfig": { "AdditionalVersionWeights": {} } });
    recorded.same("update_alias_1_1", &f.send("PUT", "/aliases/aliasname1_1", plain).await);
    recorded.same("get_alias_1_1_after_update", &f.get("/aliases/aliasname1_1").await);
    recorded.same("list_aliases_for_fnname_after_update", &f.get("/aliases").await);
    recorded.same("update_alias_1_2", &f.send("PUT", "/aliases/aliasname1_2", json!({})).await);
    recorded.same("get_alias_1_2_after_update", &f.get("/aliases/aliasname1_2").await);
    recorded.same("list_aliases_for_fnname_after_update_2", &f.get("/aliases").await);
    recorded.same("list_aliases_for_version", &f.get("/aliases?FunctionVersion=1").await);
    recorded.same("delete_alias_response", &f.send("DELETE", "/aliases/aliasname1_1", json!({})).await);
    recorded.same("list_aliases_for_fnname_afterdelete", &f.get("/aliases").await);
    assert_eq!(f.send("DELETE", "?Qualifier=2", json!({})).await.code(), "ResourceConflictException");
    platform.stop().await;
}

#[tokio::test]
async fn what_an_alias_cannot_be_is_told_as_recorded() {
    let platform = Platform::start().await;
    let mut recorded = Recorded::of("test_notfound_and_invalid_routingconfigs");
    let f = Subject { platform: &platform, name: "f" };
    let environment = |value: &str| json!({ "Environment": { "Variables": { "testenv": value } } });
    let mut first = environment("staging");
    first["Publish"] = true.into();
    recorded.same("create_response", &f.create(first).await);
    f.settled().await;
    platform.settled("f:1").await;
    recorded.same("publish_v1", &f.publish(json!({})).await);
    f.send("PUT", "/configuration", environment("prod")).await;
    f.settled().await;
    recorded.same("publish_v2", &f.publish(json!({})).await);
    let draft = |version: &str, weights: Value| {
        let routing = json!({ "AdditionalVersionWeights": weights });
        json!({ "Name": "custom", "FunctionVersion": version, "RoutingConfig": routing })
    };
    for (name, version, weights) in [
        ("routing_config_exc_toomany", "1", json!({ "1": 0.8, "2": 0.2 })),
        ("routing_config_exc_toohigh", "1", json!({ "2": 2 })),
        ("routing_config_exc_subzero", "1", json!({ "2": -1 })),
        ("routing_config_exc_sameversion", "1", json!({ "1": 0.5 })),
        ("target_version_doesnotexist", "10", json!({ "2": 0.5 })),
        ("routing_config_exc_version_doesnotexist", "1", json!({ "10": 0.5 })),
        ("target_version_exc_version_latest", "$LATEST", json!({ "1": 0.5 })),
        ("routing_config_exc_version_latest", "1", json!({ "$LATEST": 0.5 })),
    ] {
        recorded.same(name, &f.alias(draft(version, weights)).await);
    }
    let latest = json!({ "Name": "custom-latest", "FunctionVersion": "$LATEST" });
    recorded.same("create-alias-latest", &f.alias(latest).await);
    let unknown = Subject { platform: &platform, name: "f-unknown" };
    recorded.same("routing_config_exc_fn_doesnotexist", &unknown.alias(draft("1", json!({ "2": 0.5 }))).await);
    let mut empty = draft("1", json!({}));
    empty["Name"] = "custom-empty-routingconfig".into();
    recorded.same("create_alias_empty_routingconfig", &f.alias(empty).await);
    recorded.same("create_alias_response", &f.alias(draft("1", json!({ "2": 0.5 }))).await);
    recorded.same("routing_config_exc_already_exist", &f.alias(draft("1", json!({ "2": 0.5 }))).await);
    recorded.same("alias_does_not_exist_esc", &f.get("/aliases/non-existent").await);

    let mut recorded = Recorded::of("test_alias_naming");
    let named = |name: &str| json!({ "Name": name, "FunctionVersion": "1", "Description": "custom-alias" });
    recorded.same("create_alias_date", &f.alias(named("2024-01-02")).await);
    recorded.same("get_alias_date", &f.get("/aliases/2024-01-02").await);
    recorded.same("create_alias_number_exception", &f.alias(named("2024")).await);
    let updated = f.send("PUT", "/aliases/non-existent", json!({ "Description": "x" })).await;
    Recorded::of("test_non_existent_alias_update").same("update_alias_response", &updated);
    assert_eq!(f.send("DELETE", "/aliases/non-existent", json!({})).await.status, 204);
    let missing = f.get("?Qualifier=1221").await;
    Recorded::of("test_ops_on_nonexisting_version[get_function]").same("version_not_found_exception", &missing);
    let mut recorded = Recorded::of("test_delete_on_nonexisting_version");
    let none = Subject { platform: &platform, name: "none" };
    recorded.same("delete_function_response_non_existent", &none.send("DELETE", "", json!({})).await);
    let deleted = none.send("DELETE", "?Qualifier=1221", json!({})).await;
    recorded.same("delete_function_response_non_existent_with_qualifier", &deleted);
    platform.stop().await;
}

/// PutProvisionedConcurrencyConfig and its kin.
async fn provisioned(platform: &Platform, method: &str, name: &str, query: &str, count: Option<u32>) -> Answer {
    let target = format!("/2019-09-30/functions/{name}/provisioned-concurrency{query}");
    let body = count.map_or_else(String::new, |count| json!({ "ProvisionedConcurrentExecutions": count }).to_string());
    platform.send(method, &target, &[], &body).await
}

#[tokio::test]
async fn provisioned_concurrency_is_as_recorded() {
    let platform = Platform::start().await;
    let f = Subject { platform: &platform, name: "f" };
    f.create(json!({ "Publish": true })).await;
    f.settled().await;
    let mut recorded = Recorded::of("test_provisioned_concurrency_exceptions");
    for (recording, method, name, query, count) in [
        ("get_provisioned_config_doesnotexist", "GET", "f", "?Qualifier=1", None),
        ("get_provisioned_functionname_doesnotexist", "GET", "doesnotexist", "?Qualifier=noalias", None),
        ("get_provisioned_qualifier_doesnotexist", "GET", "f", "?Qualifier=noalias", None),
        ("get_provisioned_version_doesnotexist", "GET", "f", "?Qualifier=10", None),
        ("get_provisioned_latest", "GET", "f", "?Qualifier=%24LATEST", None),
        ("list_provisioned_noconfigs", "GET", "f", "?List=ALL", None),
        ("list_provisioned_functionname_doesnotexist", "GET", "doesnotexist", "?List=ALL", None),
        ("delete_provisioned_functionname_doesnotexist", "DELETE", "doesnotexist", "?Qualifier=1", None),
        ("delete_provisioned_qualifier_doesnotexist", "DELETE", "f", "?Qualifier=noalias", None),
        ("delete_provisioned_version_doesnotexist", "DELETE", "f", "?Qualifier=10", None),
        ("delete_provisioned_latest", "DELETE", "f", "?Qualifier=%24LATEST", None),
        ("delete_provisioned_config_doesnotexist", "DELETE", "f", "?Qualifier=1", None),
        ("put_provisioned_invalid_param_0", "PUT", "f", "?Qualifier=1", Some(0)),
        ("put_provisioned_functionname_doesnotexist_alias", "PUT", "doesnotexist", "?Qualifier=noalias", Some(1)),
        ("put_provisioned_functionname_doesnotexist_version", "PUT", "doesnotexist", "?Qualifier=1", Some(1)),
        ("put_provisioned_qualifier_doesnotexist", "PUT", "f", "?Qualifier=doesnotexist", Some(1)),
        ("put_provisioned_version_doesnotexist", "PUT", "f", "?Qualifier=10", Some(1)),
        ("put_provisioned_latest", "PUT", "f", "?Qualifier=%24LATEST", Some(1)),
    ] {
        recorded.same(recording, &provisioned(&platform, method, name, query, count).await);
    }
    let mut recorded = Recorded::of("test_provisioned_concurrency_limits");
    let over = provisioned(&platform, "PUT", "f", "?Qualifier=1", Some(1_001)).await;
    recorded.same("put_provisioned_concurrency_account_limit_exceeded", &over);
    let over = provisioned(&platform, "PUT", "f", "?Qualifier=1", Some(901)).await;
    recorded.same("put_provisioned_concurrency_below_unreserved_min_value", &over);

    let mut recorded = Recorded::of("test_lambda_provisioned_lifecycle");
    let created = f.alias(json!({ "Name": "live", "FunctionVersion": "1" })).await;
    recorded.same("create_alias_result", &created);
    let put = provisioned(&platform, "PUT", "f", "?Qualifier=1", Some(1)).await;
    recorded.same("put_provisioned_on_version", &put);
    let mut ready = json!(null);
    for _ in 0..2_000 {
        ready = provisioned(&platform, "GET", "f", "?Qualifier=1", None).await.json();
        if ready["Status"] == "READY" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((&ready["Status"], &ready["AllocatedProvisionedConcurrentExecutions"]), (&json!("READY"), &json!(1)));
    let listed = provisioned(&platform, "GET", "f", "?List=ALL", None).await.json();
    let arn = listed["ProvisionedConcurrencyConfigs"][0]["FunctionArn"].as_str().unwrap();
    assert!(arn.ends_with(":function:f:1"), "{arn}");
    let put = provisioned(&platform, "PUT", "f", "?Qualifier=live", Some(1)).await;
    recorded.same("put_provisioned_on_alias_versionconflict", &put);
    let deleted = provisioned(&platform, "DELETE", "f", "?Qualifier=1", None).await;
    recorded.same("delete_provisioned_version", &deleted);
    let gone = provisioned(&platform, "GET", "f", "?Qualifier=1", None).await;
    recorded.same("get_provisioned_version_postdelete", &gone);
    let put = provisioned(&platform, "PUT", "f", "?Qualifier=live", Some(1)).await;
    recorded.same("put_provisioned_on_alias", &put);
    let put = provisioned(&platform, "PUT", "f", "?Qualifier=1", Some(1)).await;
    recorded.same("put_provisioned_on_version_conflict", &put);
    recorded.same("delete_alias_result", &f.send("DELETE", "/aliases/live", json!({})).await);
    let gone = provisioned(&platform, "GET", "f", "?Qualifier=live", None).await;
    recorded.same("get_provisioned_alias_postaliasdelete", &gone);
    recorded.same("list_response_postdeletes", &provisioned(&platform, "GET", "f", "?List=ALL", None).await);
    platform.stop().await;
}

#[tokio::test]
async fn calls_go_to_the_version_that_was_asked_for() {
    let platform = Platform::start().await;
    let f = Subject { platform: &platform, name: "f" };
    f.create(json!({ "Publish": true })).await;
    f.settled().await;
    platform.settled("f:1").await;
    f.alias(json!({ "Name": "live", "FunctionVersion": "1" })).await;
    for (name, query, executed) in [
        ("f", "", "$LATEST"),
        ("f:1", "", "1"),
        ("f:live", "", "1"),
        ("f", "?Qualifier=live", "1"),
        ("f:%24LATEST", "", "$LATEST"),
        ("function:f:1", "", "1"),
        ("000000000000%3Afunction%3Af%3Alive", "?Qualifier=live", "1"),
    ] {
        let answer = platform.send("POST", &format!("{FUNCTIONS}/{name}/invocations{query}"), &[], "{}").await;
        let version = answer.header("x-amz-executed-version");
        assert_eq!((answer.status, version), (200, executed), "{name}{query}");
    }
    let mismatch = platform.send("POST", &format!("{FUNCTIONS}/f:1/invocations?Qualifier=live"), &[], "{}").await;
    assert_eq!(mismatch.code(), "InvalidParameterValueException");
    let missing = platform.send("POST", &format!("{FUNCTIONS}/f:9/invocations"), &[], "{}").await;
    assert_eq!(missing.status, 404);
    assert!(missing.json()["Message"].as_str().unwrap().ends_with(":function:f:9"));
    platform.stop().await;
}

#[tokio::test]
async fn an_alias_has_a_url_of_its_own_as_recorded() {
    let platform = Platform::start().await;
    let f = Subject { platform: &platform, name: "f" };
    f.create(json!({ "Publish": true })).await;
    f.settled().await;
    platform.settled("f:1").await;
    f.alias(json!({ "Name": "test-alias", "FunctionVersion": "1" })).await;
    let mut recorded = Recorded::of("test_url_config_deletion_without_qualifier");
    let (own, alias) = ("/2021-10-31/functions/f/url", "/2021-10-31/functions/f/url?Qualifier=test-alias");
    let open = json!({ "AuthType": "NONE" }).to_string();
    recorded.same("url_creation", &platform.send("POST", own, &[], &open).await);
    let created = platform.send("POST", alias, &[], &open).await;
    recorded.same("url_with_alias_creation", &created);
    assert_eq!(platform.send("POST", alias, &[], &open).await.code(), "ResourceConflictException");
    recorded.same("get_url_config", &platform.get(own).await);
    recorded.same("get_url_config_with_alias", &platform.get(alias).await);
    let first = platform.get("/2021-10-31/functions/f/urls?MaxItems=1").await.json();
    let marker = first["NextMarker"].as_str().unwrap();
    let second = platform.get(&format!("/2021-10-31/functions/f/urls?MaxItems=1&Marker={marker}")).await.json();
    let arn = second["FunctionUrlConfigs"][0]["FunctionArn"].as_str().unwrap();
    assert!(arn.ends_with(":test-alias") && second.get("NextMarker").is_none(), "{second}");
    let url = created.json()["FunctionUrl"].as_str().unwrap().to_owned();
    let host = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    // The function's policy is not the alias's.
    platform.allow_everybody("f").await;
    assert_eq!(platform.send("GET", "/", &[("host", host)], "").await.status, 403);
    platform.allow_everybody("f:test-alias").await;
    assert_eq!(platform.send("GET", "/", &[("host", host)], "").await.status, 200);
    assert_eq!(platform.get("/fn/f:test-alias/").await.status, 200);
    recorded.same("delete_function_url_config", &platform.send("DELETE", own, &[], "").await);
    recorded.same("get_url_config_after_deletion", &platform.get(own).await);
    recorded.same("get_url_config_with_alias_after_deletion", &platform.get(alias).await);
    assert_eq!(platform.get("/fn/f/").await.status, 404);
    f.send("DELETE", "/aliases/test-alias", json!({})).await;
    assert_eq!(platform.send("GET", "/", &[("host", host)], "").await.status, 404);
    platform.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_leave_nothing_out() {
    let platform = Platform::start().await;
    let (f, g) = (Subject { platform: &platform, name: "f" }, Subject { platform: &platform, name: "g" });
    for subject in [&f, &g] {
        subject.create(json!({ "Publish": true })).await;
        subject.settled().await;
    }
    for number in 2..5 {
        f.send("PUT", "/configuration", json!({ "Description": number.to_string() })).await;
        f.publish(json!({})).await;
        f.alias(json!({ "Name": format!("a{number}"), "FunctionVersion": number.to_string() })).await;
    }
    for (target, list, member, expected) in [
        (format!("{FUNCTIONS}/f/versions?"), "Versions", "Version", vec!["$LATEST", "1", "2", "3", "4"]),
        (format!("{FUNCTIONS}/f/aliases?"), "Aliases", "Name", vec!["a2", "a3", "a4"]),
        (
            "/2015-03-31/functions?FunctionVersion=ALL&".to_owned(),
            "Functions",
            "Version",
            vec!["$LATEST", "1", "2", "3", "4", "$LATEST", "1"],
        ),
        ("/2015-03-31/functions?".to_owned(), "Functions", "FunctionName", vec!["f", "g"]),
    ] {
        for size in 1..4 {
            let (mut found, mut marker) = (Vec::new(), String::new());
            loop {
                let page = platform.get(&format!("{target}MaxItems={size}&Marker={marker}")).await.json();
                let entries = page[list].as_array().unwrap();
                assert!(entries.len() <= size && !entries.is_empty(), "{page}");
                found.extend(entries.iter().map(|entry| entry[member].as_str().unwrap().to_owned()));
                match page["NextMarker"].as_str() {
                    Some(next) => next.clone_into(&mut marker),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{target} by {size}");
        }
    }
    platform.stop().await;
}
