//! Guests written by hand, and their results.
#![allow(clippy::unwrap_used)]

mod cache;
mod cost;
mod failing;
mod hostile;
mod loading;
mod pool;
mod running;
mod speed;
mod wasi;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// A guest in text form, each part of which can be replaced.
///
/// By default, `map` appends each document to its output, the first document being the first bucket and so on; `reduce`
/// returns all of its input, and counts the calls of feed.
struct Wat {
    /// Text before everything else.
    imports: &'static str,
    memory: &'static str,
    initialize: &'static str,
    version: &'static str,
    alloc: &'static str,
    /// `$ptr`, `$len` -> status
    map: &'static str,
    /// `$buckets` -> pointer
    map_finish: &'static str,
    reduce_feed: &'static str,
    reduce_finish: &'static str,
    error: &'static str,
    /// Text after everything else.
    rest: &'static str,
}

/// The memory: 1024 answers to the host, 2048 bucket offsets, 65536 output, 524288 input.
const ECHO: Wat = Wat {
    imports: "",
    memory: r#"(memory (export "memory") 17)"#,
    initialize: "",
    version: "i32.const 1",
    alloc: "i32.const 524288",
    map: "
        (memory.copy (i32.add (i32.const 65536) (global.get $end)) (local.get $ptr) (local.get $len))
        (global.set $end (i32.add (global.get $end) (local.get $len)))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.add (i32.const 2048) (i32.mul (global.get $count) (i32.const 4))) (global.get $end))
        i32.const 0",
    map_finish: "
        (loop $fill
            (if (i32.lt_u (global.get $count) (local.get $buckets)) (then
                (global.set $count (i32.add (global.get $count) (i32.const 1)))
                (i32.store (i32.add (i32.const 2048) (i32.mul (global.get $count) (i32.const 4))) (global.get $end))
                (br $fill))))
        (i32.store (i32.const 1024) (i32.const 65536))
        (i32.store (i32.const 1028) (i32.const 2048))
        i32.const 1024",
    reduce_feed: "
        (memory.copy (i32.add (i32.const 65536) (global.get $end)) (local.get $ptr) (local.get $len))
        (global.set $end (i32.add (global.get $end) (local.get $len)))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        i32.const 0",
    reduce_finish: "
        (i32.store (i32.const 1024) (i32.const 65536))
        (i32.store (i32.const 1028) (global.get $end))
        (i32.store (i32.const 1032) (global.get $count))
        (i32.store (i32.const 1036) (i32.const 0))
        i32.const 1024",
    error: "
        (i32.store (i32.const 1024) (i32.const 256))
        (i32.store (i32.const 1028) (i32.const 19))
        i32.const 1024",
    rest: r#"(data (i32.const 256) "stoi: no conversion")"#,
};

impl Wat {
    fn text(&self) -> String {
        let Self { imports, memory, initialize, version, alloc, map, map_finish, .. } = self;
        let Self { reduce_feed, reduce_finish, error, rest, .. } = self;
        format!(
            r#"(module
                {imports}
                {memory}
                (global $end (mut i32) (i32.const 0))
                (global $count (mut i32) (i32.const 0))
                (func (export "_initialize") {initialize})
                (func (export "webmesh_abi") (result i32) {version})
                (func (export "webmesh_alloc") (param $len i32) (result i32) {alloc})
                (func (export "webmesh_map") (param $ptr i32) (param $len i32) (result i32) {map})
                (func (export "webmesh_map_finish") (param $buckets i32) (result i32) {map_finish})
                (func (export "webmesh_reduce_feed") (param $ptr i32) (param $len i32) (result i32) {reduce_feed})
                (func (export "webmesh_reduce_finish") (result i32) {reduce_finish})
                (func (export "webmesh_error") (result i32) {error})
                {rest})"#
        )
    }

    fn wasm(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap()
    }

    fn load(&self) -> Arc<Module> {
        load(&runtime(), &self.wasm()).unwrap()
    }
}

fn runtime() -> Runtime {
    Runtime::new(RuntimeConfig::new(2)).unwrap()
}

fn load(runtime: &Runtime, wasm: &[u8]) -> Result<Arc<Module>, ModuleError> {
    runtime.load(*blake3::hash(wasm).as_bytes(), wasm)
}

const LIMITS: TaskLimits = TaskLimits { memory: 64 << 20, time: Duration::from_secs(60), output: 1 << 20 };

fn params() -> TaskParams {
    TaskParams { seed: [7; 32], limits: LIMITS, cancel: CancelToken::new() }
}

const BUCKETS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// Maps `documents` with the usual limits.
fn map(module: &Module, documents: &[&[u8]]) -> Result<MapOutput, TaskError> {
    module.map_task(documents.iter().copied(), BUCKETS, &params())
}

/// Runs `guest` on one document and returns its error.
fn failure(guest: &Wat) -> TaskError {
    map(&guest.load(), &[b"document"]).unwrap_err()
}
