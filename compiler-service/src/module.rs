//! Checks that workers will accept a module, so that its author learns of a problem when it is compiled.

use wasmparser::{Parser, Payload, TypeRef, Validator, WasmFeatures};
use webmesh_protocol::guest::{IMPORTS, IMPORTS_FROM};

use crate::error::CompileError;

/// Maximum number of imports that an error names: one function of the C library may need several.
const NAMED: usize = 16;

/// The WebAssembly features that all hosts, native and in tabs, support with the same results.
fn features() -> WasmFeatures {
    let missing = WasmFeatures::RELAXED_SIMD
        | WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::GC
        | WasmFeatures::FUNCTION_REFERENCES;
    WasmFeatures::WASM3.difference(missing)
}

/// Checks the features and imports of a module.
pub(crate) fn check(wasm: &[u8]) -> Result<(), CompileError> {
    let invalid = |why: wasmparser::BinaryReaderError| {
        CompileError::Unsupported(format!(
            "{}; jobs must give the same result on every machine, so there is no relaxed SIMD, no threads and no \
             64-bit memory: remove the attribute or intrinsic that uses it",
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
        "it imports {}, but jobs have no files, no network and no processes, and cannot wait: remove the calls that \
         need them",
        unknown.join(", ")
    )))
}
