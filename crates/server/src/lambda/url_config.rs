//! Function URL configurations. Which fields each answer has is as AWS was recorded to give them.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use updraft_node::{aliases, catalog::UrlOwner, control::fresh_url_id};
use updraft_types::{
    Alias, Body, Timestamp,
    function::{Cors, FunctionUrl, InvokeMode, UrlAuth},
};

use super::{
    name::{self, Resolved},
    query::{self, Query},
    read::PAGE_MAX,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

/// Longest a preflight may be cached, seconds.
const MAX_AGE_S: u32 = 86_400;
/// Most entries of a list in `Cors`.
const LIST_ENTRIES_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    auth_type: Option<String>,
    cors: Option<CorsRequest>,
    invoke_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CorsRequest {
    allow_credentials: Option<bool>,
    allow_headers: Option<Vec<String>>,
    allow_methods: Option<Vec<String>>,
    allow_origins: Option<Vec<String>>,
    expose_headers: Option<Vec<String>>,
    max_age: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct View<'a> {
    auth_type: UrlAuth,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<&'a Cors>,
    creation_time: String,
    function_arn: String,
    function_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoke_mode: Option<InvokeMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified_time: Option<String>,
}

/// What a URL is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create,
    Update,
    Read,
}

/// What a request asks for, checked; what is `None` stays as it is.
struct Change {
    auth: Option<UrlAuth>,
    cors: Option<Cors>,
    invoke_mode: Option<InvokeMode>,
}

impl Request {
    fn into_change(self, is_new: bool) -> Result<Change, Error> {
        let mut violations = Violations::default();
        if is_new {
            violations.required("authType", self.auth_type.as_ref());
        }
        if let Some(auth) = &self.auth_type {
            violations.one_of("authType", auth, &["NONE", "AWS_IAM"]);
        }
        if let Some(mode) = &self.invoke_mode {
            violations.one_of("invokeMode", mode, &["RESPONSE_STREAM", "BUFFERED"]);
        }
        if let Some(cors) = &self.cors {
            cors.violations(&mut violations);
        }
        violations.check()?;
        Ok(Change {
            auth: self.auth_type.map(|auth| if auth == "AWS_IAM" { UrlAuth::AwsIam } else { UrlAuth::None }),
            cors: self.cors.map(CorsRequest::into_rules),
            invoke_mode: self.invoke_mode.map(|mode| match mode.as_str() {
                "RESPONSE_STREAM" => InvokeMode::ResponseStream,
                _ => InvokeMode::Buffered,
            }),
        })
    }
}

impl CorsRequest {
    fn violations(&self, violations: &mut Violations) {
        let lists = [
            ("cors.allowHeaders", &self.allow_headers, LIST_ENTRIES_MAX, 1024),
            ("cors.allowMethods", &self.allow_methods, 6, 6),
            ("cors.allowOrigins", &self.allow_origins, LIST_ENTRIES_MAX, 253),
            ("cors.exposeHeaders", &self.expose_headers, LIST_ENTRIES_MAX, 1024),
        ];
        for (member, list, entries_max, chars_max) in lists {
            let list = list.as_deref().unwrap_or_default();
            violations.entries_max(member, list, entries_max);
            for entry in list {
                violations.length_max(member, entry, chars_max);
                // These become header values.
                violations.pattern(member, entry, entry.chars().all(|char| char.is_ascii_graphic()), ".*");
                if member == "cors.allowOrigins" && entry.is_empty() {
                    violations.constraint(member, entry, "Member must have length greater than or equal to 1");
                }
            }
        }
        if let Some(max_age) = self.max_age {
            violations.range("cors.maxAge", max_age, 0..=MAX_AGE_S);
        }
    }

    fn into_rules(self) -> Cors {
        Cors {
            allow_credentials: self.allow_credentials,
            allow_headers: self.allow_headers,
            allow_methods: self.allow_methods,
            allow_origins: self.allow_origins,
            expose_headers: self.expose_headers,
            max_age: self.max_age.and_then(|max_age| u32::try_from(max_age).ok()),
        }
    }
}

