//! The operations of Lambda's API that are not part of this platform yet, so that each can be refused by name.
//!
//! Taken from the service model (botocore 1.44.5). `*` stands for any one segment. An operation moves from here to
//! the router when it is built.

use http::Method;

/// Method, path and name. Where a query tells two operations apart, both are named.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("POST", "2014-11-13/functions/*/invoke-async", "InvokeAsync"),
    ("GET", "2015-03-31/event-source-mappings", "ListEventSourceMappings"),
    ("POST", "2015-03-31/event-source-mappings", "CreateEventSourceMapping"),
    ("DELETE", "2015-03-31/event-source-mappings/*", "DeleteEventSourceMapping"),
    ("GET", "2015-03-31/event-source-mappings/*", "GetEventSourceMapping"),
    ("PUT", "2015-03-31/event-source-mappings/*", "UpdateEventSourceMapping"),
    ("GET", "2015-03-31/functions/*/aliases", "ListAliases"),
    ("POST", "2015-03-31/functions/*/aliases", "CreateAlias"),
    ("DELETE", "2015-03-31/functions/*/aliases/*", "DeleteAlias"),
    ("GET", "2015-03-31/functions/*/aliases/*", "GetAlias"),
    ("PUT", "2015-03-31/functions/*/aliases/*", "UpdateAlias"),
    ("POST", "2015-03-31/functions/*/policy", "AddPermission"),
    ("DELETE", "2015-03-31/functions/*/policy/*", "RemovePermission"),
    ("POST", "2015-03-31/functions/*/versions", "PublishVersion"),
    ("DELETE", "2019-09-25/functions/*/event-invoke-config", "DeleteFunctionEventInvokeConfig"),
    ("GET", "2019-09-25/functions/*/event-invoke-config", "GetFunctionEventInvokeConfig"),
    ("POST", "2019-09-25/functions/*/event-invoke-config", "UpdateFunctionEventInvokeConfig"),
    ("PUT", "2019-09-25/functions/*/event-invoke-config", "PutFunctionEventInvokeConfig"),
    ("GET", "2019-09-25/functions/*/event-invoke-config/list", "ListFunctionEventInvokeConfigs"),
    ("DELETE", "2019-09-30/functions/*/provisioned-concurrency", "DeleteProvisionedConcurrencyConfig"),
    (
        "GET",
        "2019-09-30/functions/*/provisioned-concurrency",
        "GetProvisionedConcurrencyConfig or ListProvisionedConcurrencyConfigs",
    ),
    ("PUT", "2019-09-30/functions/*/provisioned-concurrency", "PutProvisionedConcurrencyConfig"),
    ("GET", "2020-04-22/code-signing-configs", "ListCodeSigningConfigs"),
    ("POST", "2020-04-22/code-signing-configs", "CreateCodeSigningConfig"),
    ("DELETE", "2020-04-22/code-signing-configs/*", "DeleteCodeSigningConfig"),
    ("GET", "2020-04-22/code-signing-configs/*", "GetCodeSigningConfig"),
    ("PUT", "2020-04-22/code-signing-configs/*", "UpdateCodeSigningConfig"),
    ("GET", "2020-04-22/code-signing-configs/*/functions", "ListFunctionsByCodeSigningConfig"),
    ("DELETE", "2020-06-30/functions/*/code-signing-config", "DeleteFunctionCodeSigningConfig"),
    ("PUT", "2020-06-30/functions/*/code-signing-config", "PutFunctionCodeSigningConfig"),
    ("GET", "2021-07-20/functions/*/runtime-management-config", "GetRuntimeManagementConfig"),
    ("PUT", "2021-07-20/functions/*/runtime-management-config", "PutRuntimeManagementConfig"),
    ("GET", "2024-08-31/functions/*/recursion-config", "GetFunctionRecursionConfig"),
    ("PUT", "2024-08-31/functions/*/recursion-config", "PutFunctionRecursionConfig"),
    ("GET", "2025-11-30/capacity-providers", "ListCapacityProviders"),
    ("POST", "2025-11-30/capacity-providers", "CreateCapacityProvider"),
    ("DELETE", "2025-11-30/capacity-providers/*", "DeleteCapacityProvider"),
    ("GET", "2025-11-30/capacity-providers/*", "GetCapacityProvider"),
    ("PUT", "2025-11-30/capacity-providers/*", "UpdateCapacityProvider"),
    ("GET", "2025-11-30/capacity-providers/*/function-versions", "ListFunctionVersionsByCapacityProvider"),
    ("GET", "2025-11-30/functions/*/function-scaling-config", "GetFunctionScalingConfig"),
    ("PUT", "2025-11-30/functions/*/function-scaling-config", "PutFunctionScalingConfig"),
    ("POST", "2025-12-01/durable-execution-callbacks/*/fail", "SendDurableExecutionCallbackFailure"),
    ("POST", "2025-12-01/durable-execution-callbacks/*/heartbeat", "SendDurableExecutionCallbackHeartbeat"),
    ("POST", "2025-12-01/durable-execution-callbacks/*/succeed", "SendDurableExecutionCallbackSuccess"),
    ("DELETE", "2025-12-01/durable-executions/*", "DeleteDurableExecution"),
    ("GET", "2025-12-01/durable-executions/*", "GetDurableExecution"),
    ("POST", "2025-12-01/durable-executions/*/checkpoint", "CheckpointDurableExecution"),
    ("GET", "2025-12-01/durable-executions/*/history", "GetDurableExecutionHistory"),
    ("POST", "2025-12-01/durable-executions/*/pause", "PauseDurableExecution"),
    ("POST", "2025-12-01/durable-executions/*/resume", "ResumeDurableExecution"),
    ("GET", "2025-12-01/durable-executions/*/state", "GetDurableExecutionState"),
    ("POST", "2025-12-01/durable-executions/*/stop", "StopDurableExecution"),
    ("GET", "2025-12-01/functions/*/durable-executions", "ListDurableExecutionsByFunction"),
    ("DELETE", "2026-07-09/resource-policy/*", "DeleteResourcePolicy"),
    ("GET", "2026-07-09/resource-policy/*", "GetResourcePolicy"),
    ("PUT", "2026-07-09/resource-policy/*", "PutResourcePolicy"),
];

/// The name of an operation that is known and not built, by method and raw segments.
pub(super) fn find(method: &Method, segments: &[&str]) -> Option<&'static str> {
    let matches = |pattern: &str| {
        let mut pattern = pattern.split('/');
        let all = segments.iter().all(|segment| pattern.next().is_some_and(|part| part == "*" || part == *segment));
        all && pattern.next().is_none()
    };
    OPERATIONS
        .iter()
        .find(|(operation_method, pattern, _)| *operation_method == method.as_str() && matches(pattern))
        .map(|(_, _, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_by_method_and_path() {
        let find = |method: Method, path: &str| find(&method, &path.split('/').collect::<Vec<_>>());
        assert_eq!(find(Method::POST, "2015-03-31/functions/f/versions"), Some("PublishVersion"));
        assert_eq!(find(Method::PUT, "2024-08-31/functions/f/recursion-config"), Some("PutFunctionRecursionConfig"));
        assert_eq!(find(Method::PATCH, "2015-03-31/functions/f/versions"), None);
        assert_eq!(find(Method::POST, "2015-03-31/functions/f/versions/x"), None);
        assert_eq!(find(Method::POST, "2015-03-31/functions/f"), None);
        assert_eq!(find(Method::GET, ""), None);
    }
}
