//! Container images of the caller's account: pushed piece by piece, listed, and taken away.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET images` | | `[{"name", "tag", "digest", "size_bytes", "architecture", "pushed_at_ms"}]` |
//! | `GET images/NAME/blobs/DIGEST` | | `{"received", "is_complete"}` |
//! | `PUT images/NAME/blobs/DIGEST?size=N&offset=N` | bytes | the same; 409 where the offset is not what was received |
//! | `PUT images/NAME/tags/TAG` | `{"manifest", "config"}`, both texts | 201 and the image; its layers have come before |
//! | `DELETE images/NAME/tags/TAG` | | 204 |
//!
//! NAME is one segment of the path, encoded. Nothing here takes a path or an address: bytes come with the request. What
//! is asked permission for is ECR's (`ecr:PutImage` and its like), of `arn:aws:ecr:REGION:ACCOUNT:repository/NAME`.

use http::{Method, Response, StatusCode, request::Parts};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use updraft_node::images::{Digest, Error as Failed, Progress, Tagged, is_name, is_tag};
use updraft_types::{Body, function::Architecture};

use crate::{body::Held, error::Error, lambda::read_json, respond, scope::Scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    manifest: String,
    config: String,
}

#[derive(Serialize)]
struct ImageView<'a> {
    name: &'a str,
    tag: &'a str,
    digest: String,
    size_bytes: u64,
    architecture: Architecture,
    pushed_at_ms: u64,
}

#[derive(Serialize)]
struct ProgressView {
    received: u64,
    is_complete: bool,
}

/// Answers a request whose path goes on with `rest` after `images`.
pub(super) async fn serve(scope: &Scope<'_>, rest: &str, head: &Parts, body: &Held) -> Result<Response<Body>, Error> {
    let segments: Vec<String> =
        rest.split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let account = scope.account();
    match (&head.method, segments.as_slice()) {
        (&Method::GET, []) => {
            authorize(scope, "ecr:DescribeImages", "*")?;
            let images = scope.node.images(account).await.map_err(failed)?;
            Ok(respond::json(StatusCode::OK, &images.iter().map(view).collect::<Vec<_>>()))
        }
        (&Method::GET, [name, "blobs", digest]) => {
            authorize(scope, "ecr:BatchCheckLayerAvailability", repository(name)?)?;
            let progress = scope.node.image_blob(account, &digest_of(digest)?).await.map_err(failed)?;
            Ok(respond::json(StatusCode::OK, &shown(progress)))
        }
        (&Method::PUT, [name, "blobs", digest]) => {
            authorize(scope, "ecr:UploadLayerPart", repository(name)?)?;
            let query = head.uri.query().unwrap_or_default();
            let (size, offset) = (number(query, "size")?, number(query, "offset")?);
            let uploaded =
                scope.node.upload_image_blob(account, &digest_of(digest)?, size, offset, body.bytes.clone()).await;
            Ok(respond::json(StatusCode::OK, &shown(uploaded.map_err(failed)?)))
        }
        (&Method::PUT, [name, "tags", tag]) => {
            authorize(scope, "ecr:PutImage", repository(name)?)?;
            let (name, tag) = (name.to_string(), tag_of(tag)?.to_owned());
            let Push { manifest, config } = read_json(body).await?;
            let pushed = scope.node.push_image(account, name, tag, manifest.into(), config.into()).await;
            Ok(respond::json(StatusCode::CREATED, &view(&pushed.map_err(failed)?)))
        }
        (&Method::DELETE, [name, "tags", tag]) => {
            authorize(scope, "ecr:BatchDeleteImage", repository(name)?)?;
            scope.node.remove_image(account, name.to_string(), tag_of(tag)?.to_owned()).await.map_err(failed)?;
            Ok(respond::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Error::admin_not_found()),
    }
}

fn authorize(scope: &Scope<'_>, action: &str, repository: &str) -> Result<(), Error> {
    let arn = format!("arn:aws:ecr:{}:{}:repository/{repository}", scope.node.region(), scope.account());
    Ok(scope.authorize(action, &arn)?)
}

fn repository(name: &str) -> Result<&str, Error> {
    if is_name(name) { Ok(name) } else { Err(Error::invalid_parameter("The name of the image is not one")) }
}

fn tag_of(tag: &str) -> Result<&str, Error> {
    if is_tag(tag) { Ok(tag) } else { Err(Error::invalid_parameter("The tag of the image is not one")) }
}

fn digest_of(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|_| Error::invalid_parameter("The digest is not one: expected sha256: and 64 digits"))
}

fn number(query: &str, name: &str) -> Result<u64, Error> {
    let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
    found
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| Error::invalid_parameter(format!("{name} has to be a number of bytes")))
}

fn shown(progress: Progress) -> ProgressView {
    ProgressView { received: progress.received, is_complete: progress.is_complete }
}

fn view(tagged: &Tagged) -> ImageView<'_> {
    ImageView {
        name: &tagged.name,
        tag: &tagged.tag,
        digest: format!("sha256:{}", tagged.contents.digest),
        size_bytes: tagged.contents.size_bytes(),
        architecture: tagged.contents.architecture,
        pushed_at_ms: tagged.pushed_at.as_ms(),
    }
}

fn failed(error: Failed) -> Error {
    match error {
        Failed::NotFound => Error::resource_does_not_exist(),
        error @ Failed::Offset { .. } => Error::conflict(error.to_string()),
        Failed::Image(text) => Error::invalid_parameter(text),
        Failed::Change(error) => Error::change(error, "", ""),
    }
}
