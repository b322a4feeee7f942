//! Code signing configurations, of which there are none: nothing here checks a signature, and a configuration that promised it
//! would be a lie. CreateCodeSigningConfig is therefore not there (501), and the others answer what AWS answers in an account
//! that has none. Texts are AWS's recorded ones.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use updraft_types::Body;

use super::{
    name::{self, Pattern},
    query::Query,
    read::PAGE_MAX,
    read_json,
    validate::Violations,
};
use crate::{body::Held, error::Error, respond, scope::Scope};

const ARN_PATTERN: &str = r"arn:(aws[a-zA-Z-]*)?:lambda:[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:code-signing-config:csc-[a-z0-9]{17}";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PutRequest {
    code_signing_config_arn: Option<String>,
}

/// ListCodeSigningConfigs.
pub(super) fn list(query: &Query<'_>) -> Result<Response<Body>, Error> {
    query.page(PAGE_MAX)?;
    Ok(respond::json(StatusCode::OK, &json!({ "CodeSigningConfigs": [] })))
}

/// What Get-, Update- and DeleteCodeSigningConfig and ListFunctionsByCodeSigningConfig say of whichever is named.
pub(super) fn missing(segment: &str) -> Result<Response<Body>, Error> {
    let arn = name::decoded(segment);
    check(Some(&arn))?;
    Err(Error::no_code_signing(&arn))
}

/// GetFunctionCodeSigningConfig: none, which AWS answers with 200. Terraform asks after every create.
pub(super) fn get(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    let resolved = name::resolve(scope, segment, &Query::new(None), Pattern::Created)?;
    let function = resolved.find(scope).ok_or_else(|| Error::function_not_found(&resolved.arn(scope)))?;
    Ok(respond::json(StatusCode::OK, &json!({ "FunctionName": function.id.name })))
}

/// PutFunctionCodeSigningConfig.
pub(super) async fn put(body: &Held) -> Result<Response<Body>, Error> {
    let request: PutRequest = read_json(body).await?;
    check(request.code_signing_config_arn.as_ref())?;
    Err(Error::code_signing_not_found(&request.code_signing_config_arn.unwrap_or_default()))
}

/// DeleteFunctionCodeSigningConfig: a function without one stays so.
pub(super) fn delete(scope: &Scope<'_>, segment: &str) -> Result<Response<Body>, Error> {
    get(scope, segment)?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}

fn check(arn: Option<&String>) -> Result<(), Error> {
    let mut violations = Violations::default();
    violations.required("codeSigningConfigArn", arn);
    if let Some(arn) = arn {
        violations.pattern("codeSigningConfigArn", arn, is_arn(arn), ARN_PATTERN);
        violations.length_max("codeSigningConfigArn", arn, 200);
    }
    violations.check()
}

fn is_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "lambda", region, account, "code-signing-config", id] = parts[..] else { return false };
    name::is_partition(partition)
        && region.parse::<updraft_types::Region>().is_ok()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && id.strip_prefix("csc-").is_some_and(|id| {
            id.len() == 17 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_told_from_other_texts() {
        let of = |id: &str| format!("arn:aws:lambda:us-east-1:111111111111:code-signing-config:{id}");
        assert!(is_arn(&of("csc-0123456789abcdefg")));
        for bad in [of("csc-0123456789abcdef"), of("0123456789abcdefg"), of("csc-0123456789ABCDEFG"), "arn".into()] {
            assert!(!is_arn(&bad), "{bad}");
        }
    }
}
