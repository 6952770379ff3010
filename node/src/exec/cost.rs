//! Estimates the cost of compiling a module beforehand: a compilation cannot be interrupted, only killed with its
//! process, and not even that where it shares the process with everything else.
//!
//! Cranelift gives every live value, in a local or on the operand stack, a range of its own wherever control flow
//! splits or joins. Its work is thus the sum of the live values over such places, which a module's size does not bound.
//! Some instructions without control flow in WebAssembly have some in compiled code: checks of the clock, tables that
//! are filled lazily, counts of references. And where references of the collected heap are live, each such place and
//! each call has a set of them.

use wasmparser::{
    BinaryReaderError, FuncValidator, FuncValidatorAllocations, FunctionBody, Operator, Parser, RefType, ValType,
    ValidPayload, Validator, ValidatorResources, WasmFeatures, WasmModuleResources,
};

use super::error::ModuleError;
use super::limits::REFERENCE_CELLS;

/// Refuses a module that would take too much time or memory to compile: one with more than `limit` cells.
pub(super) fn check_cost(wasm: &[u8], limit: u64) -> Result<(), ModuleError> {
    let found = cells(wasm, limit)?;
    if found > limit { Err(ModuleError::TooCostly { what: "cells of control flow", found, limit }) } else { Ok(()) }
}

/// The cells of a module's control flow ([`MAX_CONTROL_CELLS`](super::limits::MAX_CONTROL_CELLS)). Counting stops soon after `limit`.
pub(super) fn cells(wasm: &[u8], limit: u64) -> Result<u64, ModuleError> {
    // The engine says which features are allowed.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut allocations = FuncValidatorAllocations::default();
    let mut cells = 0u64;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            let mut function = function.into_validator(allocations);
            cells = cells.saturating_add(cells_of(&mut function, &body)?);
            if cells > limit {
                break;
            }
            allocations = function.into_allocations();
        }
    }
    Ok(cells)
}

/// The cells of one function.
fn cells_of(function: &mut FuncValidator<ValidatorResources>, body: &FunctionBody<'_>) -> Result<u64, ModuleError> {
    function.read_locals(&mut body.get_binary_reader()).map_err(invalid)?;
    let count = function.len_locals();
    let references = (0..count).filter(|&local| function.get_local_type(local).is_some_and(is_collected)).count();
    let locals = u64::from(count) + references as u64 * REFERENCE_CELLS;
    // Where values on the operand stack come from is not followed: once a reference was there, all may be.
    let mut operand_cells = 1;
    let (mut places, mut loops) = (ENTRY_WAYS, 0u64);
    let mut cells = ENTRY_WAYS.saturating_mul(locals + PLACE_CELLS);
    let mut operators = body.get_operators_reader().map_err(invalid)?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().map_err(invalid)?;
        let before = function.operand_stack_height();
        function.op(offset, &operator).map_err(invalid)?;
        let after = function.operand_stack_height();
        if after > 0 && matches!(function.get_operand_type(0), Some(Some(top)) if is_collected(top)) {
            operand_cells = 1 + REFERENCE_CELLS;
        }
        let ways = ways(&operator, function.resources());
        if ways > 0 {
            let live = locals + u64::from(before.max(after)) * operand_cells;
            cells = cells.saturating_add(ways.saturating_mul(live + PLACE_CELLS));
            places = places.saturating_add(ways);
            loops += u64::from(matches!(operator, Operator::Loop { .. }));
        }
    }
    let squares = places.saturating_mul(places) / PLACES_PER_CELL + loops.saturating_mul(loops) / LOOPS_PER_CELL;
    Ok(cells.saturating_add(squares))
}

/// Cells of a place without live values.
const PLACE_CELLS: u64 = 8;
/// Some of Cranelift's work grows with the square of the places of a function: with this many, by as many cells.
const PLACES_PER_CELL: u64 = 8192;
/// The same for loops: a function with 30,000 takes minutes.
const LOOPS_PER_CELL: u64 = 32;
/// Places at a function's entry: the clock is checked.
const ENTRY_WAYS: u64 = 2;
/// Reading a reference of the collected heap counts it, if it is not null and was not counted before.
const READ_WAYS: u64 = 4;
/// Writing one counts the new reference and discounts the old one, which may be the last.
const WRITE_WAYS: u64 = 7;
/// Reading a function from a table, which is filled at the first use.
const FUNCTION_WAYS: u64 = 2;
/// A loop over a table's entries, besides what each entry needs.
const COPY_WAYS: u64 = 4;

/// The number of places where control may continue after `operator`, besides the next one.
fn ways(operator: &Operator<'_>, module: &impl WasmModuleResources) -> u64 {
    let table = |index: u32| module.table_at(index).is_some_and(|table| is_collected_reference(table.element_type));
    let global = |index: u32| module.global_at(index).is_some_and(|global| is_collected(global.content_type));
    match *operator {
        Operator::Block { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::BrOnNull { .. }
        | Operator::BrOnNonNull { .. }
        // With a handler around it, a call has two successors.
        | Operator::Call { .. }
        | Operator::ReturnCall { .. }
        | Operator::MemoryGrow { .. }
        // Calls of the host, after checks of bounds.
        | Operator::MemoryCopy { .. }
        | Operator::MemoryFill { .. }
        | Operator::MemoryInit { .. }
        | Operator::DataDrop { .. }
        | Operator::ElemDrop { .. } => 1,
        // The clock is checked at every turn.
        Operator::Loop { .. } => 1 + ENTRY_WAYS,
        Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::CallRef { .. }
        | Operator::ReturnCallRef { .. } => 1 + FUNCTION_WAYS,
        Operator::BrTable { ref targets } => u64::from(targets.len()) + 1,
        Operator::TryTable { ref try_table } => try_table.catches.len() as u64 + 1,
        // An object is allocated, and the values are written into it.
        Operator::Throw { .. } | Operator::ThrowRef => WRITE_WAYS,
        Operator::TableGet { table: index } => if table(index) { READ_WAYS } else { FUNCTION_WAYS },
        Operator::TableSet { table: index } => if table(index) { WRITE_WAYS } else { 1 },
        Operator::TableGrow { .. } | Operator::TableFill { .. } | Operator::TableInit { .. } => COPY_WAYS + WRITE_WAYS,
        Operator::TableCopy { .. } => COPY_WAYS + READ_WAYS + WRITE_WAYS,
        Operator::GlobalGet { global_index } if global(global_index) => READ_WAYS,
        Operator::GlobalSet { global_index } if global(global_index) => WRITE_WAYS,
        _ => 0,
    }
}

fn is_collected(ty: ValType) -> bool {
    matches!(ty, ValType::Ref(reference) if is_collected_reference(reference))
}

/// Whether it refers to the collected heap, and not to a function.
fn is_collected_reference(ty: RefType) -> bool {
    ty != RefType::FUNCREF
}

fn invalid(error: BinaryReaderError) -> ModuleError {
    ModuleError::Invalid(error.to_string())
}
