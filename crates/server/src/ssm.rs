//! SSM's Parameter Store: what functions fetch their configuration from.
//!
//! A parameter is named by its name or its ARN, a version of it by `NAME:NUMBER`. An ARN names one parameter: the store
//! takes a name without levels for the same with its slash and without. Labels, tags, policies and patterns are not part
//! of it: what asks for them is refused by name.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{Response, StatusCode, request::Parts};
use serde_json::{Value, json};
use updraft_node::parameters::{Error, Filter, Kind, Parameter, Put, PutError, Tier, Version};
use updraft_types::{Body, Timestamp};

use crate::{
    api_error::{ApiError, Protocol},
    aws_json::{self, Input, Rule, answer},
    body::Held,
    scope::Scope,
};

/// The largest request, bytes.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 10;

const NAME: Rule = Rule::length(1..=2048);
const TOKEN: Rule = Rule::length(1..=2048);
/// Levels of a hierarchy, at most.
const LEVELS_MAX: usize = 15;
const KINDS: [&str; 3] = ["String", "StringList", "SecureString"];

/// Answers one request.
pub(crate) async fn serve(scope: &Scope<'_>, head: &Parts, body: &Held) -> Result<Response<Body>, ApiError> {
    let operation = aws_json::operation(head, "AmazonSSM")?;
    let input = Input::read(body, "ValidationException")?;
    let resources: Vec<String> = match operation {
        "DescribeParameters" => Vec::new(),
        "GetParameters" | "DeleteParameters" => input.peek_all("Names").map(|name| resource(scope, name)).collect(),
        "GetParametersByPath" => input.peek("Path").map(|path| resource(scope, trimmed(path))).into_iter().collect(),
        _ => input.peek("Name").map(|name| resource(scope, name)).into_iter().collect(),
    };
    let action = format!("ssm:{operation}");
    let all = [String::from("*")];
    for resource in if resources.is_empty() { &all[..] } else { &resources[..] } {
        scope.authorize(&action, resource).map_err(|denied| ApiError::denied(&denied, Protocol::Json))?;
    }
    match operation {
        "PutParameter" => put(scope, input).await,
        "GetParameter" => get(scope, input).await,
        "GetParameters" => get_several(scope, input).await,
        "GetParametersByPath" => get_by_path(scope, input).await,
        "GetParameterHistory" => history(scope, input).await,
        "DeleteParameter" => delete(scope, input).await,
        "DeleteParameters" => delete_several(scope, input).await,
        "DescribeParameters" => describe(scope, input).await,
        other => Err(ApiError::not_implemented(&format!("SSM's {other}"))),
    }
}

/// `arn:aws:ssm:REGION:ACCOUNT:parameter/NAME`, where a name's own first slash counts.
fn arn(scope: &Scope<'_>, name: &str) -> String {
    if name.starts_with("arn:") {
        return name.to_owned();
    }
    let slash = if name.starts_with('/') { "" } else { "/" };
    format!("arn:aws:ssm:{}:{}:parameter{slash}{name}", scope.node.region(), scope.account())
}

/// The ARN that permission is asked for: the parameter's, whatever version of it is named.
fn resource(scope: &Scope<'_>, text: &str) -> String {
    match selected(scope, text) {
        Some((name, _)) => arn(scope, &name),
        None => text.to_owned(),
    }
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::bad_request("ValidationException", text)
}

fn not_found() -> ApiError {
    ApiError::bad_request("ParameterNotFound", "")
}

fn internal(error: Error) -> ApiError {
    match error {
        Error::Full => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "The disk is full"),
        other => ApiError::internal(&other.to_string()),
    }
}

/// The name in what a request calls a parameter, and what stands behind its last colon.
fn selected(scope: &Scope<'_>, text: &str) -> Option<(String, Option<String>)> {
    let rest = match text.strip_prefix("arn:") {
        Some(_) => {
            let rest = text.strip_prefix(&arn(scope, ""))?;
            // The ARN of a name without a hierarchy has a slash whether or not the name has.
            if rest.contains('/') { format!("/{rest}") } else { rest.to_owned() }
        }
        None => text.to_owned(),
    };
    Some(match rest.split_once(':') {
        Some((name, selector)) => (name.to_owned(), Some(selector.to_owned())),
        None => (rest, None),
    })
}

