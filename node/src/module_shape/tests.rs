//! The checker on modules at and beyond its limits, and compared with a validator.

use super::*;

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {text})")).unwrap()
}

fn module(more: &str) -> Vec<u8> {
    wasm(&format!("(memory 2) {more} (func (export \"f\") (result i32) memory.size)"))
}

fn refusal(wasm: &[u8]) -> ShapeError {
    Shape::of(wasm).unwrap_err()
}

fn limited(wasm: &[u8], pages: u64) -> Result<Vec<u8>, ShapeError> {
    Shape::of(wasm)?.limited(wasm, pages * PAGE)
}

#[test]
fn a_memory_is_limited_and_nothing_else_changes() {
    let with = |memory: &str| wasm(&format!("{memory} (func (export \"f\") (result i32) memory.size)"));
    assert_eq!(limited(&with("(memory 2)"), 10), Ok(with("(memory 2 10)")));
    assert_eq!(limited(&with("(memory 2 1000)"), 10), Ok(with("(memory 2 10)")));
    assert_eq!(limited(&with("(memory 2 3)"), 10), Ok(with("(memory 2 3)")), "a lower maximum stays");
    assert_eq!(
        limited(&with("(memory 11)"), 10),
        Err(ShapeError::MemoryTooSmall { needed: 11 * PAGE, limit: 10 * PAGE })
    );
}

#[test]
fn tables_are_limited_and_nothing_else_changes() {
    let with = |maxima: [&str; 3]| {
        let [a, b, c] = maxima;
        wasm(&format!(
            "(table 1 {a} funcref) (table 2 {b} externref) (table 3 {c} exnref) (memory 2 10)
             (func (drop (table.grow 1 (ref.null extern) (i32.const 100))))"
        ))
    };
    assert_eq!(limited(&with(["", "1000000", "7"]), 10), Ok(with(["65536", "65536", "7"])));
    assert_eq!(
        refusal(&module("(table 65537 funcref)")),
        too_many("entries in a table", 65_537, u64::from(MAX_TABLE_ELEMENTS))
    );
    let five = "(table 1 funcref)".repeat(5);
    assert_eq!(refusal(&module(&five)), too_many("tables", 5, 4));
}

#[test]
fn everything_that_a_module_declares_is_limited() {
    let times = |count: u32, text: &str| text.repeat(count as usize);
    for (what, limit, text) in [
        ("globals", MAX_GLOBALS, times(MAX_GLOBALS + 1, "(global i32 (i32.const 0))")),
        ("functions", MAX_FUNCTIONS, times(MAX_FUNCTIONS, "(func)")),
        ("kinds of exceptions", MAX_TAGS, times(MAX_TAGS + 1, "(tag)")),
        ("data segments", MAX_SEGMENTS, times(MAX_SEGMENTS + 1, "(data \"\")")),
        ("element segments", MAX_SEGMENTS, times(MAX_SEGMENTS + 1, "(elem func)")),
        ("parameters of a type", MAX_PARAMETERS, format!("(type (func (param {})))", times(1001, "i32 "))),
        ("results of a type", MAX_PARAMETERS, format!("(type (func (result {})))", times(1001, "i32 "))),
        ("locals in one function", MAX_LOCALS, format!("(func (local {}))", times(MAX_LOCALS + 1, "i32 "))),
    ] {
        let refused = refusal(&module(&text));
        assert_eq!(refused, too_many(what, u64::from(limit) + 1, u64::from(limit)));
    }
    let types: String =
        (0..=MAX_TYPES).map(|n| format!("(type (func (param {})))", " i32".repeat(n as usize % 9))).collect();
    assert!(matches!(refusal(&module(&types)), ShapeError::TooMany { what: "types", .. }));
    let exports: String = (0..=MAX_EXPORTS).map(|n| format!("(export \"{n}\" (memory 0))")).collect();
    assert!(matches!(refusal(&module(&exports)), ShapeError::TooMany { what: "exports", .. }));
    let imports = "(import \"a\" \"b\" (func))".repeat(101);
    assert!(matches!(refusal(&wasm(&format!("{imports} (memory 1)"))), ShapeError::TooMany { what: "imports", .. }));
    let large = format!("(func {})", "(drop (i32.const 0))".repeat(MAX_BODY_BYTES as usize / 3));
    assert!(matches!(refusal(&module(&large)), ShapeError::TooMany { what: "bytes in one function", .. }));
}

