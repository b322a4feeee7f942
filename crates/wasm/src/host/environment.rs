//! `wasi:cli/environment`: the author's variables, and the few of Lambda's that mean something here.
//!
//! Names are those of AWS Lambda's documentation, "Defined runtime environment variables". The platform's win
//! over an author's of the same name, as they do on Lambda.

use std::sync::Arc;

use updraft_types::{Function, Region};
use wasmtime::{StoreContextMut, component::Linker};

use super::Host;

/// The interface, as wasmtime-wasi links it.
const INTERFACE: &str = "wasi:cli/environment@0.2.12";

/// Has guests read the variables that their instance keeps: few ask, and a copy for each guest would cost more than some
/// calls.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let read = |store: StoreContextMut<'_, Host>, (): ()| Ok((store.data().variables.to_vec(),));
    linker.instance(INTERFACE)?.func_wrap("get-environment", read)
}

/// What a guest of `function` sees.
pub(crate) fn variables(function: &Function, log_stream: &str, region: &Region) -> Arc<[(String, String)]> {
    let configuration = &function.configuration;
    let name = function.id.name.as_str();
    let log_group = configuration.log_group.clone().unwrap_or_else(|| format!("/aws/lambda/{name}"));
    let ours = [
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", function.version.to_string()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", configuration.memory_mb.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", log_group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream.to_owned()),
        ("AWS_REGION", region.to_string()),
        ("AWS_DEFAULT_REGION", region.to_string()),
        ("_HANDLER", configuration.handler.clone()),
    ];
    let theirs = configuration.environment.iter().filter(|(key, _)| ours.iter().all(|(our, _)| our != key));
    let theirs = theirs.map(|(key, value)| (key.clone(), value.clone()));
    theirs.chain(ours.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).collect()
}
