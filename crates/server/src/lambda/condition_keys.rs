//! The condition keys that a request gives by its body, or by what it changes (source: the service authorization reference of
//! Lambda): `lambda:FunctionUrlAuthType`, `lambda:Layer`, `lambda:Principal`, and those of the tags that it brings or takes away.
//!
//! They are read as the operation itself reads them, and before it: a body that it could read otherwise is refused here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use updraft_types::{AliasName, Function, function::UrlAuth};

use super::{authorize, name, permissions, query::Query, read_json, tags as of_functions};
use crate::{
    body::Held,
    error::Error,
    scope::Scope,
    tags::{self, Keys},
};

const URL_AUTH: &str = "lambda:FunctionUrlAuthType";
const LAYER: &str = "lambda:Layer";
const PRINCIPAL: &str = "lambda:Principal";

/// What a request is about, as far as it is there and the caller's account's.
pub(super) struct Named<'a> {
    pub(super) function: Option<&'a Function>,
    pub(super) qualifier: Option<&'a str>,
}

/// The request itself.
pub(super) struct Request<'a> {
    pub(super) operation: &'static str,
    pub(super) parameters: &'a [&'a str],
    pub(super) query: &'a Query<'a>,
    pub(super) body: &'a Held,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Url {
    auth_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Layers {
    layers: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Permission {
    principal: Option<String>,
    function_url_auth_type: Option<String>,
}

/// The keys of one operation on a function.
pub(super) async fn of(scope: &Scope<'_>, named: &Named<'_>, request: &Request<'_>) -> Result<Keys, Error> {
    let Request { operation, parameters, query, body } = *request;
    let keys_of = |keys: Vec<(&str, String)>| keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(match operation {
        "CreateFunctionUrlConfig" | "UpdateFunctionUrlConfig" => {
            let Url { auth_type } = read_json(body).await?;
            // What an update leaves out stays as it is.
            let auth = auth_type.or_else(|| url_auth(scope, named).filter(|_| operation == "UpdateFunctionUrlConfig"));
            keys_of(auth.map(|auth| (URL_AUTH, auth)).into_iter().collect())
        }
        "UpdateFunctionConfiguration" => {
            let Layers { layers: asked } = read_json(body).await?;
            layers(scope, &asked.unwrap_or_default())
        }
        "AddPermission" => {
            let Permission { principal, function_url_auth_type } = read_json(body).await?;
            // One that is none is refused by the operation; whether it may be tried is asked all the same.
            let principals = principal.map(|text| match permissions::principal(&text) {
                Some(principal) => principals(&principal),
                None => vec![text],
            });
            let auth = function_url_auth_type.map(|auth| (URL_AUTH, auth));
            keys_of(principals.into_iter().flatten().map(|text| (PRINCIPAL, text)).chain(auth).collect())
        }
        "RemovePermission" => {
            let sid = name::decoded(parameters.get(1).copied().unwrap_or_default());
            let removed = removed(named, &sid).map(|principal| principals(&principal));
            keys_of(removed.into_iter().flatten().map(|text| (PRINCIPAL, text)).collect())
        }
        "TagResource" => {
            let of_functions::Request { tags } = read_json(body).await?;
            tagged(&tags.unwrap_or_default())
        }
        "UntagResource" => tags::taken_away(of_functions::keys(query).iter().map(String::as_str)),
        _ => Keys::new(),
    })
}

/// The tags that a function is to have.
pub(super) fn tagged(tags: &BTreeMap<String, String>) -> Keys {
    tags::brought(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// The layers that a function is to have, each written in the one way that means it.
pub(super) fn layers(scope: &Scope<'_>, arns: &[String]) -> Keys {
    let written = |arn: &String| authorize::layer_version(scope, arn).unwrap_or_else(|| arn.clone());
    arns.iter().map(|arn| (LAYER.to_owned(), written(arn))).collect()
}

/// The AuthType of the URL that is there.
fn url_auth(scope: &Scope<'_>, named: &Named<'_>) -> Option<String> {
    let function = named.function?;
    let auth = match named.qualifier {
        None => function.url.as_ref()?.auth,
        Some(qualifier) => {
            let alias: AliasName = qualifier.parse().ok()?;
            scope.node.catalog().alias(&function.id, &alias)?.url.as_ref()?.auth
        }
    };
    Some(match auth {
        UrlAuth::AwsIam => "AWS_IAM".to_owned(),
        UrlAuth::None => "NONE".to_owned(),
    })
}

/// Whom the statement names that is to be removed.
fn removed(named: &Named<'_>, sid: &str) -> Option<Value> {
    let policy = named.function?.policies.get(named.qualifier.unwrap_or_default())?;
    let statement = policy.statements.iter().find(|statement| statement.sid == sid)?;
    let mut statement: Value = serde_json::from_str(&statement.text).ok()?;
    Some(statement.get_mut("Principal")?.take())
}

/// Each principal of a statement as `lambda:Principal` has it: `*`, a service, an ARN, or an account by its number, however
/// the statement writes that.
fn principals(principal: &Value) -> Vec<String> {
    let number = |text: &str| {
        let account = text.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
        account.unwrap_or(text).to_owned()
    };
    match principal {
        Value::String(text) => vec![number(text)],
        Value::Array(several) => several.iter().flat_map(principals).collect(),
        Value::Object(kinds) => kinds.values().flat_map(principals).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_is_called_by_its_number() {
        let texts = |text: &str| principals(&permissions::principal(text).unwrap());
        for (text, expected) in [
            ("*", "*"),
            ("s3.amazonaws.com", "s3.amazonaws.com"),
            ("111122223333", "111122223333"),
            ("arn:aws:iam::111122223333:root", "111122223333"),
            ("arn:aws:iam::111122223333:user/ada", "arn:aws:iam::111122223333:user/ada"),
        ] {
            assert_eq!(texts(text), [expected], "{text}");
        }
        let several = json!({ "AWS": ["111122223333", "*"], "Service": "s3.amazonaws.com" });
        assert_eq!(principals(&several), ["111122223333", "*", "s3.amazonaws.com"]);
    }
}
