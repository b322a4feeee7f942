//! Every operation of Lambda's API (service model 2015-03-31 of botocore 1.44.5): how a request is told to be one, what it
//! acts on, and how far it is built. The router, authorization and docs/compatibility.md all read this one table.

use http::Method;

use self::Support::{Full, Missing, Partial};
use super::query::Query;

/// Most parameters in an operation's path.
const PARAMETERS_MAX: usize = 3;

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// As the service model has it.
    pub(super) name: &'static str,
    method: &'static str,
    /// `*` stands for any one segment.
    path: &'static str,
    /// A parameter that tells it from another of the same method and path.
    query: Option<(&'static str, &'static str)>,
    /// What it acts on.
    pub(super) on: On,
    support: Support,
}

/// What an operation acts on, and so the resource that a policy must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// The account: a policy names `*`.
    Account,
    /// The function that the path's first parameter names, as a whole: a qualifier beside it counts for nothing.
    Function,
    /// The function, version or alias that the path's first parameter names, with the query's `Qualifier`.
    Version,
    /// The function, version or alias that the path's first parameter names by its ARN; a query has no part in it.
    Arn,
    /// The function that the request's body names.
    Body,
    /// The layer that the path's first parameter names.
    Layer,
}

/// How far an operation is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// As AWS has it.
    Full,
    /// But for what is named.
    Partial(&'static str),
    /// Answered 501.
    Missing,
}

const fn of(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    query: Option<(&'static str, &'static str)>,
    on: On,
    support: Support,
) -> Operation {
    Operation { name, method, path, query, on, support }
}