/// What changes a URL tells the mode if somebody has said it; what reads it, the one that is in force.
fn view<'a>(scope: &Scope<'_>, owner: &UrlOwner, url: &'a FunctionUrl, asked: Asked) -> View<'a> {
    View {
        auth_type: url.auth,
        cors: url.cors.as_ref(),
        creation_time: url.created_at.to_rfc3339(),
        function_arn: owner.arn(scope.node.region()),
        function_url: format!("{}://{}{}:{}/", scope.scheme, url.url_id, scope.host_suffix, scope.address.port()),
        invoke_mode: if asked == Asked::Read { Some(url.invoke_mode()) } else { url.invoke_mode },
        last_modified_time: (asked != Asked::Create).then(|| url.modified_at.to_rfc3339()),
    }
}

/// The function, or the alias of it, that a URL is asked of.
fn owner(resolved: &Resolved, scope: &Scope<'_>) -> Option<UrlOwner> {
    match resolved.qualifier {
        None => resolved.find(scope).map(UrlOwner::Function),
        Some(_) => resolved.alias(scope).map(UrlOwner::Alias),
    }
}

/// CreateFunctionUrlConfig.
pub(super) async fn create(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let resolved = name::resolve_for_url(scope, segment, query)?;
    let request: Request = read_json(body).await?;
    let change = request.into_change(true)?;
    let _annotating = scope.annotating.lock().await;
    let owner = owner(&resolved, scope).ok_or_else(Error::function_does_not_exist)?;
    if owner.url().is_some() {
        return Err(Error::url_exists(&resolved.qualified_arn(scope)));
    }
    let now = Timestamp::now();
    let url = FunctionUrl {
        url_id: fresh_url_id(),
        auth: change.auth.unwrap_or(UrlAuth::AwsIam),
        invoke_mode: change.invoke_mode,
        cors: change.cors,
        created_at: now,
        modified_at: now,
    };
    set(scope, &resolved, &owner, Some(url.clone())).await?;
    Ok(respond::json(StatusCode::CREATED, &view(scope, &owner, &url, Asked::Create)))
}

/// GetFunctionUrlConfig.
pub(super) fn get(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve_for_url(scope, segment, query)?;
    let owner = owner(&resolved, scope).ok_or_else(Error::resource_does_not_exist)?;
    let url = owner.url().ok_or_else(Error::resource_does_not_exist)?;
    Ok(respond::json(StatusCode::OK, &view(scope, &owner, url, Asked::Read)))
}

/// UpdateFunctionUrlConfig. What is left out stays as it is.
pub(super) async fn update(
    scope: &Scope<'_>,
    segment: &str,
    query: &Query<'_>,
    body: &Held,
) -> Result<Response<Body>, Error> {
    let resolved = name::resolve_for_url(scope, segment, query)?;
    let request: Request = read_json(body).await?;
    let change = request.into_change(false)?;
    let _annotating = scope.annotating.lock().await;
    let owner = owner(&resolved, scope).ok_or_else(Error::function_does_not_exist)?;
    let mut url = owner.url().cloned().ok_or_else(Error::resource_does_not_exist)?;
    url.auth = change.auth.unwrap_or(url.auth);
    url.invoke_mode = change.invoke_mode.or(url.invoke_mode);
    url.cors = change.cors.or(url.cors);
    url.modified_at = Timestamp::now();
    set(scope, &resolved, &owner, Some(url.clone())).await?;
    Ok(respond::json(StatusCode::OK, &view(scope, &owner, &url, Asked::Update)))
}

