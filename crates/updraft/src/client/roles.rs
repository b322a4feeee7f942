//! Roles for functions, at IAM: those that exist, and one to begin with.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Answer, Call, Client, Error};

/// The role of functions whose author names none. It may write their logs.
const BASIC: &str = "updraft-basic";
const BASIC_POLICY: &str = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

impl Client {
    /// A role's ARN: that of the role named, of [`BASIC`] where none is, which is made if it is not there.
    pub fn role(&self, named: Option<&str>) -> Result<String, Error> {
        match named {
            Some(arn) if arn.starts_with("arn:") => Ok(arn.to_owned()),
            Some(name) => self.role_arn(name),
            None => match self.role_arn(BASIC) {
                Err(error) if error.is_not_found() => self.create_basic_role(),
                other => other,
            },
        }
    }

    fn role_arn(&self, name: &str) -> Result<String, Error> {
        arn_of("GetRole", &self.iam("GetRole", &[("RoleName", name)])?)
    }

    fn create_basic_role(&self) -> Result<String, Error> {
        let description = "For functions deployed by updraft whose author names no role";
        let parameters = [("RoleName", BASIC), ("AssumeRolePolicyDocument", TRUST), ("Description", description)];
        let arn = match self.iam("CreateRole", &parameters) {
            Ok(made) => arn_of("CreateRole", &made)?,
            // Somebody else was quicker.
            Err(error) if error.is_conflict() => return self.role_arn(BASIC),
            Err(error) => return Err(error),
        };
        self.iam("AttachRolePolicy", &[("RoleName", BASIC), ("PolicyArn", BASIC_POLICY)])?;
        Ok(arn)
    }

    fn iam(&self, operation: &'static str, parameters: &[(&str, &str)]) -> Result<Answer, Error> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let parameters = parameters.iter().map(|(name, value)| format!("&{name}={}", encoded(value)));
        let form = format!("Action={operation}&Version=2010-05-08{}", parameters.collect::<String>());
        self.call(Call::query(operation, "iam", form.as_bytes()), &|_| ())
    }
}

fn arn_of(operation: &'static str, answer: &Answer) -> Result<String, Error> {
    let text = String::from_utf8_lossy(&answer.body);
    let arn = super::element(&text, "Arn").map(str::to_owned);
    arn.ok_or_else(|| Error::Malformed { operation, why: "there is no Arn in it".to_owned() })
}
