//! Finds identical functions.
//!
//! Instances of one generic function for types of the same layout often have the same code. LLVM merges those that it
//! can tell are identical; another twentieth of the program is identical only as WebAssembly.

use std::collections::HashMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, Encode};
use wasmparser::FunctionBody;

/// For each defined function, the index of the first one identical to it: of the same type and with the same code,
/// where calls of identical functions count as the same.
pub(crate) fn first_of_each(
    imported: u32,
    types: &[u32],
    bodies: &[FunctionBody<'_>],
) -> Result<Vec<u32>, Error<Infallible>> {
    let mut twins = Twins { imported, first: (0..).take(bodies.len()).collect() };
    loop {
        let mut known = HashMap::new();
        let mut first = Vec::with_capacity(bodies.len());
        for (function, (of_type, body)) in (0..).zip(types.iter().zip(bodies)) {
            first.push(*known.entry((of_type, twins.code(body)?)).or_insert(function));
        }
        // Callers of identical functions may themselves be identical.
        if first == twins.first {
            return Ok(first);
        }
        twins.first = first;
    }
}

struct Twins {
    /// Imported functions have the first indices.
    imported: u32,
    first: Vec<u32>,
}

impl Twins {
    /// A function's code, with each function that it refers to replaced by the first identical one.
    fn code(&mut self, body: &FunctionBody<'_>) -> Result<Vec<u8>, Error<Infallible>> {
        let mut code = CodeSection::new();
        self.parse_function_body(&mut code, body.clone())?;
        let mut bytes = Vec::new();
        code.encode(&mut bytes);
        Ok(bytes)
    }
}

impl Reencode for Twins {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(match index.checked_sub(self.imported) {
            Some(function) => self.imported + self.first[function as usize],
            None => index,
        })
    }
}