/// All of them, by name.
#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    of("AddLayerVersionPermission", "POST", "2018-10-31/layers/*/versions/*/policy", None, On::Layer, Partial("a statement for an organization grants nothing: there are none")),
    of("AddPermission", "POST", "2015-03-31/functions/*/policy", None, On::Version, Full),
    of("CheckpointDurableExecution", "POST", "2025-12-01/durable-executions/*/checkpoint", None, On::Account, Missing),
    of("CreateAlias", "POST", "2015-03-31/functions/*/aliases", None, On::Function, Full),
    of("CreateCapacityProvider", "POST", "2025-11-30/capacity-providers", None, On::Account, Missing),
    of("CreateCodeSigningConfig", "POST", "2020-04-22/code-signing-configs", None, On::Account, Missing),
    of("CreateEventSourceMapping", "POST", "2015-03-31/event-source-mappings", None, On::Account, Missing),
    of("CreateFunction", "POST", "2015-03-31/functions", None, On::Body, Partial("code comes inline as a zip (no `S3Bucket`, no `SourceKMSKeyArn`) or as a container image; no `AcceleratorConfig`, `CapacityProviderConfig`, `CodeSigningConfigArn`, `DeadLetterConfig`, `DurableConfig`, `FileSystemConfigs`, `KMSKeyArn`, `PublishTo`, `RuntimeConfig`, `TenancyConfig`, `VpcConfig`")),
    of("CreateFunctionUrlConfig", "POST", "2021-10-31/functions/*/url", None, On::Version, Full),
    of("DeleteAlias", "DELETE", "2015-03-31/functions/*/aliases/*", None, On::Function, Full),
    of("DeleteCapacityProvider", "DELETE", "2025-11-30/capacity-providers/*", None, On::Account, Missing),
    of("DeleteCodeSigningConfig", "DELETE", "2020-04-22/code-signing-configs/*", None, On::Account, Partial("there are none")),
    of("DeleteDurableExecution", "DELETE", "2025-12-01/durable-executions/*", None, On::Account, Missing),
    of("DeleteEventSourceMapping", "DELETE", "2015-03-31/event-source-mappings/*", None, On::Account, Partial("there are none")),
    of("DeleteFunction", "DELETE", "2015-03-31/functions/*", None, On::Version, Full),
    of("DeleteFunctionCodeSigningConfig", "DELETE", "2020-06-30/functions/*/code-signing-config", None, On::Function, Partial("there are none")),
    of("DeleteFunctionConcurrency", "DELETE", "2017-10-31/functions/*/concurrency", None, On::Function, Full),
    of("DeleteFunctionEventInvokeConfig", "DELETE", "2019-09-25/functions/*/event-invoke-config", None, On::Version, Full),
    of("DeleteFunctionUrlConfig", "DELETE", "2021-10-31/functions/*/url", None, On::Version, Full),
    of("DeleteLayerVersion", "DELETE", "2018-10-31/layers/*/versions/*", None, On::Layer, Full),
    of("DeleteProvisionedConcurrencyConfig", "DELETE", "2019-09-30/functions/*/provisioned-concurrency", None, On::Version, Full),
    of("DeleteResourcePolicy", "DELETE", "2026-07-09/resource-policy/*", None, On::Arn, Full),
    of("GetAccountSettings", "GET", "2016-08-19/account-settings", None, On::Account, Full),
    of("GetAlias", "GET", "2015-03-31/functions/*/aliases/*", None, On::Function, Full),
    of("GetCapacityProvider", "GET", "2025-11-30/capacity-providers/*", None, On::Account, Missing),
    of("GetCodeSigningConfig", "GET", "2020-04-22/code-signing-configs/*", None, On::Account, Partial("there are none")),
    of("GetDurableExecution", "GET", "2025-12-01/durable-executions/*", None, On::Account, Missing),
    of("GetDurableExecutionHistory", "GET", "2025-12-01/durable-executions/*/history", None, On::Account, Missing),
    of("GetDurableExecutionState", "GET", "2025-12-01/durable-executions/*/state", None, On::Account, Missing),
    of("GetEventSourceMapping", "GET", "2015-03-31/event-source-mappings/*", None, On::Account, Partial("there are none")),
    of("GetFunction", "GET", "2015-03-31/functions/*", None, On::Version, Full),
    of("GetFunctionCodeSigningConfig", "GET", "2020-06-30/functions/*/code-signing-config", None, On::Function, Partial("there are none")),
    of("GetFunctionConcurrency", "GET", "2019-09-30/functions/*/concurrency", None, On::Function, Full),
    of("GetFunctionConfiguration", "GET", "2015-03-31/functions/*/configuration", None, On::Version, Full),
    of("GetFunctionEventInvokeConfig", "GET", "2019-09-25/functions/*/event-invoke-config", None, On::Version, Full),
    of("GetFunctionRecursionConfig", "GET", "2024-08-31/functions/*/recursion-config", None, On::Function, Full),
    of("GetFunctionScalingConfig", "GET", "2025-11-30/functions/*/function-scaling-config", None, On::Function, Missing),
    of("GetFunctionUrlConfig", "GET", "2021-10-31/functions/*/url", None, On::Version, Full),
    of("GetLayerVersion", "GET", "2018-10-31/layers/*/versions/*", None, On::Layer, Full),
    of("GetLayerVersionByArn", "GET", "2018-10-31/layers", Some(("find", "LayerVersion")), On::Layer, Full),
    of("GetLayerVersionPolicy", "GET", "2018-10-31/layers/*/versions/*/policy", None, On::Layer, Full),
    of("GetPolicy", "GET", "2015-03-31/functions/*/policy", None, On::Version, Full),
    of("GetProvisionedConcurrencyConfig", "GET", "2019-09-30/functions/*/provisioned-concurrency", None, On::Version, Full),
    of("GetResourcePolicy", "GET", "2026-07-09/resource-policy/*", None, On::Arn, Full),
    of("GetRuntimeManagementConfig", "GET", "2021-07-20/functions/*/runtime-management-config", None, On::Version, Full),
    of("Invoke", "POST", "2015-03-31/functions/*/invocations", None, On::Version, Partial("no `DurableExecutionName`, `TenantId`")),
    of("InvokeAsync", "POST", "2014-11-13/functions/*/invoke-async", None, On::Function, Full),
    of("InvokeWithResponseStream", "POST", "2021-11-15/functions/*/response-streaming-invocations", None, On::Version, Partial("no `TenantId`")),
    of("ListAliases", "GET", "2015-03-31/functions/*/aliases", None, On::Function, Full),
    of("ListCapacityProviders", "GET", "2025-11-30/capacity-providers", None, On::Account, Missing),
    of("ListCodeSigningConfigs", "GET", "2020-04-22/code-signing-configs", None, On::Account, Partial("there are none")),
    of("ListDurableExecutionsByFunction", "GET", "2025-12-01/functions/*/durable-executions", None, On::Function, Missing),
    of("ListEventSourceMappings", "GET", "2015-03-31/event-source-mappings", None, On::Account, Partial("there are none")),
    of("ListFunctionEventInvokeConfigs", "GET", "2019-09-25/functions/*/event-invoke-config/list", None, On::Function, Full),
    of("ListFunctionUrlConfigs", "GET", "2021-10-31/functions/*/urls", None, On::Function, Full),
    of("ListFunctionVersionsByCapacityProvider", "GET", "2025-11-30/capacity-providers/*/function-versions", None, On::Account, Missing),
    of("ListFunctions", "GET", "2015-03-31/functions", None, On::Account, Partial("no `MasterRegion`")),
    of("ListFunctionsByCodeSigningConfig", "GET", "2020-04-22/code-signing-configs/*/functions", None, On::Account, Partial("there are none")),
    of("ListLayerVersions", "GET", "2018-10-31/layers/*/versions", None, On::Layer, Full),
    of("ListLayers", "GET", "2018-10-31/layers", None, On::Account, Full),
    of("ListProvisionedConcurrencyConfigs", "GET", "2019-09-30/functions/*/provisioned-concurrency", Some(("List", "ALL")), On::Function, Full),
    of("ListTags", "GET", "2017-03-31/tags/*", None, On::Function, Partial("functions only")),
    of("ListVersionsByFunction", "GET", "2015-03-31/functions/*/versions", None, On::Function, Full),
    of("PauseDurableExecution", "POST", "2025-12-01/durable-executions/*/pause", None, On::Account, Missing),
    of("PublishLayerVersion", "POST", "2018-10-31/layers/*/versions", None, On::Layer, Partial("content comes inline as a zip (no `S3Bucket`)")),
    of("PublishVersion", "POST", "2015-03-31/functions/*/versions", None, On::Function, Partial("no `PublishTo`")),
    of("PutFunctionCodeSigningConfig", "PUT", "2020-06-30/functions/*/code-signing-config", None, On::Function, Partial("there are none")),
    of("PutFunctionConcurrency", "PUT", "2017-10-31/functions/*/concurrency", None, On::Function, Full),
    of("PutFunctionEventInvokeConfig", "PUT", "2019-09-25/functions/*/event-invoke-config", None, On::Version, Partial("destinations are functions of the same account: no queues, topics, buses, buckets or Kafka topics")),
    of("PutFunctionRecursionConfig", "PUT", "2024-08-31/functions/*/recursion-config", None, On::Function, Partial("loops that asynchronous events go round in are found; purely synchronous ones are not")),
    of("PutFunctionScalingConfig", "PUT", "2025-11-30/functions/*/function-scaling-config", None, On::Function, Missing),
    of("PutProvisionedConcurrencyConfig", "PUT", "2019-09-30/functions/*/provisioned-concurrency", None, On::Version, Full),
    of("PutResourcePolicy", "PUT", "2026-07-09/resource-policy/*", None, On::Arn, Partial("policies of Version 2012-10-17 only")),
    of("PutRuntimeManagementConfig", "PUT", "2021-07-20/functions/*/runtime-management-config", None, On::Version, Partial("the modes come to the same: interpreters are the host's. Manual pins to what the function runs on and to nothing else")),
    of("RemoveLayerVersionPermission", "DELETE", "2018-10-31/layers/*/versions/*/policy/*", None, On::Layer, Full),
    of("RemovePermission", "DELETE", "2015-03-31/functions/*/policy/*", None, On::Version, Full),
    of("ResumeDurableExecution", "POST", "2025-12-01/durable-executions/*/resume", None, On::Account, Missing),
    of("SendDurableExecutionCallbackFailure", "POST", "2025-12-01/durable-execution-callbacks/*/fail", None, On::Account, Missing),
    of("SendDurableExecutionCallbackHeartbeat", "POST", "2025-12-01/durable-execution-callbacks/*/heartbeat", None, On::Account, Missing),
    of("SendDurableExecutionCallbackSuccess", "POST", "2025-12-01/durable-execution-callbacks/*/succeed", None, On::Account, Missing),
    of("StopDurableExecution", "POST", "2025-12-01/durable-executions/*/stop", None, On::Account, Missing),
    of("TagResource", "POST", "2017-03-31/tags/*", None, On::Function, Partial("functions only")),
    of("UntagResource", "DELETE", "2017-03-31/tags/*", None, On::Function, Partial("functions only")),
    of("UpdateAlias", "PUT", "2015-03-31/functions/*/aliases/*", None, On::Function, Full),
    of("UpdateCapacityProvider", "PUT", "2025-11-30/capacity-providers/*", None, On::Account, Missing),
    of("UpdateCodeSigningConfig", "PUT", "2020-04-22/code-signing-configs/*", None, On::Account, Partial("there are none")),
    of("UpdateEventSourceMapping", "PUT", "2015-03-31/event-source-mappings/*", None, On::Account, Partial("there are none")),
    of("UpdateFunctionCode", "PUT", "2015-03-31/functions/*/code", None, On::Function, Partial("code comes inline as a zip (no `S3Bucket`, no `SourceKMSKeyArn`) or as a container image; `Architectures` cannot be changed; no `PublishTo`")),
    of("UpdateFunctionConfiguration", "PUT", "2015-03-31/functions/*/configuration", None, On::Function, Partial("no `AcceleratorConfig`, `CapacityProviderConfig`, `DeadLetterConfig`, `DurableConfig`, `FileSystemConfigs`, `KMSKeyArn`, `RuntimeConfig`, `VpcConfig`")),
    of("UpdateFunctionEventInvokeConfig", "POST", "2019-09-25/functions/*/event-invoke-config", None, On::Version, Partial("destinations are functions of the same account: no queues, topics, buses, buckets or Kafka topics")),
    of("UpdateFunctionUrlConfig", "PUT", "2021-10-31/functions/*/url", None, On::Version, Full),
];

