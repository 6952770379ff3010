//! The guest interface as types: what a module must export and may import (`docs/guest-abi.md`).

use wasmtime::{Engine, ExternType, FuncType, Linker, Module, ModuleExport, ValType};
use webmesh_protocol::guest::{IMPORTS, IMPORTS_FROM};

use super::error::ModuleError;
use super::state::Host;

/// The version of the interface that this host implements.
pub(super) const ABI_VERSION: i32 = 1;

/// Handles of a module's interface exports, so that no instance looks them up by name.
pub(super) struct Exports {
    pub(super) memory: ModuleExport,
    pub(super) initialize: ModuleExport,
    pub(super) abi: ModuleExport,
    pub(super) alloc: ModuleExport,
    pub(super) map: ModuleExport,
    pub(super) map_finish: ModuleExport,
    pub(super) reduce_feed: ModuleExport,
    pub(super) reduce_finish: ModuleExport,
    pub(super) error: ModuleExport,
}

impl Exports {
    /// Finds the exports and checks their types.
    pub(super) fn of(module: &Module) -> Result<Self, ModuleError> {
        let memory = find(module, "memory")?;
        match module.get_export("memory") {
            Some(ExternType::Memory(ty)) if !ty.is_64() && !ty.is_shared() => {}
            _ => return Err(ModuleError::ExportType("memory", "memory")),
        }
        Ok(Self {
            memory,
            initialize: function(module, "_initialize", "() -> ()", 0, false)?,
            abi: function(module, "webmesh_abi", "() -> i32", 0, true)?,
            alloc: function(module, "webmesh_alloc", "(i32) -> i32", 1, true)?,
            map: function(module, "webmesh_map", "(i32, i32) -> i32", 2, true)?,
            map_finish: function(module, "webmesh_map_finish", "(i32) -> i32", 1, true)?,
            reduce_feed: function(module, "webmesh_reduce_feed", "(i32, i32) -> i32", 2, true)?,
            reduce_finish: function(module, "webmesh_reduce_finish", "() -> i32", 0, true)?,
            error: function(module, "webmesh_error", "() -> i32", 0, true)?,
        })
    }
}

fn find(module: &Module, name: &'static str) -> Result<ModuleExport, ModuleError> {
    module.get_export_index(name).ok_or(ModuleError::Missing(name))
}

/// The export `name`, a function from `params` numbers of 32 bits to one or none.
fn function(
    module: &Module,
    name: &'static str,
    ty: &'static str,
    params: usize,
    result: bool,
) -> Result<ModuleExport, ModuleError> {
    let export = find(module, name)?;
    match module.get_export(name) {
        Some(ExternType::Func(found)) if is_i32s(&found, params, usize::from(result)) => Ok(export),
        _ => Err(ModuleError::ExportType(name, ty)),
    }
}

fn is_i32s(ty: &FuncType, params: usize, results: usize) -> bool {
    let is_i32 = |ty: ValType| matches!(ty, ValType::I32);
    ty.params().len() == params && ty.results().len() == results && ty.params().all(is_i32) && ty.results().all(is_i32)
}

/// Refuses every import that `linker` does not define with exactly that type.
pub(super) fn check_imports(engine: &Engine, linker: &Linker<Host>, module: &Module) -> Result<(), ModuleError> {
    // A linker's items can only be inspected through a store.
    let mut store = wasmtime::Store::new(engine, Host::idle());
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let known = from == IMPORTS_FROM && IMPORTS.contains(&name);
        let Some(defined) = known.then(|| linker.get(&mut store, from, name)).and_then(Result::ok) else {
            return Err(ModuleError::Import { module: from.into(), name: name.into() });
        };
        let matches = match (import.ty(), defined.ty(&store)) {
            (ExternType::Func(wanted), ExternType::Func(given)) => FuncType::eq(&wanted, &given),
            _ => false,
        };
        if !matches {
            return Err(ModuleError::ImportType { name: name.into() });
        }
    }
    Ok(())
}
