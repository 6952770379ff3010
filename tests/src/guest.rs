//! Modules written by hand, for what no compiler would make.

/// A guest whose map and reduce give nothing. `memory` is its initial size in pages of 64 KiB and may have a maximum;
/// `initialize` are the instructions of its static constructors, and `more` is added to the module.
pub fn guest(memory: &str, initialize: &str, more: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
            (memory (export "memory") {memory})
            (func (export "_initialize") {initialize})
            (func (export "webmesh_abi") (result i32) i32.const 1)
            (func (export "webmesh_alloc") (param i32) (result i32) i32.const 65536)
            (func (export "webmesh_map") (param i32 i32) (result i32) i32.const 0)
            (func (export "webmesh_map_finish") (param i32) (result i32)
                (i32.store (i32.const 1028) (i32.const 2048)) i32.const 1024)
            (func (export "webmesh_reduce_feed") (param i32 i32) (result i32) i32.const 0)
            (func (export "webmesh_reduce_finish") (result i32) i32.const 1024)
            (func (export "webmesh_error") (result i32) i32.const 1024)
            {more})"#
    ))
    .expect("a valid module")
}