/// A request's operation, with the raw segments that stand for its path's parameters.
pub(super) fn find<'a>(
    method: &Method,
    segments: &[&'a str],
    query: &Query<'_>,
) -> Option<(&'static Operation, [&'a str; PARAMETERS_MAX])> {
    let mut found = None;
    for operation in OPERATIONS.iter().filter(|operation| operation.method == method.as_str()) {
        let Some(parameters) = parameters(operation.path, segments) else { continue };
        match operation.query {
            Some((name, value)) if query.get(name).as_deref() == Some(value) => return Some((operation, parameters)),
            Some(_) => {}
            None => found = Some((operation, parameters)),
        }
    }
    found
}

fn parameters<'a>(path: &str, segments: &[&'a str]) -> Option<[&'a str; PARAMETERS_MAX]> {
    let (mut parameters, mut count) = ([""; PARAMETERS_MAX], 0);
    let mut pattern = path.split('/');
    for segment in segments {
        match pattern.next()? {
            "*" => {
                parameters[count] = segment;
                count += 1;
            }
            part if part == *segment => {}
            _ => return None,
        }
    }
    pattern.next().is_none().then_some(parameters)
}

impl Operation {
    /// Whether nothing of it is built.
    pub(super) fn is_missing(&self) -> bool {
        self.support == Missing
    }

