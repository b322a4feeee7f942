//! Layers through the doors, against what AWS was recorded to answer (`TestLambdaLayer`).

#![allow(clippy::unwrap_used, reason = "a panic here is the failure being reported")]

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

mod platform;

use platform::{Answer, Platform, zip};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:layer:tools";

async fn publish(platform: &Platform, layer: &str, changes: Value) -> Answer {
    let mut parameters = json!({ "Content": { "ZipFile": BASE64.encode(zip("python/tools.py", layer.as_bytes())) } });
    parameters.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    platform.send("POST", &format!("/2018-10-31/layers/{layer}/versions"), &[], &parameters.to_string()).await
}

fn encoded(arn: &str) -> String {
    arn.replace(':', "%3A")
}

/// The message, which AWS spells in two ways.
fn message(answer: &Answer) -> String {
    let body = answer.json();
    body["Message"].as_str().or(body["message"].as_str()).unwrap().to_owned()
}

/// As recorded: test_layer_lifecycle. Volatile values are taken from the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_layers_life_is_as_recorded() {
    let platform = Platform::start().await;
    let about = json!({
        "Description": "what it is", "LicenseInfo": "MIT",
        "CompatibleRuntimes": ["python3.12"], "CompatibleArchitectures": ["x86_64"],
    });
    let published = publish(&platform, "tools", about.clone()).await;
    assert_eq!(published.status, 201, "{:?}", published.body);
    let first = published.json();
    let code = zip("python/tools.py", b"tools");
    let mut expected = json!({
        "Content": {
            "CodeSha256": first["Content"]["CodeSha256"], "CodeSize": code.len(),
            "Location": first["Content"]["Location"],
        },
        "CreatedDate": first["CreatedDate"],
        "LayerArn": ARN,
        "LayerVersionArn": format!("{ARN}:1"),
        "Version": 1,
    });
    expected.as_object_mut().unwrap().extend(about.as_object().unwrap().clone());
    assert_eq!(first, expected);
    assert!(first["CreatedDate"].as_str().unwrap().ends_with("+0000"));

    let location = first["Content"]["Location"].as_str().unwrap();
    let path = location.strip_prefix(&format!("http://{}", platform.address)).unwrap();
    assert_eq!(platform.get(path).await.body, code);
    assert_eq!(platform.get(&path.replace("sha256=", "sha256=x")).await.status, 404, "another hash");

    assert_eq!(publish(&platform, "tools", about).await.json()["Version"], 2);
    let got = platform.get("/2018-10-31/layers/tools/versions/1").await;
    // Each answer has a link of its own.
    expected["Content"]["Location"] = Value::Null;
    let shown = |answer: &Answer| {
        let mut shown = answer.json();
        shown["Content"]["Location"] = Value::Null;
        shown
    };
    assert_eq!((got.status, shown(&got)), (200, expected.clone()));
    let by_name = platform.get(&format!("/2018-10-31/layers/{}/versions/1", encoded(ARN))).await;
    assert_eq!(shown(&by_name), expected);
    let by_arn =
        platform.get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={}", encoded(&format!("{ARN}:1")))).await;
    assert_eq!((by_arn.status, shown(&by_arn)), (200, expected.clone()));

    platform.create("f", "python3.12", json!({ "Layers": [format!("{ARN}:1")] })).await;
    platform.settled("f").await;
    let configuration = async || platform.get("/2015-03-31/functions/f/configuration").await.json();
    let layers = json!([{ "Arn": format!("{ARN}:1"), "CodeSize": code.len() }]);
    assert_eq!(configuration().await["Layers"], layers);

    let listed = platform.get("/2018-10-31/layers/tools/versions").await.json();
    let in_list = |version: u64| {
        json!({
            "CompatibleArchitectures": ["x86_64"], "CompatibleRuntimes": ["python3.12"],
            "CreatedDate": listed["LayerVersions"][2 - version as usize]["CreatedDate"],
            "Description": "what it is", "LayerVersionArn": format!("{ARN}:{version}"), "LicenseInfo": "MIT",
            "Version": version,
        })
    };
    assert_eq!(listed, json!({ "LayerVersions": [in_list(2), in_list(1)] }));

    for version in ["1", "1", "2"] {
        let deleted = platform.send("DELETE", &format!("/2018-10-31/layers/tools/versions/{version}"), &[], "").await;
        assert_eq!(deleted.status, 204, "deleting twice is harmless");
    }
    assert_eq!(platform.get("/2018-10-31/layers/tools/versions").await.json(), json!({ "LayerVersions": [] }));
    assert_eq!(configuration().await["Layers"], layers, "a function keeps what is deleted");
    assert_eq!(publish(&platform, "tools", json!({})).await.json()["Version"], 3, "no number comes again");

    let update = |body: Value| async move { body.to_string() };
    let target = "/2015-03-31/functions/f/configuration";
    let timeout = platform.send("PUT", target, &[], &update(json!({ "Timeout": 9 })).await).await;
    assert_eq!(timeout.json()["Layers"], layers, "what is not named stays");
    platform.settled("f").await;
    let again = platform.send("PUT", target, &[], &json!({ "Layers": [format!("{ARN}:1")] }).to_string()).await;
    assert_eq!(message(&again), format!("Layer version {ARN}:1 does not exist."));
    let none = platform.send("PUT", target, &[], r#"{"Layers":[]}"#).await;
    assert!(none.json().get("Layers").is_none());
    platform.settled("f").await;
    platform.stop().await;
}

