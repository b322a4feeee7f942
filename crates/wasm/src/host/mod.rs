//! What a guest may reach: one file per interface where wasmtime's own answer is not ours.
//!
//! All of WASI 0.2 is linked, because language runtimes import it whether they use it or not, but nothing
//! behind it is granted: no directories are open, every address is refused. What works is the guest's
//! [`environment`], its [`output`], clocks, randomness, and `wasi:http`; [`outgoing_http`] goes by the function's rules.
//! Everything a guest can make the host hold (handles, headers, buffers) is bounded here.

pub(crate) mod environment;
pub(crate) mod memory;
mod outgoing_body;
pub(crate) mod outgoing_http;
pub(crate) mod output;
mod streams;

use std::sync::Arc;

use updraft_executor::Guest;
use wasmtime::{
    Engine, Store, UpdateDeadline,
    component::{Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{engine::Platform, outgoing::Client};

/// Most handles (headers, bodies, streams) one guest may hold at once.
const HANDLES_MAX: usize = 1_024;
/// Handles left over from earlier calls past which an instance is not used again: it leaks.
const LEFTOVERS_MAX: u32 = 256;
/// Most bytes of one set of headers a guest builds.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Most bytes a guest may hand over in one host call.
const HOST_CALL_BYTES_MAX: usize = 16 << 20;
/// Most random bytes in one host call.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// The state behind one guest.
pub(crate) struct Host {
    pub(crate) table: ResourceTable,
    pub(crate) memory: memory::Limits,
    pub(crate) guest: Arc<dyn Guest>,
    variables: Arc<[(String, String)]>,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: outgoing_http::Hooks,
    waiting: outgoing_body::Waiting,
}

impl Host {
    /// A store for a guest that sees `variables`, writes to `guest` and may have `memory`.
    pub(crate) fn store(
        platform: &Platform,
        variables: Arc<[(String, String)]>,
        guest: Arc<dyn Guest>,
        client: Arc<Client>,
        memory: memory::Limits,
    ) -> Store<Host> {
        let output = output::Output(guest.clone());
        let wasi = WasiCtx::builder()
            .stdout(output.clone())
            .stderr(output)
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADER_BYTES_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let hooks = outgoing_http::Hooks::new(client);
        let waiting = outgoing_body::Waiting::default();
        let mut store =
            Store::new(&platform.engine, Host { table, memory, guest, variables, wasi, http, hooks, waiting });
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(1);
        // tokio's own yield lets the runtime look at its sockets and timers before it comes back to the guest;
        // one that merely wakes itself would be polled again dozens of times first.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
        store
    }

    /// Ends what the call still has under way outside.
    pub(crate) fn end_call(&mut self) {
        self.hooks.end_call();
    }

    /// Whether earlier calls left so many handles open that another would only add to them.
    ///
    /// The table tells neither its length nor its gaps, but a new entry takes a gap if there is one: so its
    /// place is past the bound only once the table has been that full.
    pub(crate) fn leaks(&mut self) -> bool {
        match self.table.push(()) {
            Ok(probe) => probe.rep() >= LEFTOVERS_MAX || self.table.delete(probe).is_err(),
            Err(_) => true,
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Links every interface of `wasi:cli` and `wasi:http` 0.2.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    environment::link(&mut linker)?;
    outgoing_body::link(&mut linker)?;
    streams::link(&mut linker)?;
    linker.allow_shadowing(false);
    Ok(linker)
}
