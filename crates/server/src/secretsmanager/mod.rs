//! Secrets Manager: what functions fetch their secrets from.
//!
//! A secret is named by its name, or by its ARN with or without the six characters that end it; an ARN that is one
//! secret's with them is no other's without. Rotation, replication, resource policies and keys of one's own are not part
//! of it: what asks for them is refused by name.

mod list;
mod password;
mod value;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{Response, StatusCode, request::Parts};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use updraft_node::secrets::{ChangeError, Error, LABELS_MAX, Put, Record, Secret};
use updraft_types::{Body, Timestamp};

use crate::{
    api_error::{ApiError, Protocol},
    aws_json::{self, Input, Rule, answer},
    body::Held,
    scope::{Act, Scope},
    tags::{Keys, borrowed, brought, hidden, hidden_text, taken_away, twice},
};

/// The largest request, bytes: a value of 64 KB with every character escaped, and what is around it.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// The largest value, bytes.
const VALUE_BYTES_MAX: usize = 65_536;
/// Most tags of a secret.
const TAGS_MAX: usize = 50;
type Tags = BTreeMap<String, String>;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Longest name or ARN that is looked up, bytes.
const ID_BYTES_MAX: usize = 2_048;
const ID: Rule = Rule::length(1..=2048);
const TOKEN: Rule = Rule::length(32..=64);
const DESCRIPTION: Rule = Rule::length(0..=2048);
const STAGE: Rule = Rule::length(1..=256);

/// Answers one request.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, ApiError> {
    let operation = aws_json::operation(head, "secretsmanager")?;
    let input = Input::read(body, "ValidationException")?;
    let (resource, tags) = resource(scope, operation, &input).await?;
    let (action, keys) = (format!("secretsmanager:{operation}"), tag_keys(operation, &input));
    let (resource, tags, keys) = (&resource, tags.as_ref(), &borrowed(&keys));
    let allowed =
        scope.authorize_act(&Act { action: &action, resource, owner: scope.account(), policy: None, tags, keys });
    allowed.map_err(|denied| ApiError::denied(&denied, Protocol::Json))?;
    match operation {
        "CreateSecret" => create(scope, input).await,
        "DescribeSecret" => describe(scope, input).await,
        "UpdateSecret" => value::update(scope, input).await,
        "PutSecretValue" => value::put(scope, input).await,
        "GetSecretValue" => value::get(scope, input).await,
        "ListSecrets" => list::secrets(scope, input).await,
        "ListSecretVersionIds" => list::versions(scope, input).await,
        "DeleteSecret" => delete(scope, input).await,
        "RestoreSecret" => restore(scope, input).await,
        "TagResource" => tag(scope, input).await,
        "UntagResource" => untag(scope, input).await,
        "GetRandomPassword" => password::answer_one(input),
        other => Err(ApiError::not_implemented(&format!("Secrets Manager's {other}"))),
    }
}

/// The ARN that an operation's permission is asked for, the secret's own however the request names it, and the secret's tags.
async fn resource(scope: &Scope<'_>, operation: &str, input: &Input) -> Result<(String, Option<Tags>), ApiError> {
    let everything = || ("*".to_owned(), None);
    let named = match operation {
        "ListSecrets" | "GetRandomPassword" => None,
        "CreateSecret" => {
            return Ok(input.peek("Name").map_or_else(everything, |name| (arn_of(scope, name), None)));
        }
        _ => input.peek("SecretId").filter(|id| id.len() <= ID_BYTES_MAX),
    };
    let Some(id) = named else { return Ok(everything()) };
    match find(scope, id).await {
        Ok((name, record)) => Ok((arn(scope, &name, &record.secret), Some(record.secret.tags))),
        Err(error) if error == not_found() => {
            Ok((if id.starts_with("arn:") { id.to_owned() } else { arn_of(scope, id) }, None))
        }
        Err(error) => Err(error),
    }
}