    /// The action that a policy allows or denies (source: the service authorization reference of Lambda).
    pub(super) fn action(&self) -> String {
        let name = match self.name {
            "Invoke" | "InvokeAsync" | "InvokeWithResponseStream" => "InvokeFunction",
            "GetLayerVersionByArn" => "GetLayerVersion",
            name => name,
        };
        format!("lambda:{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(method: Method, path: &str, query: Option<&str>) -> Option<(&'static str, [String; PARAMETERS_MAX])> {
        let segments: Vec<&str> = path.split('/').collect();
        let (operation, parameters) = find(&method, &segments, &Query::new(query))?;
        Some((operation.name, parameters.map(str::to_owned)))
    }

    #[test]
    fn operations_are_found_by_method_and_path() {
        let name = |method: Method, path: &str, query: Option<&str>| named(method, path, query).map(|(name, _)| name);
        assert_eq!(name(Method::POST, "2015-03-31/functions/f/versions", None), Some("PublishVersion"));
        assert_eq!(
            name(Method::PUT, "2024-08-31/functions/f/recursion-config", None),
            Some("PutFunctionRecursionConfig")
        );
        assert_eq!(name(Method::PATCH, "2015-03-31/functions/f/versions", None), None);
        assert_eq!(name(Method::POST, "2015-03-31/functions/f/versions/x", None), None);
        assert_eq!(name(Method::POST, "2015-03-31/functions/f", None), None);
        assert_eq!(name(Method::GET, "", None), None);
    }

    #[test]
    fn a_query_tells_two_of_one_path_apart() {
        let name = |path: &str, query: Option<&str>| named(Method::GET, path, query).map(|(name, _)| name);
        let provisioned = "2019-09-30/functions/f/provisioned-concurrency";
        assert_eq!(name(provisioned, Some("Qualifier=1")), Some("GetProvisionedConcurrencyConfig"));
        assert_eq!(name(provisioned, Some("List=ALL")), Some("ListProvisionedConcurrencyConfigs"));
        assert_eq!(name("2018-10-31/layers", None), Some("ListLayers"));
        assert_eq!(name("2018-10-31/layers", Some("find=LayerVersion&Arn=x")), Some("GetLayerVersionByArn"));
    }

    #[test]
    fn parameters_come_raw_and_in_order() {
        let (name, parameters) =
            named(Method::DELETE, "2018-10-31/layers/l%3A/versions/2/policy/s", None).expect("it is an operation");
        assert_eq!((name, parameters), ("RemoveLayerVersionPermission", ["l%3A".into(), "2".into(), "s".into()]));
    }

    /// docs/compatibility.md is written from the table; `cargo xtask bless` writes it anew.
    #[test]
    fn the_page_of_operations_says_what_the_table_says() {
        let mut page = String::from(PAGE);
        let count = |is: fn(Support) -> bool| OPERATIONS.iter().filter(|operation| is(operation.support)).count();
        page += &format!(
            "Of {} operations {} are complete, {} in part, and {} are not there: those answer 501 and name themselves.\n\n",
            OPERATIONS.len(),
            count(|support| support == Full),
            count(|support| matches!(support, Partial(_))),
            count(|support| support == Missing),
        );
        page += "| operation | | what is missing |\n|---|---|---|\n";
        for operation in OPERATIONS {
            let (support, missing) = match operation.support {
                Full => ("full", ""),
                Partial(missing) => ("partial", missing),
                Missing => ("not there", ""),
            };
            page += &format!("| {} | {support} | {missing} |\n", operation.name);
        }
        page += &differences();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
        if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page, "`cargo xtask bless` writes the page anew");
    }

