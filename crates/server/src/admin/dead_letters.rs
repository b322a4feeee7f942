//! `GET functions/NAME/dead-letters?limit=N`: what was given up of a function's asynchronous events and could not be passed
//! on, newest first: `{"dead_letters":[{"at_ms", "request_id", "reason", "record"}]}`, the record as a destination would
//! have been given it.

use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use updraft_types::{Body, Function};

use crate::{error::Error, respond, scope::Scope};

/// Letters answered unless asked otherwise, and at most: each may hold an event and an answer of the largest size.
const LETTERS_DEFAULT: u32 = 20;
const LETTERS_MAX: u32 = 100;

#[derive(Serialize)]
struct View {
    dead_letters: Vec<Letter>,
}

#[derive(Serialize)]
struct Letter {
    at_ms: u64,
    request_id: String,
    reason: String,
    record: Box<RawValue>,
}

/// Shows a function's dead letters.
pub(super) async fn get(scope: &Scope<'_>, function: &Function, query: &str) -> Result<Response<Body>, Error> {
    let limit = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "limit");
    let limit = match limit {
        None => LETTERS_DEFAULT,
        Some((_, text)) => text
            .parse()
            .map(|limit: u32| limit.min(LETTERS_MAX))
            .map_err(|_| Error::invalid_parameter(format!("limit is not understood: {text:.40}")))?,
    };
    let letters = scope.node.dead_letters(&function.id, limit).await.map_err(|error| Error::internal(&error))?;
    let dead_letters = letters.into_iter().map(|letter| {
        let record = RawValue::from_string(letter.record).map_err(|error| Error::internal(&error.to_string()))?;
        let request_id = letter.request.to_string();
        Ok(Letter { at_ms: letter.at.as_ms(), request_id, reason: letter.reason, record })
    });
    Ok(respond::json(StatusCode::OK, &View { dead_letters: dead_letters.collect::<Result<_, Error>>()? }))
}
