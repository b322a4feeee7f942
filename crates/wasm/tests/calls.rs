//! Calls into instances: what comes back, when, and what is left of the instance.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use support::{Place, answer, call, edge, fresh, get, guest, request};
use tokio::sync::mpsc;
use updraft_executor::{Instance, Reply};
use updraft_types::{BoxError, ExitStatus, Fault, Payload, body};

const OK: &str = "(call $begin (local.get $reply) (i32.const 200)) (call $write) (call $finish)";

async fn started(component: &[u8]) -> (Place, Arc<dyn Instance>, Arc<support::Log>) {
    let place = Place::new(component);
    let (instance, log) = place.start(&place.executor()).await.unwrap();
    (place, instance, log)
}

/// A request body that the test feeds, and the reply to it.
async fn echo(instance: &Arc<dyn Instance>) -> (mpsc::Sender<&'static str>, updraft_types::Body) {
    let (send, mut receive) = mpsc::channel::<&'static str>(1);
    let frames = futures_util::stream::poll_fn(move |context| receive.poll_recv(context));
    let frames = futures_util::StreamExt::map(frames, |text| Ok::<_, BoxError>(Frame::data(Bytes::from(text))));
    let payload = request("POST", "/echo", StreamBody::new(frames).boxed_unsync());
    let Ok(Reply::Http(response)) = instance.clone().call(call(payload)).await else { panic!("no reply") };
    (send, response.into_body())
}

#[tokio::test]
async fn an_instance_is_reused_and_sees_its_variables() {
    let (_place, instance, _) = started(&edge()).await;
    for served in 1..=3 {
        let (parts, text) = answer(&instance, get("/?q=1")).await.unwrap();
        assert_eq!(parts.headers["content-type"], "application/json");
        assert_eq!(text, format!("{{\"greeting\":\"Good \\\"day\\\"\",\"served\":{served}}}\n"));
    }
    assert!(instance.is_alive());
    assert!(instance.memory_bytes_max() >= 65_536);
}

