//! The order of a module's functions.
//!
//! Instances of one generic function, and implementations of one trait's method, differ little, and gzip finds
//! repetitions within 32 KiB only. Placed side by side, they make the compressed program a tenth smaller than in
//! wasm-bindgen's order, by size.

use std::collections::HashMap;
use std::convert::Infallible;

use anyhow::Context;
use rustc_demangle::demangle;
use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, FunctionBody, FunctionSectionReader, KnownCustom, Name, NameSectionReader,
    Parser, Payload, TypeRef,
};

use crate::twins::first_of_each;

/// Reorders a module: similar functions side by side, identical ones merged, and names removed.
pub(crate) fn by_kind(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut ordered = Module::new();
    Order::of(module)?
        .parse_core_module(&mut ordered, Parser::new(0), module)
        .context("cannot write the module's functions in another order")?;
    Ok(ordered.finish())
}

struct Order {
    /// Imported functions have the first indices, and keep them.
    imported: u32,
    /// The remaining functions of those that the module defines, by their old index, in their new order.
    sequence: Vec<usize>,
    /// For each defined function, the index in `sequence` of itself or of the identical one.
    place: Vec<u32>,
}

impl Order {
    fn of(module: &[u8]) -> anyhow::Result<Self> {
        let mut imported = 0;
        let mut types = Vec::new();
        let mut bodies = Vec::new();
        let mut kinds = HashMap::new();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports {
                        imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(functions) => types = functions.into_iter().collect::<Result<Vec<_>, _>>()?,
                Payload::CodeSectionEntry(body) => bodies.push(body),
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        kinds = kinds_of(names)?;
                    }
                }
                _ => {}
            }
        }
        let first = first_of_each(imported, &types, &bodies)?;
        let code = bodies.iter().map(FunctionBody::as_bytes);
        let functions: Vec<_> = (imported..).map(|index| kinds.get(&index)).zip(code).collect();
        let mut sequence: Vec<usize> = (0..functions.len()).filter(|&f| first[f] as usize == f).collect();
        // Within a kind, by their first bytes, which is how their code differs.
        sequence.sort_by_key(|&function| functions[function]);
        let mut place = vec![0; functions.len()];
        for (position, &function) in (0..).zip(&sequence) {
            place[function] = position;
        }
        let place = first.iter().map(|&function| place[function as usize]).collect();
        Ok(Self { imported, sequence, place })
    }
}

fn kinds_of(names: NameSectionReader<'_>) -> anyhow::Result<HashMap<u32, String>> {
    let mut kinds = HashMap::new();
    for subsection in names {
        if let Name::Function(functions) = subsection? {
            for naming in functions {
                let naming = naming?;
                // Without hashes, in either mangling scheme.
                kinds.insert(naming.index, kind(&format!("{:#}", demangle(naming.name))));
            }
        }
    }
    Ok(kinds)
}

/// The name without generic arguments: `Type::function::` for `<Type<A>>::function::<B>`, and `Trait::method` for
/// `<A as Trait<B>>::method`.
fn kind(name: &str) -> String {
    let mut kind = String::with_capacity(name.len());
    let mut arguments = 0_usize;
    let mut before = ' ';
    for letter in name.chars() {
        match letter {
            // This one opens the type that a function belongs to.
            '<' if kind.is_empty() && arguments == 0 => {}
            '<' => arguments += 1,
            '>' if before != '-' => arguments = arguments.saturating_sub(1),
            _ if arguments == 0 => kind.push(letter),
            _ => {}
        }
        if arguments == 0 && kind.ends_with(" as ") {
            kind.clear();
        }
        before = letter;
    }
    kind
}

impl Reencode for Order {
    type Error = Infallible;

    fn function_index(&mut self, index: u32) -> Result<u32, Error<Infallible>> {
        Ok(match index.checked_sub(self.imported) {
            Some(function) => self.imported + self.place[function as usize],
            None => index,
        })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let types = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for &function in &self.sequence {
            functions.function(types[function]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        let bodies = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for position in 0..self.sequence.len() {
            let function = self.sequence[position];
            self.parse_function_body(code, bodies[function].clone())?;
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Result<(), Error<Infallible>> {
        if !matches!(section.as_known(), KnownCustom::Name(_)) {
            module.section(&self.custom_section(section)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_of_one_function_have_the_same_kind() {
        for (name, expected) in [
            ("<alloc::Map<Key<u8>, fn() -> Value>>::insert", "alloc::Map::insert"),
            ("core::ptr::drop_in_place::<Vec<u8>>", "core::ptr::drop_in_place::"),
            ("<<A as B<C>>::D as Trait<E>>::method::<F>", "Trait::method::"),
            ("memcpy", "memcpy"),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn identical_functions_and_their_callers_are_merged() {
        let module = wat::parse_str(
            r#"(module
                (import "" "" (func))
                (func (export "one") (result i32) i32.const 1)
                (func (export "two") (result i32) i32.const 2)
                (func $one (result i32) i32.const 1)
                (func (export "long one") (result i64) i64.const 1)
                (func (export "a") (result i32) call 1)
                (func (export "b") (result i32) call $one)
                (func (export "c") (result i32) call 2)
                (table funcref (elem $one)))"#,
        )
        .expect("a module");
        let ordered = by_kind(&module).expect("a module");
        wasmparser::validate(&ordered).expect("as valid as before");
        let mut exported = HashMap::new();
        let mut functions = 0;
        for payload in Parser::new(0).parse_all(&ordered) {
            match payload.expect("a payload") {
                Payload::ExportSection(exports) => {
                    exported.extend(exports.into_iter().map(|export| export.map(|e| (e.name, e.index)).expect("one")));
                }
                Payload::CodeSectionStart { count, .. } => functions = count,
                _ => {}
            }
        }
        assert_eq!(functions, 5, "1, 2, 1 as 64 bits, and who calls which");
        assert_eq!(exported["a"], exported["b"]);
        assert_ne!(exported["a"], exported["c"]);
        assert_ne!(exported["one"], exported["long one"]);
    }

    #[test]
    fn reordered_functions_keep_their_behaviour() {
        let module = wat::parse_str(
            r#"(module
                (import "" "" (func))
                (func $b (export "b") (result i64) i64.const 2)
                (func $a (export "a") (result i32) call $b i32.wrap_i64))"#,
        )
        .expect("a module");
        let ordered = by_kind(&module).expect("a module of named functions");
        wasmparser::validate(&ordered).expect("as valid as before");

        let mut exported = Vec::new();
        let mut sizes = Vec::new();
        for payload in Parser::new(0).parse_all(&ordered) {
            match payload.expect("a payload") {
                Payload::ExportSection(exports) => {
                    exported.extend(
                        exports.into_iter().map(|export| export.map(|e| (e.name, e.index)).expect("an export")),
                    );
                }
                Payload::CodeSectionEntry(body) => sizes.push(body.as_bytes().len()),
                Payload::CustomSection(section) => panic!("{} is left", section.name()),
                _ => {}
            }
        }
        assert_eq!(exported, [("b", 2), ("a", 1)]);
        assert!(sizes[0] > sizes[1], "{sizes:?}: the caller is first");
    }
}