/// DeleteFunctionUrlConfig.
pub(super) async fn delete(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve_for_url(scope, segment, query)?;
    let _annotating = scope.annotating.lock().await;
    let owner = owner(&resolved, scope).filter(|owner| owner.url().is_some());
    let owner = owner.ok_or_else(Error::resource_does_not_exist)?;
    set(scope, &resolved, &owner, None).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

/// ListFunctionUrlConfigs: the function's, then those of its aliases by name, in pages.
pub(super) fn list(scope: &Scope<'_>, segment: &str, query: &Query<'_>) -> Result<Response<Body>, Error> {
    let resolved = name::resolve_for_url(scope, segment, &Query::new(None))?;
    let count = query.page(PAGE_MAX)?;
    // A page ends at an alias, or, where the marker is a space, which sorts before every name, at the function.
    let after: Option<String> = query.marker()?;
    let function = resolved.find(scope).ok_or_else(Error::function_does_not_exist)?;
    let catalog = scope.node.catalog();
    let own = std::iter::once(UrlOwner::Function(function.clone())).filter(|_| after.is_none());
    let is_after = |alias: &&Arc<Alias>| after.as_ref().is_none_or(|after| alias.name.as_str() > after.as_str());
    let aliases = catalog.aliases(&function.id).filter(is_after).cloned().map(UrlOwner::Alias);
    let mut owners = own.chain(aliases).filter(|owner| owner.url().is_some());
    let page: Vec<UrlOwner> = owners.by_ref().take(count).collect();
    let next = page.last().filter(|_| owners.next().is_some()).map(|last| match last {
        UrlOwner::Function(_) => query::marker_of(&" "),
        UrlOwner::Alias(alias) => query::marker_of(&alias.name),
    });
    let shown = page.iter().filter_map(|owner| Some((owner, owner.url()?)));
    let views: Vec<_> = shown.map(|(owner, url)| view(scope, owner, url, Asked::Read)).collect();
    let view = match next {
        Some(marker) => json!({ "FunctionUrlConfigs": views, "NextMarker": marker }),
        None => json!({ "FunctionUrlConfigs": views }),
    };
    Ok(respond::json(StatusCode::OK, &view))
}

async fn set(scope: &Scope<'_>, resolved: &Resolved, owner: &UrlOwner, url: Option<FunctionUrl>) -> Result<(), Error> {
    let set = match owner {
        UrlOwner::Function(function) => scope.node.set_url(&function.id, url).await.map(drop),
        UrlOwner::Alias(alias) => match scope.node.set_alias_url(&alias.function, &alias.name, url).await {
            Ok(_) => Ok(()),
            Err(aliases::Error::Change(error)) => Err(error),
            // What is left can only be that the alias has gone.
            Err(_) => return Err(Error::resource_does_not_exist()),
        },
    };
    set.map_err(|error| Error::change(error, &resolved.name, &resolved.arn(scope)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, is_new: bool) -> Result<Change, Error> {
        serde_json::from_str::<Request>(text).unwrap().into_change(is_new)
    }

    #[test]
    fn requests_are_checked() {
        let asked = change(r#"{"AuthType":"NONE","InvokeMode":"RESPONSE_STREAM","Cors":{"MaxAge":5}}"#, true).unwrap();
        assert_eq!((asked.auth, asked.invoke_mode), (Some(UrlAuth::None), Some(InvokeMode::ResponseStream)));
        assert_eq!(asked.cors.unwrap().max_age, Some(5));
        assert!(change("{}", false).is_ok());
        for bad in [
            "{}",
            r#"{"AuthType":"x"}"#,
            r#"{"AuthType":"NONE","InvokeMode":"UNKNOWN"}"#,
            r#"{"AuthType":"NONE","Cors":{"AllowOrigins":[""]}}"#,
            r#"{"AuthType":"NONE","Cors":{"MaxAge":86401}}"#,
            r#"{"AuthType":"NONE","Cors":{"AllowMethods":["OPTIONSX"]}}"#,
            r#"{"AuthType":"NONE","Cors":{"AllowOrigins":["a\nb"]}}"#,
        ] {
            assert!(change(bad, true).is_err(), "{bad}");
        }
    }
}
