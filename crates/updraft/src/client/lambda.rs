//! Lambda's operations, as far as the command line uses them. Paths and shapes are those of the service model
//! (botocore 1.44.5, `lambda/2015-03-31`).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Call, Client, Error, segment};

/// Most pages of functions listed in one go, 50 functions each.
const PAGES_MAX: usize = 20_000;

/// What a function's configuration says, as far as it is shown or compared.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// The name.
    pub function_name: String,
    /// The ARN.
    pub function_arn: String,
    /// The runtime.
    pub runtime: String,
    /// The handler.
    pub handler: String,
    /// The role's ARN.
    pub role: String,
    /// Memory, MB.
    pub memory_size: u32,
    /// Timeout, seconds.
    pub timeout: u32,
    /// Size of the zip, bytes.
    pub code_size: u64,
    /// `Zip` or `Image`.
    pub package_type: String,
    /// SHA-256 of the zip, base64; or of the image's manifest, hexadecimal.
    pub code_sha256: String,
    /// When it last changed.
    pub last_modified: String,
    /// `Pending`, `Active` or `Failed`.
    pub state: String,
    /// Why it failed, or is pending.
    pub state_reason: Option<String>,
    /// `Successful`, `InProgress` or `Failed`.
    pub last_update_status: Option<String>,
    /// Why the last update failed.
    pub last_update_status_reason: Option<String>,
    /// The author's variables.
    pub environment: Environment,
}

/// `Environment` of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Environment {
    /// Names and values.
    pub variables: std::collections::BTreeMap<String, String>,
}

impl Summary {
    /// Reads a configuration as the API shows it.
    pub fn read(operation: &'static str, document: &Value) -> Result<Summary, Error> {
        Summary::deserialize(document).map_err(|error| Error::Malformed { operation, why: error.to_string() })
    }
}

/// What the author of a change should know, from `x-updraft-warning`.
pub type Warning = Option<String>;

/// How an invocation is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvocationType {
    /// Wait for the result.
    RequestResponse,
    /// Only have it accepted.
    Event,
}

/// What an invocation brought.
pub struct Invoked {
    /// `X-Amz-Function-Error`, when the function failed.
    pub function_error: Option<String>,
    /// `X-Amz-Executed-Version`.
    pub executed_version: Option<String>,
    /// HTTP status: 200, or 202 for an event.
    pub status: u16,
    /// The request id, by which the log tells calls apart.
    pub request_id: Option<String>,
    /// The end of the log, decoded.
    pub log_tail: Option<String>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What a public function URL needs in its function's policy, by the names that the Lambda console gives it
/// (source: Lambda developer guide, «Control access to Lambda function URLs»).
const PUBLIC_STATEMENTS: [&str; 2] = [
    r#"{"StatementId":"FunctionURLAllowPublicAccess","Action":"lambda:InvokeFunctionUrl","Principal":"*","FunctionUrlAuthType":"NONE"}"#,
    r#"{"StatementId":"FunctionURLInvokeAllowPublicAccess","Action":"lambda:InvokeFunction","Principal":"*","InvokedViaFunctionUrl":true}"#,
];

/// A function URL as it is.
pub struct FunctionUrl {
    /// By host name.
    pub url: String,
    /// Whether it asks for no signature.
    pub is_public: bool,
}

impl Client {
    fn function(name: &str, rest: &str) -> String {
        format!("/2015-03-31/functions/{}{rest}", segment(name))
    }

    fn url_path(name: &str) -> String {
        format!("/2021-10-31/functions/{}/url", segment(name))
    }

    fn plain(&self, operation: &'static str, method: Method, target: String) -> Result<Answer, Error> {
        self.call(Call::new(operation, method, target), &|_| ())
    }

    /// GetFunction: configuration, code location, tags.
    pub fn get_function(&self, name: &str) -> Result<Value, Error> {
        self.plain("GetFunction", Method::GET, Self::function(name, ""))?.json()
    }

    /// GetFunctionConfiguration.
    pub fn configuration(&self, name: &str) -> Result<Summary, Error> {
        let operation = "GetFunctionConfiguration";
        let answer = self.plain(operation, Method::GET, Self::function(name, "/configuration"))?;
        Summary::read(operation, &answer.json()?)
    }

    /// CreateFunction, with the parameters as the API takes them.
    pub fn create_function(&self, parameters: &Value, sent: &dyn Fn(u64)) -> Result<Warning, Error> {
        self.change("CreateFunction", Method::POST, "/2015-03-31/functions".to_owned(), parameters, sent)
    }

    /// UpdateFunctionCode with an inline zip.
    pub fn update_code(&self, name: &str, zip: &[u8], sent: &dyn Fn(u64)) -> Result<Warning, Error> {
        let parameters = json!({ "ZipFile": BASE64.encode(zip) });
        self.change("UpdateFunctionCode", Method::PUT, Self::function(name, "/code"), &parameters, sent)
    }

    /// UpdateFunctionCode with a container image.
    pub fn update_image(&self, name: &str, uri: &str) -> Result<Warning, Error> {
        let parameters = json!({ "ImageUri": uri });
        self.change("UpdateFunctionCode", Method::PUT, Self::function(name, "/code"), &parameters, &|_| ())
    }

