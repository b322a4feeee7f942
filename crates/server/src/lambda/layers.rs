//! Layers: PublishLayerVersion, GetLayerVersion, GetLayerVersionByArn, ListLayerVersions, ListLayers,
//! DeleteLayerVersion, and the layers that functions name. Their policies are [`super::layer_policy`].
//!
//! Shapes, orders and texts are those of AWS's recorded responses.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Response, StatusCode, request::Parts};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use updraft_node::layers::{Draft, Error as LayerError, Filter};
use updraft_types::{
    AccountId, Body, LayerName, LayerVersionId, Region, Timestamp,
    function::Architecture,
    layer::{LayerUse, LayerVersion, may_use_layer},
    limits::LAYERS_MAX,
};

use super::{
    authorize,
    layer_name::{self, VERSION_ARN, VersionArn},
    members::{Blob, refuse_asking},
    query::Query,
    read::host,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

/// Entries on one page of a list, as Lambda serves them.
const PAGE_MAX: u32 = 50;
/// Most runtimes that a version is said to be for, and most architectures.
const RUNTIMES_MAX: usize = 15;
const ARCHITECTURES_MAX: usize = 2;
const ARCHITECTURES: [&str; 2] = ["x86_64", "arm64"];

/// The service model's runtimes (botocore 1.44.5), and this platform's own.
const RUNTIMES: [&str; 54] = [
    "nodejs",
    "nodejs4.3",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "java8",
    "java8.al2",
    "java11",
    "java17",
    "java21",
    "java25",
    "python2.7",
    "python3.6",
    "python3.7",
    "python3.8",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "nodejs4.3-edge",
    "go1.x",
    "ruby2.5",
    "ruby2.7",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "provided",
    "provided.al2",
    "provided.al2023",
    "nodejs26.x",
    "python3.15",
    "java8.al2023",
    "java11.al2023",
    "java17.al2023",
    "custom",
    "wasm",
    "web",
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    content: Option<Content>,
    description: Option<String>,
    license_info: Option<String>,
    compatible_runtimes: Option<Vec<String>>,
    compatible_architectures: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Content {
    zip_file: Option<Blob>,
    s3_bucket: Value,
    s3_key: Value,
    s3_object_version: Value,
    s3_object_storage_mode: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VersionView<'a> {
    content: ContentView<'a>,
    layer_arn: String,
    #[serde(flatten)]
    listed: ListedView<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContentView<'a> {
    location: String,
    code_sha256: &'a str,
    code_size: u64,
}

/// A version as lists show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedView<'a> {
    layer_version_arn: String,
    description: &'a str,
    created_date: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    compatible_runtimes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compatible_architectures: Option<&'a [Architecture]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_info: Option<&'a str>,
}

fn listed<'a>(version: &'a LayerVersion, region: &Region) -> ListedView<'a> {
    ListedView {
        layer_version_arn: version.id.arn(region),
        description: &version.description,
        created_date: version.created_at.to_lambda_text(),
        version: version.id.version,
        compatible_runtimes: version.runtimes.as_deref(),
        compatible_architectures: version.architectures.as_deref(),
        license_info: version.license.as_deref(),
    }
}

fn shown(scope: &Scope<'_>, head: &Parts, status: StatusCode, version: &LayerVersion) -> Response<Body> {
    let region = scope.node.region();
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (arn, sha256) = (encoded(&version.id.arn(region)), encoded(&version.code.sha256));
    let target = format!("/_updraft/v1/layers/{arn}?sha256={sha256}");
    let link = scope.links.make(scope.account(), &target, Timestamp::now());
    let view = VersionView {
        content: ContentView {
            location: format!("{}://{}{link}", scope.scheme, host(scope, head)),
            code_sha256: &version.code.sha256,
            code_size: version.code.size_bytes,
        },
        layer_arn: version.id.layer.arn(region),
        listed: listed(version, region),
    };
    respond::json(status, &view)
}

