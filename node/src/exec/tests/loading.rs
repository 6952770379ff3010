//! Which modules are accepted, and the errors for the others.

use super::*;

fn refusal(guest: &Wat) -> ModuleError {
    load(&runtime(), &guest.wasm()).unwrap_err()
}

#[test]
fn a_module_is_compiled_once_while_it_is_held() {
    let runtime = runtime();
    let wasm = ECHO.wasm();
    let first = load(&runtime, &wasm).unwrap();
    assert!(first.compile_time().is_some());
    assert!(Arc::ptr_eq(&first, &load(&runtime, &wasm).unwrap()));
    assert_eq!(first.hash(), blake3::hash(&wasm).as_bytes());
}

#[test]
fn every_import_of_the_interface_is_provided() {
    let guest = Wat {
        imports: r#"
            (import "wasi_snapshot_preview1" "args_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_prestat_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_seek" (func (param i32 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#,
        ..ECHO
    };
    map(&guest.load(), &[b"document"]).unwrap();
}

#[test]
fn any_other_import_is_refused_by_name() {
    for (imports, module, name) in [
        (r#"(import "env" "system" (func))"#, "env", "system"),
        (
            r#"(import "wasi_snapshot_preview1" "path_open"
                (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"#,
            "wasi_snapshot_preview1",
            "path_open",
        ),
        (r#"(import "env" "fd_close" (func (param i32) (result i32)))"#, "env", "fd_close"),
        (r#"(import "env" "table" (table 1 funcref))"#, "env", "table"),
    ] {
        let error = refusal(&Wat { imports, ..ECHO });
        assert_eq!(error, ModuleError::Import { module: module.into(), name: name.into() });
        assert!(error.to_string().contains(name) && error.is_repeatable());
    }
}

#[test]
fn an_import_of_another_type_is_refused_by_name() {
    for imports in [
        r#"(import "wasi_snapshot_preview1" "fd_close" (func (param i64) (result i32)))"#,
        r#"(import "wasi_snapshot_preview1" "fd_close" (global i32))"#,
    ] {
        assert_eq!(refusal(&Wat { imports, ..ECHO }), ModuleError::ImportType { name: "fd_close".into() });
    }
}

#[test]
fn a_missing_or_mistyped_export_is_named() {
    let without = |from: &str, to: &str| {
        let text = ECHO.text();
        assert!(text.contains(from));
        load(&runtime(), &wat::parse_str(text.replace(from, to)).unwrap()).unwrap_err()
    };
    assert_eq!(without(r#"(export "webmesh_map")"#, ""), ModuleError::Missing("webmesh_map"));
    assert_eq!(without(r#"(export "_initialize")"#, ""), ModuleError::Missing("_initialize"));
    assert_eq!(without(r#"(export "memory")"#, ""), ModuleError::Missing("memory"));
    assert_eq!(
        without(
            r#"(export "webmesh_error") (result i32)"#,
            r#"(export "webmesh_error") (result i32) (result i32) i32.const 0"#
        ),
        ModuleError::ExportType("webmesh_error", "() -> i32")
    );
    assert_eq!(without(r#"(export "memory")"#, r#"(export "memory2")"#), ModuleError::Missing("memory"));
    assert_eq!(
        without(r#"(memory (export "memory") 17)"#, r#"(memory 17) (global (export "memory") i32 (i32.const 0))"#),
        ModuleError::ExportType("memory", "memory")
    );
}

#[test]
fn another_version_of_the_interface_is_refused() {
    assert_eq!(refusal(&Wat { version: "i32.const 2", ..ECHO }), ModuleError::Version { found: 2, expected: 1 });
}

#[test]
fn a_module_whose_version_function_fails_is_refused() {
    let error = refusal(&Wat { version: "unreachable", ..ECHO });
    assert!(matches!(error, ModuleError::Probe(TaskErrorKind::Trap(_))), "{error:?}");
}

#[test]
fn nondeterministic_features_are_refused() {
    for (what, guest) in [
        (
            "relaxed SIMD",
            Wat {
                rest: "(func (drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
                ..ECHO
            },
        ),
        ("threads", Wat { memory: r#"(memory (export "memory") 17 17 shared)"#, ..ECHO }),
        ("atomics", Wat { rest: "(func (drop (i32.atomic.load (i32.const 0))))", ..ECHO }),
        ("two memories", Wat { rest: "(memory 1)", ..ECHO }),
    ] {
        assert!(matches!(refusal(&guest), ModuleError::Invalid(_) | ModuleError::Shape(_)), "{what}");
    }
}

#[test]
fn invalid_modules_are_refused() {
    let runtime = runtime();
    assert!(matches!(load(&runtime, b"").unwrap_err(), ModuleError::Invalid(_)));
    assert!(matches!(load(&runtime, &wat::parse_str("(module)").unwrap()).unwrap_err(), ModuleError::Shape(_)));
    let wasm = ECHO.wasm();
    assert!(matches!(load(&runtime, &wasm[..wasm.len() - 1]).unwrap_err(), ModuleError::Invalid(_)));
    assert_eq!(runtime.load([0; 32], &wasm).unwrap_err(), ModuleError::WrongHash);
    let large = vec![0; MAX_MODULE_BYTES + 1];
    assert!(matches!(load(&runtime, &large).unwrap_err(), ModuleError::TooLarge { .. }));
}

#[test]
fn a_table_above_the_limit_is_refused() {
    assert!(matches!(refusal(&Wat { rest: "(table 10000000 funcref)", ..ECHO }), ModuleError::Shape(_)));
}

/// A guest with an additional function of `locals` locals, which repeats `one_loop` `loops` times.
fn with_loops(locals: usize, one_loop: &str, loops: usize) -> Vec<u8> {
    let function = format!("(func (local {}) {})", "i32 ".repeat(locals), one_loop.repeat(loops));
    let text = ECHO.text();
    wat::parse_str(format!("{} {function})", text.strip_suffix(')').unwrap())).unwrap()
}

#[test]
fn a_small_module_that_would_take_long_to_compile_is_refused_at_once() {
    let one_loop = "(loop (local.set 7 (i32.add (local.get 3) (i32.const 1))) (br_if 0 (local.get 7)))";
    let runtime = runtime();
    load(&runtime, &with_loops(100, one_loop, 100)).unwrap();

    let hostile = with_loops(1000, one_loop, 4000);
    assert!(hostile.len() < 100_000);
    let error = load(&runtime, &hostile).unwrap_err();
    assert!(matches!(error, ModuleError::TooCostly { what: "cells of control flow", .. }), "{error:?}");
    assert!(error.is_repeatable() && error.to_string().contains("too long to compile"));
}

#[test]
fn cost_is_summed_over_all_functions_and_live_values() {
    let runtime = runtime();
    let costly = |rest: String| {
        let text = ECHO.text();
        let wasm = wat::parse_str(format!("{} {rest})", text.strip_suffix(')').unwrap())).unwrap();
        matches!(load(&runtime, &wasm), Err(ModuleError::TooCostly { .. } | ModuleError::Shape(_)))
    };
    let function = format!("(func (local {}) {})", "i32 ".repeat(500), "(block (br_if 0 (local.get 0)))".repeat(500));
    assert!(!costly(function.clone()));
    assert!(costly(function.repeat(10)), "many functions of middling cost");
    let wide = format!("(type $wide (func (param {0}) (result {0})))", "i32 ".repeat(900));
    let arguments: String = (0..900).map(|local| format!("local.get {local} ")).collect();
    let calls = "call $f ".repeat(3000);
    let calls = format!("(func $f (type $wide) unreachable) (func (type $wide) {arguments} {calls})");
    let operands = format!("{} {}", "local.get 0 ".repeat(1000), "(loop (br_if 0 (local.get 0)))".repeat(4000));
    let deep = format!("(func (param i32) {operands} {})", "drop ".repeat(1000));
    assert!(costly(deep), "many operands left on the stack");
    let crowd = |operation: &str| format!("(func (local {}) {})", "i64 ".repeat(500), operation.repeat(2000));
    assert!(!costly(crowd("(drop (i64.const 0))")));
    for (tables, operation) in [
        ("(table $t 2 externref)", "(table.set $t (i32.const 0) (table.get $t (i32.const 1)))"),
        ("(table $t 2 funcref)", "(call_indirect $t (i32.const 0)) (drop (table.get $t (i32.const 1)))"),
        ("(global $g (mut externref) (ref.null extern))", "(global.set $g (global.get $g))"),
        ("(table $t 2 exnref)", "(table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 1))"),
    ] {
        assert!(costly(format!("{tables} {}", crowd(operation))), "{operation}");
    }
    let references = "externref ".repeat(2000);
    assert!(
        costly(format!("(func $f) (func (local {references}) {})", "(call $f)".repeat(500))),
        "references in locals"
    );
    assert!(costly(wide + &calls), "calls that carry many values");
    assert!(costly(format!("(func (local {}))", "i32 ".repeat(20_000))), "a function of many locals");
    assert!(costly(format!("(func {})", "(drop (i32.const 0))".repeat(400_000))), "a function of many instructions");
}