#[tokio::test]
async fn a_fresh_guest_finds_nothing_of_earlier_calls() {
    let place = Place::new(&edge());
    let executor = place.executor();
    let (instance, _) = place.start_as(&executor, fresh()).await.unwrap();
    // More calls than there is room for guests: each ends before the next.
    for _ in 0..50 {
        let (_, text) = answer(&instance, get("/")).await.unwrap();
        assert_eq!(text, "{\"greeting\":\"Good \\\"day\\\"\",\"served\":1}\n");
        assert!(instance.is_alive());
    }
    let (send, mut reply) = echo(&instance).await;
    send.send("one").await.unwrap();
    assert_eq!(reply.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    assert!(matches!(answer(&instance, get("/")).await, Err(Fault::Platform { .. })), "one call at a time");
    drop(send);
    assert!(reply.frame().await.is_none());
    assert!(answer(&instance, get("/")).await.is_ok());

    // What a guest that keeps its memory remembers, a fresh one reads where the image has zeros.
    let remember = "(if (i32.load8_u (i32.const 2048)) (then unreachable)) (i32.store8 (i32.const 2048) (i32.const 1))";
    let place = Place::new(&guest(&format!("{remember} {OK}")));
    let (instance, _) = place.start_as(&executor, fresh()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(answer(&instance, get("/")).await.unwrap().1, "some words");
    }
    let (reused, _) = place.start(&executor).await.unwrap();
    assert!(answer(&reused, get("/")).await.is_ok() && answer(&reused, get("/")).await.is_err());
}

#[tokio::test]
async fn a_fresh_instance_ends_with_a_guest_that_traps_and_frees_its_place() {
    let place = Place::new(&guest("unreachable"));
    let executor = place.executor();
    for _ in 0..30 {
        let (instance, _) = place.start_as(&executor, fresh()).await.unwrap();
        assert!(matches!(answer(&instance, get("/")).await, Err(Fault::Crash { .. })));
        assert!(!instance.is_alive());
    }
}

#[tokio::test]
async fn an_event_arrives_as_a_post_of_json() {
    let (_place, instance, _) = started(&edge()).await;
    let (parts, text) = answer(&instance, Payload::Event(r#"{"a":[1,2]}"#.into())).await.unwrap();
    assert_eq!(parts.status, 200);
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["payload"], serde_json::json!({"a": [1, 2]}));
}

#[tokio::test]
async fn headers_go_both_ways_and_output_is_logged() {
    let (_place, instance, log) = started(&edge()).await;
    let Payload::Http(mut welcome) = get("/welcome") else { unreachable!() };
    welcome.headers_mut().insert("accept-language", "de;q=0.7, fr;q=0.9, it".parse().unwrap());
    let (parts, _) = answer(&instance, Payload::Http(welcome)).await.unwrap();
    assert_eq!((parts.status.as_u16(), parts.headers["location"].to_str().unwrap()), (307, "/fr"));
    assert!(parts.headers["set-cookie"].to_str().unwrap().starts_with("variant="));
    assert_eq!(log.text(), "welcomed a new visitor\n");
}

#[tokio::test]
async fn a_body_streams_through_while_it_is_written() {
    let (_place, instance, _) = started(&edge()).await;
    let (send, mut reply) = echo(&instance).await;
    for word in ["one", "two", "three"] {
        send.send(word).await.unwrap();
        let frame = reply.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(send);
    assert!(reply.frame().await.is_none());
    assert!(answer(&instance, get("/")).await.is_ok());
}

#[tokio::test]
async fn a_large_body_comes_through_whole() {
    let (_place, instance, _) = started(&edge()).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let (_, echoed) = answer(&instance, request("POST", "/echo", body::full(large.clone()))).await.unwrap();
    assert!(echoed == large);
}

#[tokio::test]
async fn a_dropped_reply_ends_the_guest() {
    let (_place, instance, _) = started(&edge()).await;
    let (send, mut reply) = echo(&instance).await;
    send.send("one").await.unwrap();
    reply.frame().await.unwrap().unwrap();
    assert!(instance.is_alive());
    drop(reply);
    assert!(!instance.is_alive());
    assert!(matches!(answer(&instance, get("/")).await, Err(Fault::Platform { .. })));
}

#[tokio::test]
async fn a_reply_without_a_body_still_runs_the_guest_to_its_end() {
    let (_place, instance, _) = started(&edge()).await;
    for path in ["/", "/en", "/welcome"] {
        let (_, text) = answer(&instance, request("HEAD", path, body::empty())).await.unwrap();
        assert!(text.is_empty() && instance.is_alive());
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_served() {
    let (_place, instance, _) = started(&edge()).await;
    let bare = http::Request::builder().uri("/").body(body::empty()).unwrap();
    assert!(answer(&instance, Payload::Http(Box::new(bare))).await.is_ok());
}

#[tokio::test]
async fn a_stopped_instance_takes_no_call() {
    let (_place, instance, _) = started(&edge()).await;
    instance.stop().await;
    assert!(!instance.is_alive());
    assert!(answer(&instance, get("/")).await.is_err());
}

/// What a guest's call comes to, and whether the instance survived it.
async fn outcome(body: &str) -> (Result<Bytes, Fault>, bool, String) {
    let (_place, instance, log) = started(&guest(body)).await;
    let result = answer(&instance, get("/")).await.map(|(_, text)| text);
    (result, instance.is_alive(), log.text())
}

#[tokio::test]
async fn a_trap_is_a_crash_with_its_reason() {
    let (result, alive, log) = outcome("unreachable").await;
    let Err(Fault::Crash { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(log.contains("wasm backtrace"), "{log}");
    assert!(!alive);
}

#[tokio::test]
async fn a_trap_after_the_reply_began_ends_its_body() {
    // A few chunks wait in the stream; past them the guest does, and its reader gets its turn.
    let begin = format!("(call $begin (local.get $reply) (i32.const 200)) {}", "(call $write)".repeat(10));
    let (_place, instance, _) = started(&guest(&format!("{begin} unreachable"))).await;
    let Ok(Reply::Http(response)) = instance.clone().call(call(get("/"))).await else { panic!("no reply") };
    let mut reply = response.into_body();
    for _ in 0..10 {
        assert_eq!(reply.frame().await.unwrap().unwrap().into_data().unwrap(), "some words");
    }
    let error = reply.frame().await.unwrap().unwrap_err();
    assert!(matches!(body::fault_of(error), Ok(Fault::Crash { .. })));
    assert!(!instance.is_alive());
}

#[tokio::test]
async fn a_reply_written_in_pieces_comes_whole_and_in_order() {
    let (_place, instance, _) = started(&edge()).await;
    let Ok(Reply::Http(response)) = instance.clone().call(call(Payload::Event("7".into()))).await else { panic!() };
    // Where the guest ended in one go, which a busy machine does not promise, the length is known though it never
    // said it.
    let length = response.body().size_hint().exact();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "{\"greeting\":\"Good \\\"day\\\"\",\"served\":1,\"payload\":7}\n");
    assert!(length.is_none_or(|length| length == text.len() as u64), "{length:?}");
}

#[tokio::test]
async fn an_exit_keeps_its_status() {
    let (result, alive, _) = outcome("(call $exit (i32.const 1))").await;
    assert_eq!(result, Err(Fault::Exit(ExitStatus::Code(1))));
    assert!(!alive);
}

#[tokio::test]
async fn no_response_is_a_crash_but_not_the_end() {
    let (result, alive, _) = outcome("").await;
    let Err(Fault::Crash { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("without setting a response"), "{reason}");
    assert!(alive);
}

#[tokio::test]
async fn an_error_code_is_the_handlers_failure() {
    let internal = "(call $set (local.get $reply) (i32.const 1) (i32.const 38) (i32.const 1) (i64.const 0)
        (i32.const 10) (i32.const 0) (i32.const 0) (i32.const 0))";
    let (result, alive, _) = outcome(internal).await;
    let Err(Fault::Handler { body, .. }) = result else { panic!("{result:?}") };
    assert_eq!(body, r#"{"errorMessage":"some words","errorType":"Wasm.ErrorCode"}"#);
    assert!(alive);
}

#[tokio::test]
async fn an_unfinished_body_is_a_crash() {
    let unfinished = "(call $begin (local.get $reply) (i32.const 200)) (call $write)";
    let (result, ..) = outcome(unfinished).await;
    let Err(Fault::Crash { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("never finished"), "{reason}");
    // A fresh guest is gone by then, and with it whoever might have said so.
    let place = Place::new(&guest(unfinished));
    let (instance, _) = place.start_as(&place.executor(), fresh()).await.unwrap();
    let result = answer(&instance, get("/")).await;
    let Err(Fault::Crash { reason }) = result else { panic!("{result:?}") };
    assert!(reason.contains("never finished"), "{reason}");
}

#[tokio::test]
async fn growing_past_the_limit_and_trapping_is_out_of_memory() {
    let greedy = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable";
    let (result, alive, _) = outcome(greedy).await;
    assert_eq!(result, Err(Fault::OutOfMemory));
    assert!(!alive);
}

#[tokio::test]
async fn a_guest_that_copes_with_a_refused_growth_goes_on() {
    let greedy = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))";
    let (_place, instance, _) = started(&guest(&format!("{greedy} {OK}"))).await;
    assert_eq!(answer(&instance, get("/")).await.unwrap().1, "some words");
    let held = instance.memory_bytes_max();
    assert!((120 << 20..=128 << 20).contains(&held), "{held}");
}

#[tokio::test]
async fn a_leaking_guest_is_retired() {
    let (_place, instance, _) = started(&guest(&format!("(drop (call $fields)) {OK}"))).await;
    let mut calls = 0;
    while instance.is_alive() && calls < 1_000 {
        answer(&instance, get("/")).await.unwrap();
        calls += 1;
    }
    assert!((10..1_000).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_flood_of_handles_traps() {
    let (result, ..) = outcome("(loop $more (drop (call $fields)) (br $more))").await;
    assert!(matches!(result, Err(Fault::Crash { .. })), "{result:?}");
}

#[tokio::test]
async fn outgoing_http_is_denied() {
    // The reply's status is 200 plus the error code's number: HTTP-request-denied is the fifteenth.
    let fetch = "(local $request i32) (local $future i32)
        (local.set $request (call $request (call $fields)))
        (drop (call $set_authority (local.get $request) (i32.const 1) (i32.const 32) (i32.const 11)))
        (drop (call $set_path (local.get $request) (i32.const 1) (i32.const 16) (i32.const 1)))
        (call $fetch (local.get $request) (i32.const 0) (i32.const 0) (i32.const 64))
        (local.set $future (i32.load (i32.const 72)))
        (call $block (call $subscribe (local.get $future)))
        (call $future (local.get $future) (i32.const 64))
        (call $begin (local.get $reply) (i32.add (i32.const 200) (i32.load8_u (i32.const 88))))
        (call $finish)";
    let (_place, instance, log) = started(&guest(fetch)).await;
    let (parts, _) = answer(&instance, get("/")).await.unwrap();
    assert_eq!(parts.status, 215);
    let why = "egress refused: api.example:443: no egress rule of this function allows it; the rule \"api.example:443\" would";
    assert!(log.text().contains(why), "{}", log.text());
}

/// One thread runs both: were the loop not to yield, neither the other call nor the test would go on.
#[tokio::test(flavor = "current_thread")]
async fn an_endless_loop_neither_blocks_others_nor_outlives_its_caller() {
    let place = Place::new(&guest("(loop $forever (br $forever))"));
    let executor = place.executor();
    let (endless, _) = place.start(&executor).await.unwrap();
    let busy = tokio::spawn(endless.clone().call(call(get("/"))));

    let other = Place::new(&edge());
    let (instance, _) = other.start(&executor).await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        answer(&instance, get("/")).await.unwrap();
    }
    assert!(!busy.is_finished() && endless.is_alive());
    busy.abort();
    assert!(busy.await.unwrap_err().is_cancelled());
    assert!(!endless.is_alive());
}

#[tokio::test]
async fn instances_past_the_limit_are_the_platforms_fault() {
    let place = Place::new(&edge());
    let executor = place.executor();
    let mut started = Vec::new();
    let refusal = loop {
        match place.start(&executor).await {
            Ok(instance) => started.push(instance),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(refusal, Fault::Platform { .. }), "{refusal:?}");
    assert_eq!(started.len(), 20);
    started.clear();
    assert!(place.start(&executor).await.is_ok());
}