/// PublishLayerVersion.
pub(super) async fn publish(
    scope: &Scope<'_>,
    segment: &str,
    head: &Parts,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let layer = layer_name::layer(scope, segment)?;
    let request: Request = read_json(body).await?;
    let mut violations = Violations::default();
    violations.required("content", request.content.as_ref());
    if let Some(description) = &request.description {
        violations.length_max("description", description, 256);
    }
    if let Some(license) = &request.license_info {
        violations.length_max("licenseInfo", license, 512);
    }
    if let Some(runtimes) = &request.compatible_runtimes {
        violations.entries_max("compatibleRuntimes", runtimes, RUNTIMES_MAX);
        if !runtimes.iter().all(|runtime| RUNTIMES.contains(&runtime.as_str())) {
            let constraint = format!("Member must satisfy enum value set: [{}]", RUNTIMES.join(", "));
            violations.list("compatibleRuntimes", runtimes, &constraint);
        }
    }
    if let Some(architectures) = &request.compatible_architectures {
        violations.entries_max("compatibleArchitectures", architectures, ARCHITECTURES_MAX);
        if !architectures.iter().all(|architecture| ARCHITECTURES.contains(&architecture.as_str())) {
            let constraint = format!(
                "Member must satisfy constraint: [Member must satisfy enum value set: [{}], Member must not be null]",
                ARCHITECTURES.join(", ")
            );
            violations.list("compatibleArchitectures", architectures, &constraint);
        }
    }
    violations.check()?;
    let arn = layer.arn(scope.node.region());
    if layer.account != *scope.account() {
        return Err(Error::layer_denied(&scope.caller.arn(), "lambda:PublishLayerVersion", &arn));
    }
    let content = request.content.unwrap_or_default();
    refuse_asking(&[
        ("Content.S3Bucket", &content.s3_bucket),
        ("Content.S3Key", &content.s3_key),
        ("Content.S3ObjectVersion", &content.s3_object_version),
        ("Content.S3ObjectStorageMode", &content.s3_object_storage_mode),
    ])?;
    let Some(Blob(zip)) = content.zip_file else {
        return Err(Error::invalid_parameter("Please provide a source for your layer's content."));
    };
    let architectures = request.compatible_architectures;
    let draft = Draft {
        layer,
        description: request.description.unwrap_or_default(),
        license: request.license_info,
        runtimes: request.compatible_runtimes,
        architectures: architectures.map(|names| names.iter().map(|name| architecture(name)).collect()),
    };
    let published = scope.node.publish_layer(draft, zip).await.map_err(|error| Error::layer(error, &arn, ""))?;
    Ok(shown(scope, head, StatusCode::CREATED, &published))
}

fn architecture(name: &str) -> Architecture {
    if name == "arm64" { Architecture::Arm64 } else { Architecture::X86_64 }
}

/// A version that the caller may read. Another account's that it may not is denied, whether it is there or not.
async fn find(scope: &Scope<'_>, id: LayerVersionId) -> Result<LayerVersion, Error> {
    let arn = id.arn(scope.node.region());
    let is_own = id.layer.account == *scope.account();
    match scope.node.layer_version(scope.account(), id).await {
        Ok((version, _)) => Ok(version),
        Err(LayerError::NotFound) if is_own => Err(Error::resource_does_not_exist()),
        Err(LayerError::NotFound) => Err(Error::layer_denied(&scope.caller.arn(), "lambda:GetLayerVersion", &arn)),
        Err(error) => Err(Error::layer(error, &arn, "")),
    }
}

/// GetLayerVersion.
pub(super) async fn get(scope: &Scope<'_>, layer: &str, version: &str, head: &Parts) -> Result<Response<Body>, Error> {
    let version = find(scope, layer_name::version(scope, layer, version)?).await?;
    Ok(shown(scope, head, StatusCode::OK, &version))
}

/// GetLayerVersionByArn.
pub(super) async fn get_by_arn(scope: &Scope<'_>, query: &Query<'_>, head: &Parts) -> Result<Response<Body>, Error> {
    let arn = query.get("Arn");
    let mut violations = Violations::default();
    violations.required("arn", arn.as_ref());
    let arn = arn.unwrap_or_default();
    let parsed = layer_name::version_arn(&arn);
    if !arn.is_empty() {
        violations.pattern("arn", &arn, parsed.is_some(), VERSION_ARN);
    }
    violations.check()?;
    match parsed {
        Some(VersionArn::Published { region, id }) if region == scope.node.region().as_str() => {
            let version = find(scope, id).await?;
            Ok(shown(scope, head, StatusCode::OK, &version))
        }
        _ => Err(Error::resource_does_not_exist()),
    }
}