/// As recorded: test_layer_exceptions.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_layer_is_told_as_recorded() {
    let platform = Platform::start().await;
    let empty = publish(&platform, "tools", json!({ "CompatibleRuntimes": [], "CompatibleArchitectures": [] })).await;
    assert_eq!(empty.json()["CompatibleRuntimes"], json!([]));
    assert_eq!(empty.json()["Description"], "");
    let none = publish(&platform, "tools", json!({})).await.json();
    assert!(
        ["CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo"].iter().all(|name| none.get(name).is_none())
    );

    let layers = "/2018-10-31/layers";
    for (target, status, code, text) in [
        ("/tools/versions/-1", 400, "InvalidParameterValueException", "Layer Version Cannot be less than 1"),
        ("/tools/versions/0", 400, "InvalidParameterValueException", "Layer Version Cannot be less than 1"),
        ("/tools/versions/9", 404, "ResourceNotFoundException", "The resource you requested does not exist."),
        ("/nothere/versions/1", 404, "ResourceNotFoundException", "The resource you requested does not exist."),
        (
            "?find=LayerVersion&Arn=arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Alayer%3Atools%3A9",
            404,
            "ResourceNotFoundException",
            "The resource you requested does not exist.",
        ),
        (
            "?CompatibleArchitecture=archdoesnotexist",
            400,
            "ValidationException",
            "1 validation error detected: Value 'archdoesnotexist' at 'compatibleArchitecture' failed to satisfy \
             constraint: Member must satisfy enum value set: [x86_64, arm64]",
        ),
    ] {
        let answer = platform.get(&format!("{layers}{target}")).await;
        assert_eq!((answer.status, answer.code(), message(&answer).as_str()), (status, code, text), "{target}");
    }
    let starts = |answer: &Answer, start: &str| assert!(message(answer).starts_with(start), "{}", message(answer));
    let by_arn = platform.get(&format!("{layers}?find=LayerVersion&Arn={}", encoded(ARN))).await;
    let value =
        format!("1 validation error detected: Value '{ARN}' at 'arn' failed to satisfy constraint: Member must ");
    starts(&by_arn, &value);
    let runtime = platform.get(&format!("{layers}?CompatibleRuntime=runtimedoesnotexist")).await;
    starts(
        &runtime,
        "1 validation error detected: Value 'runtimedoesnotexist' at 'compatibleRuntime' failed to satisfy",
    );
    let both =
        json!({ "CompatibleRuntimes": ["invalidruntime"], "CompatibleArchitectures": ["invalidarch", "x86_64"] });
    let both = publish(&platform, "tools", both).await;
    assert_eq!(both.status, 400);
    starts(&both, "2 validation errors detected: Value '[invalidruntime]' at 'compatibleRuntimes' failed to satisfy");
    let end = "Value '[invalidarch, x86_64]' at 'compatibleArchitectures' failed to satisfy constraint: Member must \
               satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]";
    assert!(message(&both).ends_with(end));
    for body in [r#"{"Content":{"ZipFile":"bm90IGEgemlw"}}"#, r#"{"Content":{"S3Bucket":"b","S3Key":"k"}}"#, "{}"] {
        let answer = platform.send("POST", &format!("{layers}/tools/versions"), &[], body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    let odd = platform.get("/2018-10-31/layers/a%2Fb/versions").await;
    assert_eq!(odd.code(), "ValidationException");
    assert_eq!(
        platform.get("/2018-10-31/layers/tools/versions").await.json()["LayerVersions"].as_array().unwrap().len(),
        2
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_of_what_matches() {
    let platform = Platform::start().await;
    for (layer, runtime) in [("b", "python3.12"), ("a", "python3.12"), ("a", "nodejs22.x"), ("c", "nodejs22.x")] {
        publish(&platform, layer, json!({ "CompatibleRuntimes": [runtime] })).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let layers = page["Layers"].as_array().unwrap();
        let row =
            |one: &Value| format!("{}:{}", one["LayerName"].as_str().unwrap(), one["LatestMatchingVersion"]["Version"]);
        layers.iter().map(row).collect()
    };
    let all = platform.get("/2018-10-31/layers").await.json();
    assert_eq!(names(&all), ["a:2", "b:1", "c:1"]);
    assert!(all.get("NextMarker").is_none());
    let python = platform.get("/2018-10-31/layers?CompatibleRuntime=python3.12").await.json();
    assert_eq!(names(&python), ["a:1", "b:1"]);
    let page = platform.get("/2018-10-31/layers?MaxItems=2").await.json();
    assert_eq!(names(&page), ["a:2", "b:1"]);
    let marker = page["NextMarker"].as_str().unwrap();
    let rest = platform.get(&format!("/2018-10-31/layers?MaxItems=2&Marker={marker}")).await.json();
    assert_eq!(names(&rest), ["c:1"]);
    assert!(rest.get("NextMarker").is_none());
    let versions = platform.get("/2018-10-31/layers/a/versions?MaxItems=1").await.json();
    assert_eq!(versions["LayerVersions"][0]["Version"], 2);
    let marker = versions["NextMarker"].as_str().unwrap();
    let versions = platform.get(&format!("/2018-10-31/layers/a/versions?MaxItems=1&Marker={marker}")).await.json();
    assert_eq!(versions["LayerVersions"][0]["Version"], 1);
    for bad in ["MaxItems=0", "MaxItems=51", "MaxItems=x", "Marker=%21"] {
        assert_eq!(platform.get(&format!("/2018-10-31/layers?{bad}")).await.status, 400, "{bad}");
    }
    platform.stop().await;
}

/// As recorded: test_layer_policy_lifecycle and test_layer_policy_exceptions.
#[tokio::test(flavor = "multi_thread")]
async fn policies_are_as_recorded() {
    let platform = Platform::start().await;
    publish(&platform, "tools", json!({})).await;
    let policy = "/2018-10-31/layers/tools/versions/1/policy";
    let statement = |sid: &str| json!({ "StatementId": sid, "Action": "lambda:GetLayerVersion", "Principal": "*" });
    let add = async |query: &str, body: Value| {
        platform.send("POST", &format!("{policy}{query}"), &[], &body.to_string()).await
    };
    let told = |answer: &Answer| (answer.status, answer.code().to_owned(), message(answer));
    let not_found = |text: &str| (404, "ResourceNotFoundException".to_owned(), text.to_owned());

    assert_eq!(told(&platform.get(policy).await), not_found("No policy is associated with the given resource."));
    let first = add("", statement("s1")).await;
    assert_eq!(first.status, 201);
    let worded = |sid: &str| {
        format!(
            r#"{{"Sid":"{sid}","Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion","Resource":"{ARN}:1"}}"#
        )
    };
    assert_eq!(first.json()["Statement"], worded("s1"));
    let got = platform.get(policy).await.json();
    assert_eq!(got["Policy"], format!(r#"{{"Version":"2012-10-17","Id":"default","Statement":[{}]}}"#, worded("s1")));
    assert_eq!(got["RevisionId"], first.json()["RevisionId"]);

    let action = add("", json!({ "StatementId": "s2", "Action": "*", "Principal": "*" })).await;
    let text = "1 validation error detected: Value '*' at 'action' failed to satisfy constraint: Member must satisfy \
                regular expression pattern: lambda:GetLayerVersion";
    assert_eq!(told(&action), (400, "ValidationException".to_owned(), text.to_owned()));
    let text = "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing \
                statement.";
    assert_eq!(told(&add("", statement("s1")).await), (409, "ResourceConflictException".to_owned(), text.to_owned()));
    let stale = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve \
                 the latest Revision Id";
    let stale = (412, "PreconditionFailedException".to_owned(), stale.to_owned());
    assert_eq!(told(&add("?RevisionId=wrong", statement("s2")).await), stale);

    let revision = first.json()["RevisionId"].as_str().unwrap().to_owned();
    let second = add(&format!("?RevisionId={revision}"), statement("s2")).await;
    assert_eq!(second.status, 201);
    assert_ne!(second.json()["RevisionId"], revision);
    let remove = async |rest: &str| platform.send("DELETE", &format!("{policy}/{rest}"), &[], "").await;
    assert_eq!(told(&remove("s2?RevisionId=wrong").await), stale);
    let missing = not_found("Statement doesnotexist is not found in resource policy.");
    assert_eq!(told(&remove("doesnotexist").await), missing);
    assert_eq!(remove("s2").await.status, 204);
    let got = platform.get(policy).await.json();
    assert!(got["Policy"].as_str().unwrap().ends_with(&format!("[{}]}}", worded("s1"))));
    assert_ne!(got["RevisionId"], second.json()["RevisionId"]);

    let missing = |arn: String| not_found(&format!("Layer version {arn} does not exist."));
    for (layer, version) in [("tools", 2), ("nothere", 1)] {
        let target = format!("/2018-10-31/layers/{layer}/versions/{version}/policy");
        let arn = format!("arn:aws:lambda:us-east-1:000000000000:layer:{layer}:{version}");
        assert_eq!(told(&platform.get(&target).await), missing(arn.clone()));
        let added = platform.send("POST", &target, &[], &statement("s1").to_string()).await;
        assert_eq!(told(&added), missing(arn.clone()));
        let removed = platform.send("DELETE", &format!("{target}/s1"), &[], "").await;
        assert_eq!(told(&removed), missing(arn));
    }
    let long = "a".repeat(100);
    let mut count = 0;
    let last = loop {
        let added = add("", statement(&format!("{long:.90}{count}"))).await;
        if added.status != 201 {
            break added;
        }
        count += 1;
        assert!(count < 400, "a policy grows without bound");
    };
    assert_eq!((last.status, last.code()), (400, "PolicyLengthExceededException"));
    platform.stop().await;
}

/// As recorded: test_layer_function_exceptions and test_layer_function_quota_exception.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_cannot_have_is_told_as_recorded() {
    let platform = Platform::start().await;
    for _ in 0..2 {
        publish(&platform, "tools", json!({})).await;
    }
    let create = async |layers: Value| {
        let answer = platform.create("f", "python3.12", json!({ "Layers": layers })).await;
        assert_eq!(platform.get("/2015-03-31/functions/f").await.status, 404, "nothing is left behind");
        (answer.status, answer.code().to_owned(), message(&answer))
    };
    let refused = |text: String| (400, "InvalidParameterValueException".to_owned(), text);
    let version = |number: u64| format!("{ARN}:{number}");
    let two = |first: u64, second: u64| {
        refused(format!(
            "Two different versions of the same layer are not allowed to be referenced in the same function. {} and {} \
             are versions of the same layer.",
            version(first),
            version(second)
        ))
    };
    assert_eq!(create(json!([version(1), version(2)])).await, two(1, 2));
    assert_eq!(create(json!([version(1), version(1)])).await, two(1, 1));
    let missing = "arn:aws:lambda:us-east-1:000000000000:layer:doesnotexist:1";
    for arn in [missing, &version(9), "arn:aws:lambda:::awslayer:AmazonLinux1803"] {
        assert_eq!(create(json!([arn])).await, refused(format!("Layer version {arn} does not exist.")));
    }
    let text = "Layers are not in the same region as the function. Layers are expected to be in region us-east-1.";
    let elsewhere = ARN.replace("us-east-1", "us-west-2");
    assert_eq!(create(json!([format!("{elsewhere}:1")])).await, refused(text.to_owned()));
    let six: Vec<String> = (0..6).map(|number| format!("{missing}{number}")).collect();
    assert_eq!(create(json!(six)).await, refused("Cannot reference more than 5 layers.".to_owned()));
    let (status, code, text) = create(json!([ARN])).await;
    assert_eq!((status, code.as_str()), (400, "ValidationException"));
    let start = format!(
        "1 validation error detected: Value '[{ARN}]' at 'layers' failed to satisfy constraint: Member must satisfy \
         constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal \
         to 1, Member must satisfy regular expression pattern: (arn:"
    );
    assert!(text.starts_with(&start), "{text}");
    let (status, code, _) = create(json!(["arn:aws:lambda:us-east-1:111111111111:layer:tools:1"])).await;
    assert_eq!((status, code.as_str()), (403, "AccessDeniedException"), "another account's");
    let wasm = platform.create("f", "wasm", json!({ "Layers": [version(1)] })).await;
    assert_eq!(wasm.code(), "InvalidParameterValueException");
    for target in ["", "/1", "/1/policy"] {
        let arn = encoded("arn:aws:lambda:us-east-1:111111111111:layer:tools");
        let answer = platform.get(&format!("/2018-10-31/layers/{arn}/versions{target}")).await;
        assert_eq!((answer.status, answer.code()), (403, "AccessDeniedException"), "{target}");
    }
    platform.stop().await;
}
