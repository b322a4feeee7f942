//! The wasmtime engine and the one linker all components are checked and instantiated with.
//!
//! Instances live in slots of a pool, so starting one is remapping memory rather than asking the kernel for
//! it: linear memory is a copy-on-write view of the component's image, and slots return to it when they are
//! freed. The pool reserves address space; a slot costs memory only for pages a guest touched.

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, component::Linker};

use crate::{
    host::{self, Host},
    ticker::Ticker,
};

/// Largest linear memory, bytes: all that 32-bit addresses reach.
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// Core modules, memories and tables of one component; composed and adapted ones have several. There is room for so many of
/// every instance: one component that takes all it may leaves the others theirs.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 16;
const MEMORIES_PER_COMPONENT_MAX: u32 = 2;
const TABLES_PER_COMPONENT_MAX: u32 = 8;
/// Memory zeroed and kept, rather than given back to the kernel, when a slot is freed, bytes.
const SLOT_RESIDENT_BYTES: usize = 64 << 10;
/// Stack of a guest's fiber, bytes; the wasm part of it is wasmtime's default of 512 KiB.
const STACK_BYTES: usize = 1 << 20;

/// What all components share.
pub(crate) struct Platform {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) ticker: Ticker,
}

impl Platform {
    /// Reserves room for `instances_max` instances and links the host interfaces.
    pub(crate) fn new(instances_max: u32) -> wasmtime::Result<Self> {
        let engine = Engine::new(&configuration(instances_max))?;
        let linker = host::linker(&engine)?;
        let ticker = Ticker::new(&engine);
        Ok(Self { engine, linker, ticker })
    }
}

fn configuration(instances_max: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max.saturating_mul(CORE_INSTANCES_PER_COMPONENT_MAX))
        .total_memories(instances_max.saturating_mul(MEMORIES_PER_COMPONENT_MAX))
        .total_tables(instances_max.saturating_mul(TABLES_PER_COMPONENT_MAX))
        .total_stacks(instances_max)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(host::memory::TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(SLOT_RESIDENT_BYTES)
        .table_keep_resident(SLOT_RESIDENT_BYTES);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .async_stack_size(STACK_BYTES)
        .memory_init_cow(true)
        .parallel_compilation(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
