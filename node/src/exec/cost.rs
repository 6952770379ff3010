//! Estimates the cost of compiling a module beforehand, because a compilation cannot be interrupted.
//!
//! Cranelift gives every live value, in a local or on the operand stack, a range of its own wherever control flow
//! splits or joins. Its work is thus the sum of the live values over such places, which a module's size does not bound.

use wasmparser::{
    BinaryReaderError, FuncValidator, FuncValidatorAllocations, FunctionBody, Operator, Parser, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use super::error::ModuleError;
use super::limits::{MAX_BODY_BYTES, MAX_CONTROL_CELLS, MAX_LOCALS};

/// Refuses a module that would take too much time or memory to compile.
pub(super) fn check_cost(wasm: &[u8]) -> Result<(), ModuleError> {
    // The engine says which features are allowed.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut allocations = FuncValidatorAllocations::default();
    let mut cells = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            bound("bytes in one function", body.range().len() as u64, MAX_BODY_BYTES as u64)?;
            let mut function = function.into_validator(allocations);
            cells += cells_of(&mut function, &body)?;
            bound("cells of control flow", cells, MAX_CONTROL_CELLS)?;
            allocations = function.into_allocations();
        }
    }
    Ok(())
}

/// The cells of one function's control flow ([`MAX_CONTROL_CELLS`]).
fn cells_of(function: &mut FuncValidator<ValidatorResources>, body: &FunctionBody<'_>) -> Result<u64, ModuleError> {
    function.read_locals(&mut body.get_binary_reader()).map_err(invalid)?;
    let locals = u64::from(function.len_locals());
    bound("locals in one function", locals, u64::from(MAX_LOCALS))?;
    let mut cells = 0u64;
    let mut operators = body.get_operators_reader().map_err(invalid)?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().map_err(invalid)?;
        let before = function.operand_stack_height();
        function.op(offset, &operator).map_err(invalid)?;
        let height = before.max(function.operand_stack_height());
        cells = cells.saturating_add(ways(&operator).saturating_mul(locals + u64::from(height)));
    }
    Ok(cells)
}

/// The number of places where control may continue after `operator`, besides the next one.
fn ways(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        // With a handler around it, a call has two successors.
        | Operator::Call { .. }
        | Operator::CallIndirect { .. }
        | Operator::CallRef { .. } => 1,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        Operator::TryTable { try_table } => try_table.catches.len() as u64 + 1,
        _ => 0,
    }
}

fn bound(what: &'static str, found: u64, limit: u64) -> Result<(), ModuleError> {
    if found > limit { Err(ModuleError::TooCostly { what, found, limit }) } else { Ok(()) }
}

fn invalid(error: BinaryReaderError) -> ModuleError {
    ModuleError::Invalid(error.to_string())
}