    /// UpdateFunctionConfiguration.
    pub fn update_configuration(&self, name: &str, parameters: &Value) -> Result<Warning, Error> {
        let target = Self::function(name, "/configuration");
        self.change("UpdateFunctionConfiguration", Method::PUT, target, parameters, &|_| ())
    }

    fn change(
        &self,
        operation: &'static str,
        method: Method,
        target: String,
        parameters: &Value,
        sent: &dyn Fn(u64),
    ) -> Result<Warning, Error> {
        let body = parameters.to_string();
        let answer = self.call(Call::new(operation, method, target).json(body.as_bytes()), sent)?;
        Ok(answer.header("x-updraft-warning").map(str::to_owned))
    }

    /// DeleteFunction.
    pub fn delete_function(&self, name: &str) -> Result<(), Error> {
        self.plain("DeleteFunction", Method::DELETE, Self::function(name, "")).map(drop)
    }

    /// ListFunctions, all pages.
    pub fn list_functions(&self) -> Result<Vec<Value>, Error> {
        let operation = "ListFunctions";
        let (mut functions, mut marker) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let query = marker.map(|marker| format!("?Marker={}", segment(&marker))).unwrap_or_default();
            let mut page = self.plain(operation, Method::GET, format!("/2015-03-31/functions{query}"))?.json()?;
            let Value::Array(found) = page["Functions"].take() else {
                return Err(Error::Malformed { operation, why: "there is no list of Functions in it".to_owned() });
            };
            functions.extend(found);
            marker = page["NextMarker"].as_str().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(functions);
            }
        }
        Err(Error::Malformed { operation, why: format!("more than {PAGES_MAX} pages") })
    }

    /// Invoke. `tail` asks for the end of the log.
    pub fn invoke(&self, name: &str, payload: &[u8], how: InvocationType, tail: bool) -> Result<Invoked, Error> {
        let operation = "Invoke";
        let mut call = Call::new(operation, Method::POST, Self::function(name, "/invocations")).json(payload);
        let invocation_type = match how {
            InvocationType::RequestResponse => "RequestResponse",
            InvocationType::Event => "Event",
        };
        call.headers.push(("x-amz-invocation-type", invocation_type.to_owned()));
        if tail {
            call.headers.push(("x-amz-log-type", "Tail".to_owned()));
        }
        let answer = self.call(call, &|_| ())?;
        let log_tail = match answer.header("x-amz-log-result") {
            None => None,
            Some(text) => {
                let bytes = BASE64.decode(text);
                let bytes = bytes.map_err(|error| Error::Malformed { operation, why: error.to_string() })?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        Ok(Invoked {
            function_error: answer.header("x-amz-function-error").map(str::to_owned),
            executed_version: answer.header("x-amz-executed-version").map(str::to_owned),
            status: answer.status,
            request_id: answer.header("x-amzn-requestid").map(str::to_owned),
            log_tail,
            payload: answer.body,
        })
    }

    /// GetFunctionUrlConfig; `None` where the function has no URL.
    pub fn function_url(&self, name: &str) -> Result<Option<FunctionUrl>, Error> {
        let operation = "GetFunctionUrlConfig";
        match self.plain(operation, Method::GET, Self::url_path(name)) {
            Ok(answer) => url_of(operation, &answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// CreateFunctionUrlConfig, asking for no signature; see [`Client::allow_everybody`].
    pub fn create_function_url(&self, name: &str) -> Result<FunctionUrl, Error> {
        let operation = "CreateFunctionUrlConfig";
        let call = Call::new(operation, Method::POST, Self::url_path(name)).json(br#"{"AuthType":"NONE"}"#);
        url_of(operation, &self.call(call, &|_| ())?)
    }

    /// AddPermission for everybody who calls the function's URL, where that is not allowed already.
    pub fn allow_everybody(&self, name: &str) -> Result<(), Error> {
        PUBLIC_STATEMENTS.iter().try_for_each(|statement| {
            let call = Call::new("AddPermission", Method::POST, Self::function(name, "/policy"));
            match self.call(call.json(statement.as_bytes()), &|_| ()) {
                Err(error) if !error.is_conflict() => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// DeleteFunctionUrlConfig, and RemovePermission of what [`Client::allow_everybody`] added.
    pub fn delete_function_url(&self, name: &str) -> Result<(), Error> {
        self.plain("DeleteFunctionUrlConfig", Method::DELETE, Self::url_path(name))?;
        PUBLIC_STATEMENTS.iter().try_for_each(|statement| {
            let sid = serde_json::from_str::<Value>(statement).expect("it is written as JSON")["StatementId"].take();
            let target = Self::function(name, &format!("/policy/{}", sid.as_str().unwrap_or_default()));
            match self.plain("RemovePermission", Method::DELETE, target) {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            }
        })
    }
}

fn url_of(operation: &'static str, answer: &Answer) -> Result<FunctionUrl, Error> {
    let document = answer.json()?;
    let missing = || Error::Malformed { operation, why: "there is no FunctionUrl in it".to_owned() };
    let url = document["FunctionUrl"].as_str().map(str::to_owned).ok_or_else(missing)?;
    Ok(FunctionUrl { url, is_public: document["AuthType"] == "NONE" })
}