/// What conditions are told of the tags that a request brings or takes away, by the members that the operation reads.
fn tag_keys(operation: &str, input: &Input) -> Keys {
    match operation {
        "CreateSecret" | "TagResource" => brought(input.peek_pairs("Tags")),
        "UntagResource" => taken_away(input.peek_all("TagKeys")),
        _ => Keys::new(),
    }
}

/// Refuses tags of which one would hide another.
fn check_tags(now: &Tags, tags: &Tags) -> Result<(), ApiError> {
    hidden(now, tags).map_or(Ok(()), |key| Err(invalid_parameter(hidden_text(key))))
}

fn arn_of(scope: &Scope<'_>, rest: &str) -> String {
    format!("arn:aws:secretsmanager:{}:{}:secret:{rest}", scope.node.region(), scope.account())
}

fn arn(scope: &Scope<'_>, name: &str, secret: &Secret) -> String {
    arn_of(scope, &format!("{name}-{}", secret.suffix))
}

fn invalid_parameter(text: impl Into<String>) -> ApiError {
    ApiError::bad_request("InvalidParameterException", text)
}

fn invalid_request(text: impl Into<String>) -> ApiError {
    ApiError::bad_request("InvalidRequestException", text)
}

fn not_found() -> ApiError {
    ApiError::bad_request("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

fn internal(error: Error) -> ApiError {
    match error {
        Error::Full => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError", "The disk is full"),
        other => ApiError::internal(&other.to_string()),
    }
}

const IS_DELETED: &str = "You can't perform this operation on the secret because it was marked for deletion.";

fn unchanged(error: ChangeError) -> ApiError {
    match error {
        ChangeError::NotFound => not_found(),
        ChangeError::Deleted => invalid_request(IS_DELETED),
        ChangeError::Exists => ApiError::bad_request(
            "ResourceExistsException",
            "The operation failed because a version with the requested token and another value already exists.",
        ),
        ChangeError::TooMany => ApiError::bad_request("LimitExceededException", "The account has too many secrets."),
        ChangeError::TooManyLabels => ApiError::bad_request(
            "LimitExceededException",
            format!("The versions of a secret have at most {LABELS_MAX} staging labels together."),
        ),
        ChangeError::Full => internal(Error::Full),
        other => ApiError::internal(&other.to_string()),
    }
}

/// A time as AWS JSON has it.
fn seconds(at: Timestamp) -> f64 {
    at.as_ms() as f64 / 1000.0
}

/// The secret of the caller's that a request names, whether or not it is marked for deletion.
async fn find(scope: &Scope<'_>, id: &str) -> Result<(String, Record), ApiError> {
    let rest = match id.starts_with("arn:") {
        true => id.strip_prefix(&arn_of(scope, "")).ok_or_else(not_found)?,
        false => id,
    };
    let find = |name: &str| scope.node.secrets().find(scope.account().clone(), name.to_owned(), Timestamp::now());
    // A name may end like another secret's ARN: that ARN stays the other secret's.
    if id.starts_with("arn:")
        && let Some((name, suffix)) = rest.rsplit_once('-')
        && let Some(record) = find(name).await.map_err(internal)?.filter(|record| record.secret.suffix == suffix)
    {
        return Ok((name.to_owned(), record));
    }
    let record = find(rest).await.map_err(internal)?.ok_or_else(not_found)?;
    Ok((rest.to_owned(), record))
}

/// The same, if it is not marked for deletion.
async fn find_live(scope: &Scope<'_>, id: &str) -> Result<(String, Record), ApiError> {
    let found = find(scope, id).await?;
    if found.1.secret.deleted.is_some() { Err(invalid_request(IS_DELETED)) } else { Ok(found) }
}

/// `SecretString` or `SecretBinary`: the bytes, and whether they are the latter.
fn given_value(input: &mut Input) -> Result<Option<(Vec<u8>, bool)>, ApiError> {
    let text = input.text("SecretString", &Rule::length(1..=VALUE_BYTES_MAX))?;
    let binary = input.text("SecretBinary", &Rule::length(1..=VALUE_BYTES_MAX * 2))?;
    let value = match (text, binary) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid_parameter(
                "You can't specify both a binary secret value and a string secret value in the same secret.",
            ));
        }
        (Some(text), None) => (text.into_bytes(), false),
        (None, Some(text)) => {
            let wrong = |_| ApiError::bad_request("SerializationException", "SecretBinary is not base64");
            (BASE64.decode(text).map_err(wrong)?, true)
        }
    };
    if value.0.len() > VALUE_BYTES_MAX {
        return Err(invalid_parameter(format!("A secret value has at most {VALUE_BYTES_MAX} bytes.")));
    }
    Ok(Some(value))
}