async fn find(scope: &Scope<'_>, text: &str) -> Result<Parameter, ApiError> {
    let (name, selector) = selected(scope, text).ok_or_else(not_found)?;
    let number =
        match &selector {
            None => None,
            Some(selector) => Some(selector.parse::<u64>().map_err(|_| {
                ApiError::not_implemented(&format!("Selecting a parameter by a label ({selector:.40})"))
            })?),
        };
    let parameters = scope.node.parameters();
    let found = parameters.get(scope.account().clone(), name.clone(), number).await.map_err(internal)?;
    match (found, number) {
        (Some(found), _) => Ok(found),
        (None, None) => Err(not_found()),
        (None, Some(number)) => {
            let exists = parameters.get(scope.account().clone(), name.clone(), None).await.map_err(internal)?.is_some();
            let text =
                format!("Systems Manager could not find version {number} of {name}. Verify the version and try again.");
            Err(if exists { ApiError::bad_request("ParameterVersionNotFound", text) } else { not_found() })
        }
    }
}

/// A parameter with its value: of a SecureString, unless decrypted, what is stored.
fn view(scope: &Scope<'_>, parameter: &Parameter, decrypts: bool) -> Result<Value, ApiError> {
    let mut view = about(scope, parameter);
    if let Some(members) = view.as_object_mut() {
        for name in ["Description", "Tier", "LastModifiedUser", "KeyId", "Policies"] {
            members.remove(name);
        }
    }
    view["Value"] = value(scope, parameter, decrypts)?;
    Ok(view)
}

fn value(scope: &Scope<'_>, parameter: &Parameter, decrypts: bool) -> Result<Value, ApiError> {
    if parameter.version.kind == Kind::SecureString && !decrypts {
        return Ok(json!(BASE64.encode(&parameter.value)));
    }
    scope.node.parameters().open(scope.account(), parameter).map(|text| json!(text)).map_err(internal)
}

/// What is said about a parameter.
fn about(scope: &Scope<'_>, parameter: &Parameter) -> Value {
    let Parameter { name, number, version, .. } = parameter;
    let mut view = json!({
        "Name": name,
        "ARN": arn(scope, name),
        "Type": version.kind,
        "Version": number,
        "LastModifiedDate": seconds(version.modified_at),
        "LastModifiedUser": version.modified_by,
        "DataType": version.data_type,
        "Tier": version.tier,
        "Policies": [],
    });
    if let Some(description) = &version.description {
        view["Description"] = json!(description);
    }
    if version.kind == Kind::SecureString {
        view["KeyId"] = json!("alias/aws/ssm");
    }
    view
}

/// A time as AWS JSON has it.
fn seconds(at: Timestamp) -> f64 {
    at.as_ms() as f64 / 1000.0
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    if name.len() > 1011 || !name.bytes().all(is_plain) || name.ends_with('/') || name.contains("//") {
        return Err(invalid(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of \
             sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the \
             following 3 symbols .-_",
        ));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if name.split('/').count() > LEVELS_MAX + 1 {
        let text = format!("A hierarchy can have a maximum of {LEVELS_MAX} levels.");
        return Err(ApiError::bad_request("HierarchyLevelLimitExceededException", text));
    }
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    if first.starts_with("aws") || first.starts_with("ssm") {
        return Err(ApiError::bad_request(
            "AccessDeniedException",
            "No access to reserved parameter name: names that begin with \"aws\" or \"ssm\" are AWS's own.",
        ));
    }
    Ok(())
}

async fn put(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let name = input.required_text("Name", &NAME)?;
    let value = input.required_text("Value", &Rule::length(1..=usize::MAX))?;
    let description = input.text("Description", &Rule::length(0..=1024))?;
    let kind = input.choice("Type", &KINDS)?;
    let tier = input.choice("Tier", &["Standard", "Advanced", "Intelligent-Tiering"])?;
    let data_type = input.choice("DataType", &["text"])?.unwrap_or_else(|| "text".to_owned());
    let overwrites = input.flag("Overwrite")?.unwrap_or(false);
    let key = input.text("KeyId", &Rule::length(1..=256))?;
    for (is_asked, what) in [
        (input.has("AllowedPattern"), "a parameter's AllowedPattern"),
        (input.has("Policies"), "a parameter's Policies"),
        (input.peek_count("Tags") > 0, "a parameter's Tags"),
        (key.is_some_and(|key| key != "alias/aws/ssm"), "a KeyId other than alias/aws/ssm"),
    ] {
        if is_asked {
            return Err(ApiError::not_implemented(what));
        }
    }
    input.finish()?;
    check_name(&name)?;
    let put = Put {
        name,
        value,
        kind: kind.as_deref().map(kind_of),
        // What a parameter of neither tier becomes is for the store to say: it knows what was there.
        tier: match tier.as_deref() {
            Some("Intelligent-Tiering") => None,
            Some("Advanced") => Some(Tier::Advanced),
            _ => Some(Tier::Standard),
        },
        description,
        data_type,
        overwrites,
        at: Timestamp::now(),
        by: scope.caller.arn(),
    };
    let (number, tier) = scope.node.parameters().put(scope.account().clone(), put).await.map_err(|error| match error {
        PutError::Exists => ApiError::bad_request(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        ),
        PutError::OtherKind => ApiError::bad_request(
            "HierarchyTypeMismatchException",
            "Parameter Store doesn't support changing a parameter type in a hierarchy. You must create a new, unique \
             parameter.",
        ),
        PutError::NoKind => invalid("A parameter type is required when you create a parameter."),
        PutError::TooLarge => invalid(
            "Standard tier parameters support a maximum parameter value of 4096 characters, advanced ones of 8192. To \
             create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.",
        ),
        PutError::TooMany => ApiError::bad_request(
            "ParameterLimitExceeded",
            "You have exceeded the number of parameters for this AWS account.",
        ),
        PutError::Full => internal(Error::Full),
        other => ApiError::internal(&other.to_string()),
    })?;
    Ok(answer(&json!({ "Version": number, "Tier": tier })))
}

fn kind_of(text: &str) -> Kind {
    match text {
        "SecureString" => Kind::SecureString,
        "StringList" => Kind::StringList,
        _ => Kind::String,
    }
}

async fn get(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let name = input.required_text("Name", &NAME)?;
    let decrypts = input.flag("WithDecryption")?.unwrap_or(false);
    input.finish()?;
    let found = find(scope, &name).await?;
    let mut view = view(scope, &found, decrypts)?;
    if let Some((_, Some(selector))) = selected(scope, &name) {
        view["Selector"] = json!(format!(":{selector}"));
    }
    Ok(answer(&json!({ "Parameter": view })))
}

async fn get_several(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let names = required_names(&mut input)?;
    let decrypts = input.flag("WithDecryption")?.unwrap_or(false);
    input.finish()?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match find(scope, &name).await {
            Ok(parameter) => found.push(view(scope, &parameter, decrypts)?),
            Err(error) if error.is_server_error() => return Err(error),
            Err(_) => missing.push(name),
        }
    }
    Ok(answer(&json!({ "Parameters": found, "InvalidParameters": missing })))
}

