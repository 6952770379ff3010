//! The settings of wasmtime.

use wasmtime::{Collector, Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::limits::{KEEP_RESIDENT, MAX_INSTANCE_BYTES, MAX_TASK_MEMORY, SPARE_SLOTS, WASM_STACK};
use crate::module_shape::{MAX_TABLE_ELEMENTS, MAX_TABLES};

/// An engine that runs the tasks of `threads` threads, with memory reserved for them.
pub(super) fn for_tasks(threads: usize) -> wasmtime::Result<Engine> {
    // The better way to clean slots needs Linux 6.7; the only way to find out is that wasmtime refuses it.
    Engine::new(&pooling(threads, Cleaning::InPlace)).or_else(|_| Engine::new(&pooling(threads, Cleaning::HandBack)))
}

/// An engine that compiles for the other one and runs an instance at most. Reserves nothing.
pub(super) fn for_compiling() -> wasmtime::Result<Engine> {
    let mut config = config(true);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// The same on the calling thread alone.
#[cfg(test)]
pub(super) fn for_measuring() -> wasmtime::Result<Engine> {
    Engine::new(&config(false))
}

/// How an instance's memory is cleared for the next one.
#[derive(Clone, Copy)]
enum Cleaning {
    /// The kernel reports the touched pages, which are cleared in place.
    InPlace,
    /// All of it is returned to the system: clearing pages that may not have been touched is no faster, since a C++
    /// guest has its stack of 1 MiB before everything else.
    HandBack,
}

/// The settings of compiled code. Those of two engines must be equal for one to run what the other compiled.
fn config(parallel: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(parallel)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .memory_init_cow(true)
        // Addresses of every instruction are useful for backtraces only, and would double the size of the compiled
        // code.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false);
    // C++ exceptions are objects on a collected heap. No other feature of that kind is needed, and every disabled
    // feature is one that no attacker can use.
    config
        .wasm_exceptions(true)
        .collector(Collector::DeferredReferenceCounting)
        .wasm_gc(false)
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false);
    config
}

fn pooling(threads: usize, cleaning: Cleaning) -> Config {
    let mut config = config(threads > 1);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool_config(threads, cleaning)));
    config
}

fn pool_config(threads: usize, cleaning: Cleaning) -> PoolingAllocationConfig {
    let slots = u32::try_from(threads).unwrap_or(u32::MAX).saturating_add(SPARE_SLOTS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        // An instance has its linear memory and, if it can throw, the heap of its exceptions.
        .total_memories(slots.saturating_mul(2))
        .total_gc_heaps(slots)
        .total_tables(slots.saturating_mul(MAX_TABLES))
        .max_memories_per_module(1)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        // Address space, not memory: with all 4 GiB of a guest's addresses reserved, its loads and stores need
        // no bounds checks.
        .max_memory_size(usize::try_from(MAX_TASK_MEMORY).unwrap_or(usize::MAX));
    match cleaning {
        Cleaning::InPlace => pool
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_RESIDENT)
            .pagemap_scan(Enabled::Yes),
        Cleaning::HandBack => pool.pagemap_scan(Enabled::No),
    };
    pool
}