/// The zip of a version, by its ARN: what `Content.Location` leads to. `sha256` has to be that of the zip.
pub(crate) async fn read_code(scope: &Scope<'_>, segment: &str, sha256: Option<&str>) -> Result<bytes::Bytes, Error> {
    let arn = super::name::decoded(segment);
    let Some(VersionArn::Published { id, .. }) = layer_name::version_arn(&arn) else {
        return Err(Error::resource_does_not_exist());
    };
    let version = find(scope, id).await?;
    if sha256 != Some(version.code.sha256.as_str()) {
        return Err(Error::resource_does_not_exist());
    }
    scope.node.read_code(&version.code).await.map_err(|error| Error::change(error, "", &arn))
}

/// `MaxItems`, `CompatibleRuntime` and `CompatibleArchitecture`.
fn page(query: &Query<'_>) -> Result<(usize, Filter), Error> {
    let mut violations = Violations::default();
    let count = match query.get("MaxItems") {
        None => PAGE_MAX,
        Some(text) => {
            let number: i64 = text.parse().map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                Error::serialization(format!("MaxItems is not a number: {shown:?}"))
            })?;
            violations.range("maxItems", number, 1..=PAGE_MAX);
            u32::try_from(number).unwrap_or(PAGE_MAX)
        }
    };
    let runtime = query.get("CompatibleRuntime");
    if let Some(runtime) = &runtime {
        violations.one_of("compatibleRuntime", runtime, &RUNTIMES);
    }
    let asked = query.get("CompatibleArchitecture");
    if let Some(asked) = &asked {
        violations.one_of("compatibleArchitecture", asked, &ARCHITECTURES);
    }
    violations.check()?;
    let filter = Filter { runtime, architecture: asked.map(|name| architecture(&name)) };
    Ok((count as usize, filter))
}

/// What a marker that we made stands for.
fn marked<T: std::str::FromStr>(query: &Query<'_>) -> Result<Option<T>, Error> {
    let Some(marker) = query.get("Marker").filter(|marker| !marker.is_empty()) else { return Ok(None) };
    let text = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text.and_then(|text| text.parse().ok()) {
        Some(place) => Ok(Some(place)),
        None => Err(Error::invalid_parameter("The Marker is not one that a list has returned.")),
    }
}

/// Cuts a page off what was found, which is one more where there are further ones; `place` says where the page ends.
fn cut(found: &mut Vec<LayerVersion>, count: usize, place: impl Fn(&LayerVersion) -> String) -> Option<String> {
    if found.len() <= count {
        return None;
    }
    found.truncate(count);
    found.last().map(|last| URL_SAFE_NO_PAD.encode(place(last)))
}

/// A list, with a marker where it goes on.
fn list_of<T: Serialize>(name: &str, entries: &[T], next: Option<String>) -> Response<Body> {
    let view = match next {
        Some(marker) => json!({ name: entries, "NextMarker": marker }),
        None => json!({ name: entries }),
    };
    respond::json(StatusCode::OK, &view)
}

/// ListLayerVersions: the newest first. A layer that is not there has none.
pub(super) async fn list_versions(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
) -> Result<Response<Body>, Error> {
    let layer = layer_name::layer(scope, segment)?;
    let (count, filter) = page(query)?;
    let before = marked(query)?;
    let region = scope.node.region();
    let arn = layer.arn(region);
    if layer.account != *scope.account() {
        return Err(Error::layer_denied(&scope.caller.arn(), "lambda:ListLayerVersions", &arn));
    }
    let found = scope.node.layer_versions(layer, before, count + 1, filter).await;
    let mut found = found.map_err(|error| Error::layer(error, &arn, ""))?;
    let next = cut(&mut found, count, |last| last.id.version.to_string());
    let views: Vec<_> = found.iter().map(|version| listed(version, region)).collect();
    Ok(list_of("LayerVersions", &views, next))
}

