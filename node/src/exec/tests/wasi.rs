//! What a guest sees of its environment, which is empty.

use super::*;

const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))"#;

/// Writes the document to descriptor 2 and returns the error number.
const WRITE: &str = "
    (i32.store (i32.const 16) (local.get $ptr))
    (i32.store (i32.const 20) (local.get $len))
    (call $fd_write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 24))";

/// The first `n` bytes of the output buffer, which `body` is to fill.
fn output_of(body: &'static str, n: usize) -> Vec<u8> {
    let guest = Wat { imports: IMPORTS, initialize: "(global.set $end (i32.const 64))", map: body, ..ECHO };
    map(&guest.load(), &[b"document"]).unwrap().data[..n].to_vec()
}

#[test]
fn the_end_of_the_log_is_part_of_the_error() {
    let map_and_fail = "
        (i32.store (i32.const 16) (local.get $ptr))
        (i32.store (i32.const 20) (local.get $len))
        (if (call $fd_write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 24)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 24)) (local.get $len)) (then unreachable))
        (i32.eqz (local.get $len))";
    let module = Wat { imports: IMPORTS, map: map_and_fail, ..ECHO }.load();
    let error = map(&module, &[b"hello ", b"world\n\x1b", b""]).unwrap_err();
    assert_eq!(error.log_tail, "hello world\n\u{fffd}");
    let lines: Vec<String> = (0..1000).map(|line| format!("line {line}\n")).collect();
    let mut documents: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    documents.push(b"");
    let tail = map(&module, &documents).unwrap_err().log_tail;
    assert!(tail.len() <= 4096 && tail.len() > 4000, "{}", tail.len());
    assert!(lines.concat().ends_with(&tail) && tail.starts_with("line "), "{tail:.20}");
}

#[test]
fn a_task_that_succeeds_may_write_what_it_likes() {
    let module = Wat { imports: IMPORTS, map: WRITE, ..ECHO }.load();
    map(&module, &[&[b'x'; 100_000]]).unwrap();
}

#[test]
fn the_clock_stands_still() {
    let body = "
        (i64.store (i32.const 65536) (i64.const -1))
        (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 65536))";
    assert_eq!(output_of(body, 8), [0; 8]);
}

#[test]
fn there_are_no_arguments() {
    let body = "
        (i64.store (i32.const 65536) (i64.const -1))
        (call $args_sizes_get (i32.const 65536) (i32.const 65540))";
    assert_eq!(output_of(body, 8), [0; 8]);
}

#[test]
fn random_numbers_depend_on_the_task_alone() {
    // Two calls: the second continues where the first ended.
    let body = "
        (drop (call $random_get (i32.const 65536) (i32.const 5)))
        (call $random_get (i32.const 65541) (i32.const 59))";
    let mut expected = [0; 64];
    blake3::Hasher::new().update(&[7; 32]).finalize_xof().fill(&mut expected);
    assert_eq!(output_of(body, 64), expected);
}

#[test]
fn the_standard_descriptors_are_a_terminal_and_there_is_no_other() {
    let body = "
        (i32.store8 (i32.const 65536) (call $fd_fdstat_get (i32.const 1) (i32.const 65568)))
        (i32.store8 (i32.const 65537) (i32.load8_u (i32.const 65568)))
        (i32.store8 (i32.const 65538) (call $fd_fdstat_get (i32.const 3) (i32.const 65568)))
        (i32.store8 (i32.const 65539) (call $fd_prestat_get (i32.const 3) (i32.const 65568)))
        (i32.store8 (i32.const 65540) (call $fd_close (i32.const 1)))
        (i32.store8 (i32.const 65541) (call $fd_close (i32.const 3)))
        (i32.store8 (i32.const 65542) (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 0)))
        (i32.store8 (i32.const 65543) (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 65568)))
        (i32.store8 (i32.const 65544) (i32.load (i32.const 65568)))
        (i32.store8 (i32.const 65545) (call $fd_write (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)))
        (i32.store8 (i32.const 65546) (call $sched_yield))
        i32.const 0";
    assert_eq!(output_of(body, 11), [0, 2, 8, 8, 0, 8, 70, 0, 0, 8, 0]);
}

#[test]
fn a_bad_pointer_is_an_error_number() {
    let body = "
        (i32.store (i32.const 16) (i32.const -1))
        (i32.store (i32.const 20) (i32.const -1))
        (i32.store8 (i32.const 65536) (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
        (i32.store8 (i32.const 65537) (call $fd_write (i32.const 1) (i32.const -4) (i32.const 2) (i32.const 24)))
        (i32.store8 (i32.const 65538) (call $fd_write (i32.const 1) (i32.const 16) (i32.const -1) (i32.const 24)))
        (i32.store8 (i32.const 65539) (call $random_get (i32.const 1114111) (i32.const 2)))
        (i32.store8 (i32.const 65540) (call $random_get (i32.const -1) (i32.const -1)))
        (i32.store8 (i32.const 65541) (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 1114105)))
        (i32.store8 (i32.const 65542) (call $args_sizes_get (i32.const -1) (i32.const 0)))
        (i32.store8 (i32.const 65543) (call $fd_fdstat_get (i32.const 1) (i32.const 1114089)))
        i32.const 0";
    assert_eq!(output_of(body, 8), [21, 21, 28, 21, 21, 21, 21, 21]);
}

#[test]
fn an_exit_ends_the_task() {
    let error = failure(&Wat { imports: IMPORTS, map: "(call $proc_exit (i32.const 3)) unreachable", ..ECHO });
    assert_eq!((error.document, error.to_string()), (Some(0), "called exit(3)".into()));
}

#[test]
fn a_large_request_for_random_numbers_can_be_interrupted() {
    let mut params = params();
    params.limits = TaskLimits { memory: 2 << 30, time: Duration::from_millis(50), ..LIMITS };
    let guest = Wat {
        imports: IMPORTS,
        memory: r#"(memory (export "memory") 16384)"#,
        map: "(loop $again (drop (call $random_get (i32.const 0) (i32.const 0x3fffffff))) (br $again)) unreachable",
        ..ECHO
    };
    let started = std::time::Instant::now();
    let error = guest.load().map_task([&b"document"[..]], BUCKETS, &params).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::TimeLimit(params.limits.time));
    println!("a limit of 50 ms ended it after {:?}", started.elapsed());
}
