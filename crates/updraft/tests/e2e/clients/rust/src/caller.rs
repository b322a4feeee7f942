//! The AWS SDK for Rust as a caller: a function's life, each step printed once it went as AWS documents it.
//!
//! Takes a function's name, its runtime and role, and its package, a zip. The endpoint, region and credentials come
//! from the environment, as in anybody's program; only TLS is left out of the build, for the endpoint is plain HTTP.

use std::{error::Error, time::Duration};

use aws_config::BehaviorVersion;
use aws_sdk_lambda::{
    Client,
    client::Waiters,
    error::SdkError,
    primitives::Blob,
    types::{FunctionCode, InvokeWithResponseStreamResponseEvent, Runtime, State},
};

/// Reached only by a hang.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, runtime, role, package] = arguments.as_slice() else {
        return Err("usage: caller NAME RUNTIME ROLE PACKAGE.zip".into());
    };
    let zip = Blob::new(std::fs::read(package)?);
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let client = Client::new(&config);

    let missing = client.get_function().function_name(name).send().await.expect_err("it is not there yet");
    let missing = missing.into_service_error();
    assert!(missing.is_resource_not_found_exception(), "{missing:?}");
    println!("not there: {}", missing.meta().message().unwrap_or_default());

    let made = client
        .create_function()
        .function_name(name)
        .runtime(Runtime::from(runtime.as_str()))
        .handler("app.handler")
        .role(role)
        .code(FunctionCode::builder().zip_file(zip.clone()).build())
        .send()
        .await?;
    assert_eq!(made.function_name(), Some(name.as_str()));
    client.wait_until_function_active_v2().function_name(name).wait(WAIT_MAX).await?;
    let found = client.get_function_configuration().function_name(name).send().await?;
    assert_eq!(found.state(), Some(&State::Active));
    assert_eq!(found.code_sha256(), made.code_sha256());
    println!("active");

    let twice = client
        .create_function()
        .function_name(name)
        .runtime(Runtime::from(runtime.as_str()))
        .handler("app.handler")
        .role(role)
        .code(FunctionCode::builder().zip_file(zip.clone()).build())
        .send()
        .await;
    match twice {
        Err(SdkError::ServiceError(error)) if error.err().is_resource_conflict_exception() => println!("conflict"),
        other => panic!("{other:?}"),
    }

    let payload = || Blob::new(r#"{"text":"to be or not to be"}"#);
    let answer = client.invoke().function_name(name).payload(payload()).send().await?;
    assert_eq!((answer.status_code(), answer.function_error()), (200, None));
    println!("invoked: {}", text(answer.payload()));

    let failed = client.invoke().function_name(name).payload(Blob::new("{}")).send().await?;
    assert_eq!(failed.function_error(), Some("Unhandled"));
    let error = text(failed.payload());
    println!("failed: {}", if error.contains("KeyError") { "KeyError" } else { &error });

    let mut stream =
        client.invoke_with_response_stream().function_name(name).payload(payload()).send().await?.event_stream;
    let (mut streamed, mut complete) = (Vec::new(), false);
    while let Some(event) = stream.recv().await? {
        match event {
            InvokeWithResponseStreamResponseEvent::PayloadChunk(chunk) => {
                streamed.extend(chunk.payload().map(|payload| payload.as_ref().to_vec()).unwrap_or_default());
            }
            InvokeWithResponseStreamResponseEvent::InvokeComplete(end) => {
                assert_eq!(end.error_code(), None);
                complete = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(complete, "the stream ends with InvokeComplete");
    println!("streamed: {}", String::from_utf8(streamed)?);

    client.update_function_configuration().function_name(name).description("again").send().await?;
    client.wait_until_function_updated_v2().function_name(name).wait(WAIT_MAX).await?;
    let updated = client.update_function_code().function_name(name).zip_file(zip).send().await?;
    assert_eq!(updated.description(), Some("again"));
    client.wait_until_function_updated_v2().function_name(name).wait(WAIT_MAX).await?;
    println!("updated");

    let mut pages = client.list_functions().into_paginator().page_size(1).items().send();
    let mut listed = false;
    while let Some(function) = pages.next().await {
        listed |= function?.function_name() == Some(name.as_str());
    }
    assert!(listed, "it is in the list");
    println!("listed");

    client.delete_function().function_name(name).send().await?;
    let gone = client.invoke().function_name(name).send().await.expect_err("it is gone").into_service_error();
    assert!(gone.is_resource_not_found_exception(), "{gone:?}");
    println!("deleted");
    Ok(())
}

fn text(payload: Option<&Blob>) -> String {
    String::from_utf8_lossy(payload.map(|payload| payload.as_ref()).unwrap_or_default()).into_owned()
}