/// ListLayers: by name, each with its newest version that matches.
pub(super) async fn list(scope: &Scope<'_>, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let (count, filter) = page(query)?;
    let after: Option<LayerName> = marked(query)?;
    let found = scope.node.layers(scope.account().clone(), after, count + 1, filter).await;
    let mut found = found.map_err(|error| Error::layer(error, "", ""))?;
    let next = cut(&mut found, count, |last| last.id.layer.name.to_string());
    let region = scope.node.region();
    let view = |version: &LayerVersion| {
        json!({
            "LayerName": version.id.layer.name,
            "LayerArn": version.id.layer.arn(region),
            "LatestMatchingVersion": listed(version, region),
        })
    };
    let views: Vec<Value> = found.iter().map(view).collect();
    Ok(list_of("Layers", &views, next))
}

/// DeleteLayerVersion. One that is not there is deleted already.
pub(super) async fn delete(scope: &Scope<'_>, layer: &str, version: &str) -> Result<Response<Body>, Error> {
    let id = layer_name::version(scope, layer, version)?;
    let arn = id.arn(scope.node.region());
    if id.layer.account != *scope.account() {
        return Err(Error::layer_denied(&scope.caller.arn(), "lambda:DeleteLayerVersion", &arn));
    }
    scope.node.delete_layer_version(id).await.map_err(|error| Error::layer(error, &arn, ""))?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// Adds what breaks the constraints of a function's `Layers`.
pub(super) fn violations(arns: &[String], violations: &mut Violations) {
    if !arns.iter().all(|arn| arn.len() <= 2048 && layer_name::version_arn(arn).is_some()) {
        let constraint = format!(
            "Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must have \
             length greater than or equal to 1, Member must satisfy regular expression pattern: {VERSION_ARN}, Member \
             must not be null]"
        );
        violations.list("layers", arns, &constraint);
    }
}

/// The layers that a function of account `owner` is to have, as it will have them. Its account has to be let in to them, and
/// so has the caller's: whoever may change another account's function may not read that account's layers through it.
pub(super) async fn resolve(scope: &Scope<'_>, owner: &AccountId, arns: &[String]) -> Result<Vec<LayerUse>, Error> {
    if arns.len() > LAYERS_MAX {
        return Err(Error::invalid_parameter(format!("Cannot reference more than {LAYERS_MAX} layers.")));
    }
    let ours = scope.node.region();
    let does_not_exist = |arn: &str| Error::invalid_parameter(format!("Layer version {arn} does not exist."));
    let mut ids: Vec<LayerVersionId> = Vec::with_capacity(arns.len());
    for arn in arns {
        match layer_name::version_arn(arn) {
            Some(VersionArn::Published { region, .. }) if region != ours.as_str() => {
                return Err(Error::invalid_parameter(format!(
                    "Layers are not in the same region as the function. Layers are expected to be in region {ours}."
                )));
            }
            Some(VersionArn::Published { id, .. }) => ids.push(id),
            Some(VersionArn::Nobodys) | None => return Err(does_not_exist(arn)),
        }
    }
    for (index, id) in ids.iter().enumerate() {
        if let Some(earlier) = ids[..index].iter().find(|earlier| earlier.layer == id.layer) {
            return Err(Error::invalid_parameter(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. {} and \
                 {} are versions of the same layer.",
                earlier.arn(ours),
                id.arn(ours)
            )));
        }
    }
    let mut uses = Vec::with_capacity(ids.len());
    for id in ids {
        let (arn, is_own) = (id.arn(ours), id.layer.account == *scope.account());
        authorize::read_layer(scope, &arn)?;
        let denied = || Error::layer_denied(&scope.caller.arn(), "lambda:GetLayerVersion", &arn);
        let version = match scope.node.layer_version(scope.account(), id).await {
            Ok((version, policy)) if may_use_layer(owner, &version.id.layer, &policy.statements) => version,
            Err(LayerError::NotFound) if is_own => return Err(does_not_exist(&arn)),
            Ok(_) | Err(LayerError::NotFound) => return Err(denied()),
            Err(error) => return Err(Error::layer(error, &arn, "")),
        };
        uses.push(version.into());
    }
    Ok(uses)
}
