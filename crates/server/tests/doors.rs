//! The doors over real connections, in front of a real node whose instances are closures.

mod identity;
mod logs_door;
mod parameters_door;
mod platform;

use std::{convert::Infallible, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::TokioIo;
use platform::Platform;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use updraft_server::{Authentication, Transport};

const FUNCTIONS: &str = "/2015-03-31/functions";

#[tokio::test]
async fn a_function_lives_from_create_to_delete() {
    let platform = Platform::start().await;
    let created = platform.create("hello", "python3.12", json!({ "Tags": { "a": "1" } })).await;
    assert_eq!((created.status, created.json()["State"].as_str()), (201, Some("Pending")));
    assert_eq!(created.json()["StateReason"], "The function is being created.");
    platform.settled("hello").await;

    let got = platform.get(&format!("{FUNCTIONS}/hello")).await.json();
    assert_eq!((&got["Configuration"]["State"], &got["Tags"]), (&json!("Active"), &json!({ "a": "1" })));
    let location = got["Code"]["Location"].as_str().unwrap().to_owned();
    let path = location.strip_prefix(&format!("http://{}", platform.address)).expect("on our own door");
    let code = platform.get(path).await;
    assert_eq!((code.status, code.body.starts_with(b"PK")), (200, true));

    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello%3A%24LATEST";
    let qualified = platform.get(&format!("{FUNCTIONS}/{arn}/configuration")).await.json();
    assert!(qualified["FunctionArn"].as_str().unwrap().ends_with(":hello:$LATEST"));

    let body = json!({ "Timeout": 7, "RevisionId": got["Configuration"]["RevisionId"] }).to_string();
    let changed = platform.send("PUT", &format!("{FUNCTIONS}/hello/configuration"), &[], &body).await;
    assert_eq!((changed.status, changed.json()["Timeout"].as_u64()), (200, Some(7)));
    assert_eq!(changed.json()["LastUpdateStatus"], "InProgress");
    let stale = platform.send("PUT", &format!("{FUNCTIONS}/hello/configuration"), &[], &body).await;
    assert_eq!((stale.status, stale.code()), (412, "PreconditionFailedException"));
    platform.settled("hello").await;

    let body = json!({ "ZipFile": BASE64.encode(platform::zip("app.py", b"new")), "DryRun": true }).to_string();
    let dry = platform.send("PUT", &format!("{FUNCTIONS}/hello/code"), &[], &body).await.json();
    let now = platform.get(&format!("{FUNCTIONS}/hello/configuration")).await.json();
    assert_ne!(dry["CodeSha256"], now["CodeSha256"]);
    let body = body.replace("true", "false");
    let updated = platform.send("PUT", &format!("{FUNCTIONS}/hello/code"), &[], &body).await.json();
    assert_eq!(updated["CodeSha256"], dry["CodeSha256"]);
    assert_eq!(platform.get(path).await.status, 404, "the location names code that is gone");

    let twice = platform.create("hello", "python3.12", json!({})).await;
    assert_eq!((twice.status, twice.code()), (409, "ResourceConflictException"));
    assert_eq!(twice.json()["message"], "Function already exist: hello");
    assert_eq!(platform.send("DELETE", &format!("{FUNCTIONS}/hello"), &[], "").await.status, 204);
    let gone = platform.send("DELETE", &format!("{FUNCTIONS}/hello"), &[], "").await;
    assert_eq!(
        (gone.status, gone.json()),
        (
            404,
            json!({ "Type": "User", "Message": "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hello" })
        )
    );
    platform.stop().await;
}

#[tokio::test]
async fn concurrency_is_reserved_and_given_back() {
    let platform = Platform::start().await;
    platform.create("f", "python3.12", json!({})).await;
    platform.settled("f").await;
    let set = |name: &str| format!("/2017-10-31/functions/{name}/concurrency");
    let got = "/2019-09-30/functions/f/concurrency";
    let put = async |name: &str, number: i64| {
        let body = json!({ "ReservedConcurrentExecutions": number }).to_string();
        platform.send("PUT", &set(name), &[], &body).await
    };
    assert_eq!(platform.get(got).await.json(), json!({}));
    let kept = put("f", 3).await;
    assert_eq!((kept.status, kept.json()), (200, json!({ "ReservedConcurrentExecutions": 3 })));
    assert_eq!(platform.get(got).await.json(), json!({ "ReservedConcurrentExecutions": 3 }));
    let shown = platform.get(&format!("{FUNCTIONS}/f")).await.json();
    assert_eq!(shown["Concurrency"], json!({ "ReservedConcurrentExecutions": 3 }));
    let settings = platform.get("/2016-08-19/account-settings").await.json();
    assert_eq!(settings["AccountLimit"]["UnreservedConcurrentExecutions"], 997);

    for too_many in [901, 1_001, i64::MAX] {
        let refused = put("f", too_many).await;
        assert_eq!((refused.status, refused.code()), (400, "InvalidParameterValueException"));
        assert!(refused.json()["message"].as_str().unwrap().ends_with("below its minimum value of [100]."));
    }
    let negative = put("f", -1).await;
    assert_eq!((negative.status, negative.code()), (400, "ValidationException"));
    let missing = put("none", -1).await;
    assert_eq!(missing.status, 404, "the function is looked for before the number is looked at");
    assert!(missing.json()["Message"].as_str().unwrap().ends_with(":function:none:$LATEST"));
    let qualified = put("f:$LATEST", 1).await;
    assert_eq!((qualified.status, qualified.code()), (400, "InvalidParameterValueException"));

    assert_eq!(put("f", 0).await.status, 200);
    let throttled = platform.send("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await;
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, "60"));
    let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
    assert_eq!(throttled.json(), json!({ "Reason": reason, "Type": "User", "message": "Rate Exceeded." }));
    platform.create_url("f", json!({ "AuthType": "NONE" })).await;
    let by_url = platform.get("/fn/f/").await;
    assert_eq!((by_url.status, by_url.header("retry-after"), &by_url.json()["Reason"]), (429, "60", &json!(reason)));
    assert_eq!(platform.send("DELETE", &set("f"), &[], "").await.status, 204);
    assert_eq!(platform.send("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await.status, 200);
    assert_eq!(platform.get(got).await.json(), json!({}));
    platform.stop().await;
}

#[tokio::test]
async fn how_a_function_scales_is_set_shown_and_counted() {
    let platform = Platform::start().await;
    platform.create("site", "web", json!({ "Handler": "node server.js" })).await;
    platform.settled("site").await;
    let set =
        async |body: Value| platform.send("PUT", "/_updraft/v1/functions/site/scaling", &[], &body.to_string()).await;
    let shown = platform.get("/_updraft/v1/functions/site").await.json();
    assert_eq!(shown["in_force"], json!({ "instances_max": 1_000, "instance_concurrency": 1 }));
    assert_eq!(shown["cold_starts"], json!({ "count": 0, "starts_failed": 0, "mean_ms": null, "last_ms": null }));
    let changed = set(json!({ "instances_max": 3, "instance_concurrency": 20, "weight": 2 })).await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["in_force"], json!({ "instances_max": 3, "instance_concurrency": 20 }));
    for wrong in [
        json!({ "instances_max": 0 }),
        json!({ "instance_concurrency": 2_000 }),
        json!({ "instance_max": 1 }),
        json!({ "instances": "fresh" }),
        json!({ "instances": "new" }),
    ] {
        assert_eq!(set(wrong).await.status, 400);
    }
    assert_eq!(set(json!({})).await.json()["scaling"]["instances_max"], Value::Null, "what is left out is unset");

    let invoke = format!("{FUNCTIONS}/site/invocations");
    let cold = platform.send("POST", &invoke, &[("x-amz-log-type", "Tail")], "{}").await;
    let log = String::from_utf8(BASE64.decode(cold.header("x-amz-log-result")).unwrap()).unwrap();
    let report = log.lines().find(|line| line.starts_with("REPORT")).unwrap();
    let fields: Vec<&str> = report.split('\t').collect();
    assert!(fields[5].starts_with("Init Duration: ") && fields[5].ends_with(" ms"), "{report}");
    assert!(fields[6].starts_with("Cold Start: place "), "{report}");
    platform.send("POST", &invoke, &[], "{}").await;
    let shown = platform.get("/_updraft/v1/functions/site").await.json();
    assert_eq!((&shown["invocations"]["succeeded"], &shown["cold_starts"]["count"]), (&json!(2), &json!(1)));
    assert_eq!(shown["cold_starts"]["last_ms"].as_object().unwrap().len(), 5);
    assert_eq!(shown["instances"], json!({ "running": 1, "idle": 1, "starting": 0, "callers_waiting": 0 }));
    let metrics = platform.get("/metrics").await;
    assert_eq!((metrics.status, metrics.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let labels = "{account=\"000000000000\",function=\"site\"}";
    assert!(text.contains(&format!("updraft_cold_starts_total{labels} 1\n")), "{text}");
    assert_eq!(platform.send("POST", "/metrics", &[], "").await.status, 404);
    assert_eq!(platform.get("/_updraft/v1/functions/none").await.status, 404);
    platform.stop().await;
}

#[tokio::test]
async fn a_components_instances_can_be_fresh() {
    let platform = Platform::start().await;
    platform.create("component", "wasm", json!({ "Handler": "a.wasm" })).await;
    platform.settled("component").await;
    let target = "/_updraft/v1/functions/component/scaling";
    let set = async |body: &str| platform.send("PUT", target, &[], body).await.json()["scaling"]["instances"].clone();
    assert_eq!(set(r#"{"instances": "fresh"}"#).await, "fresh");
    assert_eq!(platform.get("/_updraft/v1/functions/component").await.json()["scaling"]["instances"], "fresh");
    assert_eq!(set("{}").await, "reused");
    platform.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let platform = Platform::start().await;
    for name in ["c", "a", "b"] {
        platform.create(name, "python3.12", json!({})).await;
    }
    let (mut names, mut marker) = (Vec::new(), String::new());
    loop {
        let page = platform.get(&format!("{FUNCTIONS}/?MaxItems=2{marker}")).await.json();
        names.extend(page["Functions"].as_array().unwrap().iter().map(|each| each["FunctionName"].clone()));
        match page["NextMarker"].as_str() {
            Some(next) => marker = format!("&Marker={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(platform.get(&format!("{FUNCTIONS}?Marker=!")).await.status, 400);
    let settings = platform.get("/2016-08-19/account-settings/").await.json();
    assert_eq!(settings["AccountUsage"]["FunctionCount"], 3);
    let versions = platform.get(&format!("{FUNCTIONS}/a/versions")).await.json();
    assert_eq!(versions["Versions"][0]["Version"], "$LATEST");
    platform.stop().await;
}

#[tokio::test]
async fn invocations_answer_as_lambdas_do() {
    let platform = Platform::start().await;
    platform.create("echo", "python3.12", json!({})).await;
    platform.settled("echo").await;
    let target = format!("{FUNCTIONS}/echo/invocations");
    let echoed = platform.send("POST", &target, &[("x-amz-log-type", "Tail")], "{\"a\": 1}").await;
    assert_eq!((echoed.status, &echoed.body[..]), (200, &b"{\"a\": 1}"[..]));
    assert_eq!(echoed.header("x-amz-executed-version"), "$LATEST");
    let log = BASE64.decode(echoed.header("x-amz-log-result")).unwrap();
    assert!(String::from_utf8(log).unwrap().contains(echoed.header("x-amzn-requestid")));
    assert_eq!(platform.send("POST", &target, &[], "").await.body, "{}");

    let failed = platform.send("POST", &target, &[], "\"fail\"").await;
    assert_eq!((failed.status, failed.header("x-amz-function-error")), (200, "Unhandled"));
    assert_eq!(failed.json()["errorType"], "Oops");
    assert_eq!(platform.send("POST", &target, &[("x-amz-invocation-type", "DryRun")], "{}").await.status, 204);
    let event = platform.send("POST", &target, &[("x-amz-invocation-type", "Event")], "{}").await;
    assert_eq!((event.status, &event.body[..]), (202, &b""[..]));
    assert!(!event.header("x-amzn-requestid").is_empty());
    let bad = platform.send("POST", &target, &[], "{\"a\":").await;
    assert_eq!((bad.status, bad.code()), (400, "InvalidRequestContentException"));
    let large = format!("\"{}\"", "x".repeat(6_291_556));
    let large = platform.send("POST", &target, &[], &large).await;
    assert_eq!((large.status, large.code()), (413, "RequestTooLargeException"));
    let absent = platform.send("POST", &format!("{FUNCTIONS}/absent/invocations"), &[], "{}").await;
    assert!(absent.json()["Message"].as_str().unwrap().ends_with(":absent:$LATEST"));
    let version = platform.send("POST", &format!("{target}?Qualifier=3"), &[], "{}").await;
    assert!(version.json()["Message"].as_str().unwrap().ends_with(":echo:3"));
    platform.stop().await;
}

#[tokio::test]
async fn what_is_not_there_yet_is_said() {
    let platform = Platform::start().await;
    for (method, path, status, code) in [
        ("POST", "/2015-03-31/event-source-mappings", 501, "NotImplementedException"),
        ("GET", "/bucket/key", 404, "UnknownOperationException"),
        ("PATCH", "/2015-03-31/functions", 404, "UnknownOperationException"),
        ("GET", "/_updraft/v1/nothing", 404, "ResourceNotFoundException"),
    ] {
        let answer = platform.send(method, path, &[], "").await;
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}");
        assert!(!answer.header("x-amzn-requestid").is_empty());
    }
    let snapped = json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } });
    let snapped = platform.create("f", "nodejs22.x", snapped).await;
    assert_eq!((snapped.status, snapped.code()), (400, "InvalidParameterValueException"));
    let typed = platform.create("f", "python3.12", json!({ "Timeout": "5" })).await;
    assert_eq!((typed.status, typed.code()), (400, "SerializationException"));
    let zip = platform.create("f", "python3.12", json!({ "Code": { "ZipFile": BASE64.encode("no zip") } })).await;
    assert_eq!((zip.status, zip.code()), (400, "InvalidParameterValueException"));
    let foreign = platform.send("GET", FUNCTIONS, &[("origin", "https://evil.example")], "").await;
    assert_eq!(foreign.status, 403);
    let rebound = platform.send("GET", FUNCTIONS, &[("host", "evil.example:4566")], "").await;
    assert_eq!(rebound.status, 403);
    assert_eq!(platform.get("/healthz").await.json()["status"], "ok");
    platform.stop().await;
}

#[tokio::test]
async fn a_url_reaches_its_function_both_ways() {
    let platform = Platform::start().await;
    platform.create("echo", "python3.12", json!({})).await;
    platform.settled("echo").await;
    assert_eq!(platform.get("/fn/echo/").await.status, 404, "no URL yet");
    let host = platform.create_url("echo", json!({ "AuthType": "NONE" })).await;
    let twice = platform.send("POST", "/2021-10-31/functions/echo/url", &[], r#"{"AuthType":"NONE"}"#).await;
    assert_eq!(twice.status, 409);

    let by_host =
        platform.send("POST", "/a%20b?x=1&x=2", &[("host", &host), ("content-type", "text/plain")], "hi").await;
    let event = by_host.json();
    assert_eq!((by_host.status, &event["rawPath"], &event["body"]), (200, &json!("/a%20b"), &json!("hi")));
    assert_eq!(event["queryStringParameters"], json!({ "x": "1,2" }));
    assert_eq!(event["requestContext"]["requestId"], by_host.header("x-amzn-requestid"));
    let by_path = platform.get("/fn/echo/a%20b?x=1").await.json();
    assert_eq!((&by_path["rawPath"], &by_path["rawQueryString"]), (&json!("/a%20b"), &json!("x=1")));
    assert_eq!(by_path["requestContext"]["domainName"], host.split(':').next().unwrap());

    let failed = platform.send("POST", "/fn/echo/fail", &[], "").await;
    assert_eq!((failed.status, &failed.body[..]), (502, &b"Internal Server Error"[..]));
    let envelope = platform.send("POST", "/fn/echo/envelope", &[], "").await;
    assert_eq!((envelope.status, envelope.header("x-a"), &envelope.body[..]), (201, "b", &b"made"[..]));
    assert_eq!(platform.send("GET", "/", &[("host", "x.lambda-url.us-east-1.localhost")], "").await.status, 404);

    // Everybody is let in by the function's policy alone, and only while both statements are there.
    for sid in ["call", "url"] {
        let policy = format!("/2015-03-31/functions/echo/policy/{sid}");
        assert_eq!(platform.send("DELETE", &policy, &[], "").await.status, 204);
        let closed = platform.send("GET", "/", &[("host", &host)], "").await;
        assert_eq!((closed.status, closed.code()), (403, "AccessDeniedException"));
        assert!(closed.json()["Message"].as_str().unwrap().starts_with("Forbidden. For troubleshooting"));
        assert_eq!(platform.get("/fn/echo/").await.status, 403);
        let statement = match sid {
            "call" => r#"{"StatementId":"call","Action":"lambda:InvokeFunction","Principal":"*"}"#,
            _ => r#"{"StatementId":"url","Action":"lambda:*","Principal":"*","FunctionUrlAuthType":"AWS_IAM"}"#,
        };
        platform.send("POST", "/2015-03-31/functions/echo/policy", &[], statement).await;
        let expected = if sid == "call" { 200 } else { 403 };
        assert_eq!(platform.get("/fn/echo/").await.status, expected, "{sid}");
    }

    let body = r#"{"AuthType":"AWS_IAM","Cors":{"AllowOrigins":["*"],"AllowMethods":["GET"]}}"#;
    platform.send("PUT", "/2021-10-31/functions/echo/url", &[], body).await;
    // Without authentication whoever asks is the root user, who may.
    assert_eq!(platform.get("/fn/echo/").await.status, 200);
    let asking = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
    let preflight = platform.send("OPTIONS", "/fn/echo/", &asking, "").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (200, "GET"));
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert_eq!(platform.send("DELETE", "/2021-10-31/functions/echo/url", &[], "").await.status, 204);
    assert_eq!(platform.get("/2021-10-31/functions/echo/url").await.status, 404);
    platform.stop().await;
}

#[tokio::test]
async fn http_functions_stream_both_ways() {
    let platform = Platform::start().await;
    platform.create("site", "web", json!({ "Handler": "node server.js" })).await;
    platform.settled("site").await;
    let host = platform.create_url("site", json!({ "AuthType": "NONE" })).await;
    // The function echoes each piece as it comes: the second is sent only after the first came back.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(hyper::body::Frame::data(piece)), receiver))
    }));
    let stream = TcpStream::connect(platform.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("/up?q=1").header("host", &host).header("connection", "x-b").header("x-b", "1");
    sender.send(Bytes::from_static(b"one")).await.unwrap();
    let response = client.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.headers()["x-seen"], "POST /up?q=1 private=false from=127.0.0.1");
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    sender.send(Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
    drop(sender);
    assert!(body.frame().await.is_none());
    drop(client);
    connection.await.unwrap().unwrap();

    let invoked = platform.send("POST", &format!("{FUNCTIONS}/site/invocations"), &[], "{\"a\":1}").await;
    assert_eq!((invoked.status, &invoked.body[..]), (200, &b"{\"a\":1}"[..]));
    platform.stop().await;
}

#[tokio::test]
async fn tags_change_and_are_bounded() {
    let platform = Platform::start().await;
    platform.create("f", "python3.12", json!({})).await;
    let target = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af";
    let add = async |tags: Value| platform.send("POST", target, &[], &json!({ "Tags": tags }).to_string()).await.status;
    assert_eq!(add(json!({ "a": "1", "b": "2" })).await, 204);
    assert_eq!(add(json!({ "b": "3" })).await, 204);
    assert_eq!(platform.get(target).await.json(), json!({ "Tags": { "a": "1", "b": "3" } }));
    let many: serde_json::Map<_, _> = (0..49).map(|number| (format!("k{number}"), json!("v"))).collect();
    assert_eq!(add(Value::Object(many)).await, 400);
    assert_eq!(platform.send("DELETE", &format!("{target}?tagKeys=a&tagKeys=x"), &[], "").await.status, 204);
    assert_eq!(platform.get(target).await.json(), json!({ "Tags": { "b": "3" } }));
    assert_eq!(platform.send("DELETE", target, &[], "").await.status, 400);
    assert_eq!(platform.get(&format!("{target}%3A1")).await.status, 400);
    platform.stop().await;
}

#[tokio::test]
async fn egress_is_set_shown_and_taken_back() {
    let platform = Platform::start().await;
    platform.create("caller", "python3.12", json!({})).await;
    platform.settled("caller").await;
    let target = "/_updraft/v1/functions/caller/egress";
    let configuration = format!("{FUNCTIONS}/caller/configuration");
    assert_eq!(platform.get(target).await.json(), json!({ "egress": null }));
    for (said, shown) in [
        (json!("all"), json!("all")),
        (json!("none"), json!("none")),
        (
            json!({ "allow": ["A.example:443", "10.0.0.0/8:5432"] }),
            json!({ "allow": ["a.example:443", "10.0.0.0/8:5432"] }),
        ),
    ] {
        let before = platform.get(&configuration).await.json();
        let put = platform.send("PUT", target, &[], &said.to_string()).await;
        assert_eq!((put.status, put.json()), (200, json!({ "egress": shown })));
        platform.settled("caller").await;
        let after = platform.get(&configuration).await.json();
        assert_ne!(before["RevisionId"], after["RevisionId"]);
        // The same again changes nothing.
        assert_eq!(platform.send("PUT", target, &[], &said.to_string()).await.status, 200);
        assert_eq!(platform.get(&configuration).await.json()["RevisionId"], after["RevisionId"]);
    }
    // Other changes leave it as it is.
    let timeout = json!({ "Timeout": 9 }).to_string();
    assert_eq!(platform.send("PUT", &configuration, &[], &timeout).await.status, 200);
    platform.settled("caller").await;
    assert_eq!(platform.get(target).await.json()["egress"]["allow"][0], "a.example:443");

    for (said, part) in [
        (r#""some""#, "egress is"),
        ("{}", "egress is"),
        (r#"{"allow": ["169.254.169.254:80"]}"#, "no rule can open it"),
        (r#"{"allow": ["localhost:80"]}"#, "no rule can open it"),
        (r#"{"allow": ["a.example"]}"#, "HOST:PORT"),
        ("{", "egress is"),
    ] {
        let refused = platform.send("PUT", target, &[], said).await;
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && message.contains(part), "{said}: {message}");
    }
    let large = format!("\"{}\"", "x".repeat(40_000));
    assert_eq!(platform.send("PUT", target, &[], &large).await.status, 413);
    assert_eq!(platform.send("POST", target, &[], "\"all\"").await.status, 404);
    assert_eq!(platform.get("/_updraft/v1/functions/absent/egress").await.status, 404);
    let page = [("origin", "https://evil.example")];
    assert_eq!(platform.send("PUT", target, &page, "\"all\"").await.status, 403);

    assert_eq!(platform.send("DELETE", target, &[], "").await.json(), json!({ "egress": null }));
    assert_eq!(platform.get(target).await.json(), json!({ "egress": null }));

    platform.create("component", "wasm", json!({ "Handler": "a.wasm" })).await;
    platform.settled("component").await;
    let target = "/_updraft/v1/functions/component/egress";
    let said = r#"{"allow":["a.example:443"]}"#;
    assert_eq!(platform.send("PUT", target, &[], said).await.json()["egress"]["allow"][0], "a.example:443");
    platform.stop().await;
}

#[tokio::test]
async fn logs_are_read_and_followed_until_the_platform_stops() {
    let platform = Platform::start().await;
    platform.create("echo", "python3.12", json!({})).await;
    platform.settled("echo").await;
    let invoke = format!("{FUNCTIONS}/echo/invocations");
    platform.send("POST", &invoke, &[], "1").await;
    let kept = platform.get("/_updraft/v1/logs/echo?limit=100").await;
    let lines: Vec<Value> =
        kept.body.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert!(lines[0]["text"].as_str().unwrap().starts_with("START RequestId: "), "{lines:?}");
    assert_eq!(platform.get("/_updraft/v1/logs/absent").await.status, 404);

    let mut stream = TcpStream::connect(platform.address).await.unwrap();
    let request = "GET /_updraft/v1/logs/echo?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut read_until = async |wanted: usize| {
        while seen.matches("REPORT RequestId").count() < wanted {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the log ended early: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    read_until(1).await;
    let second = platform.send("POST", &invoke, &[], "2").await;
    read_until(2).await;
    assert_eq!(seen.matches(&format!("START RequestId: {}", second.header("x-amzn-requestid"))).count(), 1);
    platform.stop().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "a followed log ends cleanly when the platform stops");
}

#[tokio::test]
async fn odd_connections_do_no_harm() {
    let platform = Platform::start().await;
    platform.create("echo", "python3.12", json!({})).await;
    // A body cut off half-way changes nothing and is not answered with success.
    let mut stream = TcpStream::connect(platform.address).await.unwrap();
    let head =
        "POST /2015-03-31/functions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"FunctionName\":";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    // Claims beyond the limit are refused before they are read.
    let mut stream = TcpStream::connect(platform.address).await.unwrap();
    let head = "POST /2015-03-31/functions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    // A first byte that could begin either protocol, then the rest.
    let mut stream = TcpStream::connect(platform.address).await.unwrap();
    for part in ["P", "R", "OPFIND /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    // HTTP/2 by prior knowledge.
    let stream = TcpStream::connect(platform.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://localhost/healthz").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 200);
    drop(client);
    connection.await.unwrap().unwrap();
    platform.stop().await;
}

#[tokio::test]
async fn only_loopback_is_listened_on_without_protection() {
    let platform = Platform::start().await;
    let bind = async |address: &str, authentication, transport| {
        let mut config = updraft_server::Config::new(address.parse().unwrap(), "000000000000".parse().unwrap());
        (config.authentication, config.transport) = (authentication, transport);
        updraft_server::bind(config, platform.node.clone()).await.map(drop)
    };
    let refused = bind("0.0.0.0:0", Authentication::Required, Transport::Plain).await.unwrap_err();
    assert!(matches!(refused, updraft_server::BindError::NotProtected { .. }));
    assert!(refused.to_string().contains("without TLS"));
    let refused = bind("0.0.0.0:0", Authentication::Off, Transport::Proxy).await.unwrap_err();
    assert!(matches!(refused, updraft_server::BindError::NotAuthenticated { .. }));
    assert!(refused.to_string().contains("not authenticated"));
    let address = platform.address.to_string();
    let taken = bind(&address, Authentication::Required, Transport::Plain).await.unwrap_err();
    assert!(matches!(taken, updraft_server::BindError::InUse { .. }));
    platform.stop().await;
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_has() {
    let platform = Platform::start().await;
    platform.create("site", "web", json!({ "Handler": "node server.js" })).await;
    platform.settled("site").await;
    platform.create_url("site", json!({ "AuthType": "NONE" })).await;
    let mut stream = TcpStream::connect(platform.address).await.unwrap();
    let head = "POST /fn/site/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
    let address = platform.address;
    let stopping = tokio::spawn(platform.stop());
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(b"cd").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let whole = [&answer[..count], &rest[..]].concat();
    let text = String::from_utf8_lossy(&whole);
    assert!(text.contains("ab") && text.contains("cd"), "{text}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_ask_is_closed() {
    let platform = Platform::start_with(|config| config.header_read_timeout = Duration::from_millis(100)).await;
    for (asked, answers) in [
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow", 0),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 1),
    ] {
        let mut stream = TcpStream::connect(platform.address).await.unwrap();
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut received = String::new();
        // Ends when the connection does.
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut received)).await.unwrap().unwrap();
        assert_eq!(received.matches("HTTP/1.1 200 OK").count(), answers, "{received}");
    }
    platform.stop().await;
}
