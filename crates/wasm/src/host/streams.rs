//! `wasi:io/streams.output-stream`: how one ends.
//!
//! wasmtime-wasi's own drop has a stream cancel what it still does in the background, and so is a future to wait
//! for, boxed and polled for each. The streams that a guest can have here ([`super::output`],
//! [`super::outgoing_body`]; there are no files and no sockets) do nothing in the background.

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::DynOutputStream;

use super::Host;

/// The interface, as wasmtime-wasi links it.
const INTERFACE: &str = "wasi:io/streams@0.2.12";

/// Has output streams dropped there and then.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut streams = linker.instance(INTERFACE)?;
    streams.resource("output-stream", ResourceType::host::<DynOutputStream>(), |mut store, handle| {
        store.data_mut().table.delete(Resource::<DynOutputStream>::new_own(handle))?;
        Ok(())
    })
}