/// What asks for something that is not here.
fn refuse_absent(input: &Input, names: &[&str]) -> Result<(), ApiError> {
    match names.iter().find(|name| input.has(name)) {
        Some(name) => Err(ApiError::not_implemented(&format!("Secrets Manager's {name}"))),
        None => Ok(()),
    }
}

fn given_tags(input: &mut Input) -> Result<Option<Tags>, ApiError> {
    let tags = input.structures("Tags", 0..=TAGS_MAX, |tag| {
        let key = tag.required_text("Key", &Rule::length(1..=128))?;
        Ok((key, tag.text("Value", &Rule::length(0..=256))?.unwrap_or_default()))
    })?;
    let Some(tags) = tags else { return Ok(None) };
    if let Some(key) = twice(tags.iter().map(|(key, _)| key.as_str())) {
        return Err(invalid_parameter(hidden_text(key)));
    }
    Ok(Some(tags.into_iter().collect()))
}

fn fresh_token() -> String {
    uuid::Uuid::new_v4().to_string()
}

async fn create(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    refuse_absent(&input, &["AddReplicaRegions", "Type"])?;
    check_key(&mut input)?;
    let name = input.required_text("Name", &Rule::length(1..=512))?;
    let id = input.text("ClientRequestToken", &TOKEN)?.unwrap_or_else(fresh_token);
    let description = input.text("Description", &DESCRIPTION)?;
    let value = given_value(&mut input)?;
    let tags = given_tags(&mut input)?.unwrap_or_default();
    input.finish()?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@!-".contains(&byte)) {
        return Err(ApiError::bad_request(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    let now = Timestamp::now();
    let suffix = password::pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 6);
    let secret = Secret { suffix, description, created_at: now, changed_at: now, deleted: None, tags };
    let put = value.map(|(value, is_binary)| Put {
        id: id.clone(),
        value,
        is_binary,
        stages: vec![updraft_node::secrets::CURRENT.to_owned()],
        at: now,
    });
    let has_value = put.is_some();
    let created = scope.node.secrets().create(scope.account().clone(), name.clone(), secret, put).await;
    let created = created.map_err(|error| match error {
        ChangeError::Exists => ApiError::bad_request(
            "ResourceExistsException",
            format!("The operation failed because the secret {name} already exists."),
        ),
        ChangeError::Deleted => invalid_request(
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ),
        other => unchanged(other),
    })?;
    let mut output = json!({ "ARN": arn(scope, &name, &created.secret), "Name": name });
    if has_value {
        output["VersionId"] = json!(id);
    }
    Ok(answer(&output))
}

/// There is one key, the platform's own.
fn check_key(input: &mut Input) -> Result<(), ApiError> {
    match input.text("KmsKeyId", &Rule::length(0..=2048))? {
        Some(key) if !key.is_empty() && key != "alias/aws/secretsmanager" => {
            Err(ApiError::not_implemented("A KmsKeyId other than alias/aws/secretsmanager"))
        }
        _ => Ok(()),
    }
}

/// What is said about a secret, in a list and alone.
fn about(scope: &Scope<'_>, name: &str, record: &Record, stages_member: &str) -> Value {
    let Secret { description, created_at, changed_at, deleted, tags, .. } = &record.secret;
    let tags: Vec<_> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let staged = record.versions.iter().filter(|(_, version)| !version.stages.is_empty());
    let stages: Map<String, Value> = staged.map(|(id, version)| (id.clone(), json!(version.stages))).collect();
    let mut view = json!({
        "ARN": arn(scope, name, &record.secret),
        "Name": name,
        "CreatedDate": seconds(*created_at),
        "LastChangedDate": seconds(*changed_at),
        "Tags": tags,
        stages_member: stages,
    });
    if let Some(description) = description {
        view["Description"] = json!(description);
    }
    if let Some([deleted_at, _]) = deleted {
        view["DeletedDate"] = json!(seconds(*deleted_at));
    }
    view
}

async fn describe(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    input.finish()?;
    let (name, record) = find(scope, &id).await?;
    Ok(answer(&about(scope, &name, &record, "VersionIdsToStages")))
}

async fn delete(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    let window_days = input.number("RecoveryWindowInDays", i64::MIN..=i64::MAX)?;
    let is_forced = input.flag("ForceDeleteWithoutRecovery")?.unwrap_or(false);
    input.finish()?;
    if is_forced && window_days.is_some() {
        return Err(invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    let window_days = window_days.unwrap_or(30);
    if !(7..=30).contains(&window_days) {
        return Err(invalid_parameter("RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
    }
    let now = Timestamp::now();
    let (name, record) = find(scope, &id).await?;
    let arn = arn(scope, &name, &record.secret);
    let account = scope.account().clone();
    let gone_at = if is_forced {
        scope.node.secrets().remove(account, name.clone(), now).await.map_err(unchanged)?;
        now
    } else {
        let gone_at = Timestamp::from_ms(now.as_ms() + window_days.unsigned_abs() * DAY_MS);
        let mark = move |secret: &mut Secret| match secret.deleted.replace([now, gone_at]) {
            None => Ok(()),
            Some(_) => Err(ChangeError::Deleted),
        };
        scope.node.secrets().update(account, name.clone(), now, mark).await.map_err(unchanged)?;
        gone_at
    };
    Ok(answer(&json!({ "ARN": arn, "Name": name, "DeletionDate": seconds(gone_at) })))
}

async fn restore(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    input.finish()?;
    let (name, record) = find(scope, &id).await?;
    change(scope, &name, |secret| {
        secret.deleted = None;
        Ok(())
    })
    .await?;
    Ok(answer(&json!({ "ARN": arn(scope, &name, &record.secret), "Name": name })))
}

async fn change(
    scope: &Scope<'_>,
    name: &str,
    update: impl FnOnce(&mut Secret) -> Result<(), ChangeError> + Send + 'static,
) -> Result<Record, ApiError> {
    let (account, now) = (scope.account().clone(), Timestamp::now());
    scope.node.secrets().update(account, name.to_owned(), now, update).await.map_err(unchanged)
}

async fn tag(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    let tags = given_tags(&mut input)?;
    if tags.is_none() {
        input.missing("Tags");
    }
    input.finish()?;
    let _annotating = scope.annotating.lock().await;
    let (name, record) = find_live(scope, &id).await?;
    let tags = tags.unwrap_or_default();
    check_tags(&record.secret.tags, &tags)?;
    change(scope, &name, |secret| {
        secret.tags.extend(tags);
        if secret.tags.len() > TAGS_MAX { Err(ChangeError::TooMany) } else { Ok(()) }
    })
    .await
    .map_err(|error| match error {
        error if error == unchanged(ChangeError::TooMany) => {
            invalid_parameter(format!("A secret has at most {TAGS_MAX} tags."))
        }
        other => other,
    })?;
    Ok(aws_json::nothing())
}

async fn untag(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let id = input.required_text("SecretId", &ID)?;
    let keys = input.texts("TagKeys", 0..=TAGS_MAX, &Rule::length(1..=128))?;
    if keys.is_none() {
        input.missing("TagKeys");
    }
    input.finish()?;
    let (name, _) = find_live(scope, &id).await?;
    change(scope, &name, |secret| {
        keys.into_iter().flatten().for_each(|key| drop(secret.tags.remove(&key)));
        Ok(())
    })
    .await?;
    Ok(aws_json::nothing())
}
