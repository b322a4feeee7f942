//! Secrets' values: GetSecretValue, PutSecretValue, UpdateSecret.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::Response;
use serde_json::json;
use updraft_node::secrets::{CURRENT, Put, Record};
use updraft_types::{Body, Timestamp};

use super::{
    DESCRIPTION, ID, STAGE, TOKEN, arn, change, check_key, find_live, fresh_token, given_value, internal,
    invalid_request, refuse_absent, unchanged,
};
use crate::{
    api_error::ApiError,
    aws_json::{Input, answer},
    scope::Scope,
};

pub(super) async fn get(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    let version = input.text("VersionId", &TOKEN)?;
    let stage = input.text("VersionStage", &STAGE)?;
    input.finish()?;
    let (name, record) = find_live(scope, &id).await?;
    let version = wanted(&record, version, stage)?;
    let about = &record.versions[&version];
    let value = scope.node.secrets().value(scope.account().clone(), name.clone(), version.clone()).await;
    // It may have been removed since.
    let value = value.map_err(internal)?.ok_or_else(super::not_found)?;
    let mut output = json!({
        "ARN": arn(scope, &name, &record.secret),
        "Name": name,
        "VersionId": version,
        "VersionStages": about.stages,
        "CreatedDate": super::seconds(about.created_at),
    });
    match about.is_binary {
        true => output["SecretBinary"] = json!(BASE64.encode(value)),
        false => output["SecretString"] = json!(String::from_utf8_lossy(&value)),
    }
    Ok(answer(&output))
}

/// The id of the version that is asked for.
fn wanted(record: &Record, version: Option<String>, stage: Option<String>) -> Result<String, ApiError> {
    let missing = |what: String| {
        let text = format!("Secrets Manager can't find the specified secret value for {what}");
        ApiError::bad_request("ResourceNotFoundException", text)
    };
    match (version, stage) {
        (Some(id), stage) => {
            let version = record.versions.get(&id).ok_or_else(|| missing(format!("VersionId: {id}")))?;
            if stage.is_some_and(|stage| !version.stages.contains(&stage)) {
                return Err(invalid_request(
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            Ok(id)
        }
        (None, stage) => {
            let stage = stage.as_deref().unwrap_or(CURRENT);
            record.staged(stage).cloned().ok_or_else(|| missing(format!("staging label: {stage}")))
        }
    }
}

pub(super) async fn put(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    refuse_absent(&input, &["RotationToken"])?;
    let id = input.required_text("SecretId", &ID)?;
    let token = input.text("ClientRequestToken", &TOKEN)?.unwrap_or_else(fresh_token);
    let value = given_value(&mut input)?;
    let stages = input.texts("VersionStages", 1..=20, &STAGE)?;
    input.finish()?;
    let (value, is_binary) =
        value.ok_or_else(|| invalid_request("You must provide either SecretString or SecretBinary."))?;
    let (name, _) = find_live(scope, &id).await?;
    let mut stages = stages.unwrap_or_else(|| vec![CURRENT.to_owned()]);
    stages.sort();
    stages.dedup();
    let put = Put { id: token.clone(), value, is_binary, stages, at: Timestamp::now() };
    let record = scope.node.secrets().put(scope.account().clone(), name.clone(), put).await.map_err(unchanged)?;
    Ok(answer(&json!({
        "ARN": arn(scope, &name, &record.secret),
        "Name": name,
        "VersionId": token,
        "VersionStages": record.versions.get(&token).map(|version| &version.stages),
    })))
}

pub(super) async fn update(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    refuse_absent(&input, &["Type"])?;
    check_key(&mut input)?;
    let id = input.required_text("SecretId", &ID)?;
    let token = input.text("ClientRequestToken", &TOKEN)?.unwrap_or_else(fresh_token);
    let description = input.text("Description", &DESCRIPTION)?;
    let value = given_value(&mut input)?;
    input.finish()?;
    let (name, record) = find_live(scope, &id).await?;
    let now = Timestamp::now();
    let mut output = json!({ "ARN": arn(scope, &name, &record.secret), "Name": name });
    // The value first: it is what may be refused.
    if let Some((value, is_binary)) = value {
        let put = Put { id: token.clone(), value, is_binary, stages: vec![CURRENT.to_owned()], at: now };
        scope.node.secrets().put(scope.account().clone(), name.clone(), put).await.map_err(unchanged)?;
        output["VersionId"] = json!(token);
    }
    if let Some(description) = description {
        change(scope, &name, move |secret| {
            secret.description = Some(description);
            secret.changed_at = now;
            Ok(())
        })
        .await?;
    }
    Ok(answer(&output))
}