    const PAGE: &str = "# Compatibility with AWS Lambda\n\n\
        Written from the table in `crates/server/src/lambda/operations.rs`, after the service model of botocore 1.44.5. A\n\
        request member that is not supported and asks for something is refused with 400, never ignored.\n\n";

    const DIFFERENCES: &str = "\n## Where answers differ\n\n\
        Answers are compared field by field with recorded ones of AWS (`crates/updraft/tests/e2e/test_goldens.py`,\n\
        `test_recordings.py`), but for values that change from call to call, and:\n\n| member | why |\n|---|---|\n";

    /// What the comparison with recorded answers leaves out: members, steps, and whole recordings.
    fn differences() -> String {
        type Map<T> = std::collections::BTreeMap<String, T>;
        let mut page = String::from(DIFFERENCES);
        let members = include_str!("../../../updraft/tests/e2e/golden/differences.json");
        for (member, reason) in serde_json::from_str::<Map<String>>(members).unwrap() {
            page += &format!("| `{member}` | {reason} |\n");
        }
        page += "\nThese answers are others as a whole:\n\n| recording | answer | why |\n|---|---|---|\n";
        let steps = include_str!("../../../updraft/tests/e2e/golden/steps.json");
        for (recording, steps) in serde_json::from_str::<Map<Map<String>>>(steps).unwrap() {
            for (step, reason) in steps {
                page += &format!("| `{recording}` | `{step}` | {reason} |\n");
            }
        }
        let recorded = include_str!("../../../updraft/tests/e2e/golden/recorded.json");
        let compared = serde_json::from_str::<Map<serde_json::Value>>(recorded).unwrap().len();
        let coverage = include_str!("../../../updraft/tests/e2e/golden/coverage.json");
        let coverage: Coverage = serde_json::from_str(coverage).unwrap();
        let compared = compared + coverage.recorded_twice;
        let left_out: usize = coverage.left_out.values().sum();
        assert_eq!(compared + left_out, coverage.recordings, "a recording is compared, or left out for a reason");
        page += &format!(
            "\nThere are {} recordings. {compared} are compared, some of them in part; {left_out} are not. Of those\n\n",
            coverage.recordings
        );
        for (reason, count) in coverage.left_out {
            page += &format!("- {count} {reason}\n");
        }
        page
    }

    #[derive(serde::Deserialize)]
    struct Coverage {
        recordings: usize,
        /// Recordings of the same test that say the same.
        recorded_twice: usize,
        left_out: std::collections::BTreeMap<String, usize>,
    }
}
