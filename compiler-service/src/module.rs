//! Whether a module is one that workers run. They refuse any other; its author had better hear of it from the compiler.

use wasmparser::{Parser, Payload, TypeRef, Validator, WasmFeatures};
use webmesh_protocol::guest::{IMPORTS, IMPORTS_FROM};

use crate::error::CompileError;

/// Imports that are named to the author: one call of the C library needs several.
const NAMED: usize = 16;

/// What every host has, native or in a tab, and gives the same results in each.
fn features() -> WasmFeatures {
    let missing = WasmFeatures::RELAXED_SIMD
        | WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::GC
        | WasmFeatures::FUNCTION_REFERENCES;
    WasmFeatures::WASM3.difference(missing)
}

/// Checks the WebAssembly that a module uses, and what it imports.
pub(crate) fn check(wasm: &[u8]) -> Result<(), CompileError> {
    let invalid = |why: wasmparser::BinaryReaderError| {
        CompileError::Unsupported(format!(
            "{}; jobs give the same result on every machine, hence no relaxed SIMD, no threads, no 64-bit memory: \
             leave out the attribute or intrinsic that asks for it",
            why.message()
        ))
    };
    Validator::new_with_features(features()).validate_all(wasm).map_err(invalid)?;
    let mut unknown = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::ImportSection(imports) = payload.map_err(invalid)? else { continue };
        for import in imports.into_imports() {
            let import = import.map_err(invalid)?;
            let known = import.module == IMPORTS_FROM && IMPORTS.contains(&import.name);
            if !known || !matches!(import.ty, TypeRef::Func(_)) {
                unknown.push(format!("`{}::{}`", import.module, import.name));
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.truncate(NAMED);
    Err(CompileError::Unsupported(format!(
        "it imports {}, and jobs have no files, no network, no processes and no clock to wait for: leave out what \
         calls them",
        unknown.join(", ")
    )))
}