fn required_names(input: &mut Input) -> Result<Vec<String>, ApiError> {
    let names = input.texts("Names", 1..=10, &NAME)?;
    Ok(names.unwrap_or_else(|| {
        input.missing("Names");
        Vec::new()
    }))
}

/// How many are answered at once.
fn limit(input: &mut Input, most: i64) -> Result<usize, ApiError> {
    let limit = input.number("MaxResults", 1..=most)?.unwrap_or(most);
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// A path as permission is asked for it and as names begin with it: the slashes at its end say nothing.
fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

async fn get_by_path(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let path = input.required_text("Path", &NAME)?;
    let is_recursive = input.flag("Recursive")?.unwrap_or(false);
    let decrypts = input.flag("WithDecryption")?.unwrap_or(false);
    let filters = filters(&mut input)?;
    let limit = limit(&mut input, 10)?;
    let after = input.text("NextToken", &TOKEN)?.unwrap_or_default();
    input.finish()?;
    if !path.starts_with('/') {
        return Err(invalid("The parameter path must begin with a slash and may hold letters, numbers and .-_/"));
    }
    let prefix = format!("{}/", trimmed(&path));
    let below = prefix.clone();
    let filter: Filter = Arc::new(move |name, version| {
        let rest = name.strip_prefix(&below[..]).unwrap_or_default();
        (is_recursive || !rest.contains('/')) && filters(name, version)
    });
    let (found, token) = list(scope, prefix, after, filter, limit).await?;
    let views = found.iter().map(|parameter| view(scope, parameter, decrypts)).collect::<Result<Vec<_>, _>>()?;
    Ok(answer(&with_token(json!({ "Parameters": views }), token)))
}

async fn describe(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let filters = filters(&mut input)?;
    let limit = limit(&mut input, 50)?;
    let after = input.text("NextToken", &TOKEN)?.unwrap_or_default();
    if input.has("Filters") {
        return Err(ApiError::not_implemented("DescribeParameters with Filters (use ParameterFilters)"));
    }
    // Nothing is shared between accounts.
    let is_shared = input.flag("Shared")?.unwrap_or(false);
    input.finish()?;
    let filter: Filter = Arc::new(move |name, version| !is_shared && filters(name, version));
    let (found, token) = list(scope, String::new(), after, filter, limit).await?;
    let views: Vec<_> = found.iter().map(|parameter| about(scope, parameter)).collect();
    Ok(answer(&with_token(json!({ "Parameters": views }), token)))
}

/// A page, and where the next begins.
async fn list(
    scope: &Scope<'_>,
    prefix: String,
    after: String,
    filter: Filter,
    limit: usize,
) -> Result<(Vec<Parameter>, Option<String>), ApiError> {
    let parameters = scope.node.parameters();
    let mut found =
        parameters.list(scope.account().clone(), prefix, after, filter, limit + 1).await.map_err(internal)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let token = found.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok((found, token))
}

fn with_token(mut output: Value, token: Option<String>) -> Value {
    if let Some(token) = token {
        output["NextToken"] = json!(token);
    }
    output
}

/// `ParameterFilters`, all of which must let a parameter pass.
fn filters(input: &mut Input) -> Result<impl Fn(&str, &Version) -> bool + Send + Sync + use<>, ApiError> {
    let filters = input.structures("ParameterFilters", 0..=50, |filter| {
        let key = filter.required_text("Key", &Rule::length(1..=132))?;
        let option = filter.text("Option", &Rule::length(1..=10))?.unwrap_or_else(|| "Equals".to_owned());
        let values = filter.texts("Values", 1..=50, &Rule::length(1..=1024))?.unwrap_or_default();
        let options: &[&str] = match &key[..] {
            "Name" => &["Equals", "BeginsWith", "Contains"],
            "Path" => &["Equals", "OneLevel", "Recursive"],
            "Type" | "Tier" | "DataType" => &["Equals"],
            other => return Err(ApiError::not_implemented(&format!("ParameterFilters by {other:.40}"))),
        };
        if !options.contains(&&option[..]) {
            let text =
                format!("The following filter option is not valid: {option:.40}. Valid options include: {options:?}");
            return Err(ApiError::bad_request("InvalidFilterOption", text));
        }
        Ok((key, option, values))
    })?;
    let filters = filters.unwrap_or_default();
    Ok(move |name: &str, version: &Version| {
        filters.iter().all(|(key, option, values)| {
            values.iter().any(|wanted| match (&key[..], &option[..]) {
                ("Name", "BeginsWith") => name.starts_with(&wanted[..]),
                ("Name", "Contains") => name.contains(&wanted[..]),
                ("Name", _) => name == wanted,
                ("Path", option) => {
                    let below = name.strip_prefix(&format!("{}/", trimmed(wanted))[..]);
                    below.is_some_and(|rest| option == "Recursive" || !rest.contains('/'))
                }
                ("Type", _) => kind_of(wanted) == version.kind && KINDS.contains(&&wanted[..]),
                ("Tier", _) => (wanted == "Advanced") == (version.tier == Tier::Advanced),
                _ => *wanted == version.data_type,
            })
        })
    })
}

async fn history(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let name = input.required_text("Name", &NAME)?;
    let decrypts = input.flag("WithDecryption")?.unwrap_or(false);
    let limit = limit(&mut input, 50)?;
    let token = input.text("NextToken", &TOKEN)?;
    input.finish()?;
    let after = token.map_or(Ok(0), |token| token.parse::<u64>());
    let after = after.map_err(|_| ApiError::bad_request("InvalidNextToken", "The specified token isn't valid."))?;
    let (name, _) = selected(scope, &name).ok_or_else(not_found)?;
    let account = scope.account().clone();
    let found = scope.node.parameters().history(account, name, after, limit + 1).await.map_err(internal)?;
    if found.is_empty() && after == 0 {
        return Err(not_found());
    }
    let token = found.get(limit).map(|next| (next.number - 1).to_string());
    let mut views = Vec::new();
    for parameter in found.iter().take(limit) {
        let mut view = about(scope, parameter);
        view["Value"] = value(scope, parameter, decrypts)?;
        view["Labels"] = json!([]);
        views.push(view);
    }
    Ok(answer(&with_token(json!({ "Parameters": views }), token)))
}

async fn remove(scope: &Scope<'_>, name: &str) -> Result<bool, ApiError> {
    let Some((name, None)) = selected(scope, name) else { return Ok(false) };
    scope.node.parameters().delete(scope.account().clone(), name).await.map_err(internal)
}

async fn delete(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let name = input.required_text("Name", &NAME)?;
    input.finish()?;
    if remove(scope, &name).await? { Ok(answer(&json!({}))) } else { Err(not_found()) }
}

async fn delete_several(scope: &Scope<'_>, mut input: Input) -> Result<Response<Body>, ApiError> {
    let names = required_names(&mut input)?;
    input.finish()?;
    let (mut deleted, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        if remove(scope, &name).await? { deleted.push(name) } else { missing.push(name) }
    }
    Ok(answer(&json!({ "DeletedParameters": deleted, "InvalidParameters": missing })))
}
