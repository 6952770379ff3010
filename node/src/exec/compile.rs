//! Compiles a module that was checked, in this process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::Engine;

use super::cost::check_cost;
use super::error::ModuleError;
use crate::module_shape::{Shape, ShapeError};

/// Compiles `wasm`, unless its cost as estimated is more than `max_cells`.
pub(super) fn compile(engine: &Engine, wasm: &[u8], max_cells: u64) -> Result<wasmtime::Module, ModuleError> {
    check_cost(wasm, max_cells)?;
    // An untrusted module may trigger a failing assertion in the compiler. Nothing of the compilation is used after
    // that.
    let compiled = catch_unwind(AssertUnwindSafe(|| wasmtime::Module::from_binary(engine, wasm)));
    compiled.map_err(|_| ModuleError::Panicked)?.map_err(|error| ModuleError::Invalid(format!("{error:#}")))
}

/// What `wasm` declares, if that is within the limits of all hosts.
pub(super) fn shape(wasm: &[u8]) -> Result<Shape, ModuleError> {
    Shape::of(wasm).map_err(|error| match error {
        ShapeError::Malformed => ModuleError::Invalid(error.to_string()),
        error => ModuleError::Shape(error),
    })
}