#[test]
fn objects_that_no_limit_counts_cannot_be_declared() {
    for text in [
        "(type (struct (field i32)))",
        "(type (array i8))",
        "(rec (type (func)) (type (func)))",
        "(tag (param externref))",
        "(tag (param exnref))",
        "(table 1 1 (ref null 0)) (type (func))",
    ] {
        assert!(matches!(refusal(&module(text)), ShapeError::Unsupported(_)), "{text}");
    }
    let wide = format!("(tag (param {}))", "i64 ".repeat(17));
    assert_eq!(refusal(&module(&wide)), too_many("values in an exception", 17, 16));
    assert!(Shape::of(&module("(tag (param i32))")).is_ok(), "what C++ has");
    for memory in ["", "(memory 1) (memory 1)", "(memory 1 1 shared)", "(memory i64 1)"] {
        assert!(matches!(refusal(&wasm(memory)), ShapeError::Unsupported(_)), "{memory}");
    }
}

#[test]
fn damaged_modules_are_refused_or_pass_unharmed() {
    let whole = module("(table 1 funcref) (global i32 (i32.const 0)) (tag (param i32)) (data \"text\")");
    for end in 0..whole.len() {
        if let Ok(shape) = Shape::of(&whole[..end]) {
            let _ = shape.limited(&whole[..end], 10 * PAGE);
        }
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x40, 0x7f, 0x80, 0xff] {
            let mut bad = whole.clone();
            bad[at] = value;
            if let Ok(shape) = Shape::of(&bad) {
                let _ = shape.limited(&bad, 10 * PAGE);
            }
        }
    }
    assert_eq!(refusal(b"\0asm"), ShapeError::Malformed);
    let twice = [&whole[..], &[section::MEMORY, 3, 1, 0, 1]].concat();
    assert_eq!(refusal(&twice), ShapeError::Malformed, "a second memory section");
}

/// The maxima that a validator sees: of the memory in pages, and of each table.
fn maxima(wasm: &[u8]) -> (Vec<Option<u64>>, Vec<Option<u64>>) {
    let (mut memories, mut tables) = (Vec::new(), Vec::new());
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            wasmparser::Payload::MemorySection(section) => {
                memories.extend(section.into_iter().map(|memory| memory.unwrap().maximum));
            }
            wasmparser::Payload::TableSection(section) => {
                tables.extend(section.into_iter().map(|table| table.unwrap().ty.maximum));
            }
            _ => {}
        }
    }
    (memories, tables)
}

/// `FUZZ_SECONDS=600` makes it longer.
#[test]
fn whatever_a_validator_accepts_has_the_limits_afterwards() {
    use wasmparser::{Validator, WasmFeatures};
    let is_valid = |wasm: &[u8]| Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).is_ok();
    let begin = [
        module("(table 1 funcref) (global i32 (i32.const 0)) (tag (param i32)) (data \"text\")"),
        module("(table 1 2 externref) (table 0 exnref) (type (func (param i64) (result f32))) (elem func 0)"),
        wasm("(import \"a\" \"b\" (func)) (table 7 9 funcref) (memory 1)"),
    ];
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (began, mut seed, mut accepted) = (std::time::Instant::now(), 0u64, 0u64);
    while began.elapsed().as_secs() < seconds {
        seed += 1;
        let mut random = seed;
        let mut below = |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % n
        };
        let mut wasm = begin[below(begin.len())].clone();
        for _ in 0..=below(3) {
            let at = MAGIC.len() + below(wasm.len() - MAGIC.len());
            match below(4) {
                0 => wasm[at] = [0, 1, 2, 4, 0x40, 0x60, 0x63, 0x70, 0x7f, 0x80, 0xff][below(11)],
                1 => wasm[at] = below(256) as u8,
                2 => wasm.insert(at, below(256) as u8),
                _ => drop(wasm.drain(at..(at + 1 + below(4)).min(wasm.len()))),
            }
            if wasm.len() <= MAGIC.len() {
                break;
            }
        }
        let Ok(shape) = Shape::of(&wasm) else { continue };
        let Ok(limited) = shape.limited(&wasm, 10 * PAGE) else { continue };
        if is_valid(&wasm) {
            accepted += 1;
            assert!(is_valid(&limited), "seed {seed}");
            let (memories, tables) = maxima(&limited);
            assert!(matches!(memories[..], [Some(0..=10)]), "seed {seed}: {memories:?}");
            let most = u64::from(MAX_TABLE_ELEMENTS);
            assert!(tables.iter().all(|most_of| most_of.is_some_and(|found| found <= most)), "seed {seed}");
        }
    }
    println!("{seed} modules, {accepted} of them valid");
    assert!(accepted > 0);
}
