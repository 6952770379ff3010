//! The errors of failed tasks.

use std::time::Instant;
use webmesh_protocol::TaskId;

use super::*;

#[test]
fn a_trap_names_its_kind_and_document() {
    let module = Wat {
        map: "(if (i32.eq (local.get $len) (i32.const 3)) (then (drop (i32.load (i32.const -4))))) i32.const 0",
        ..ECHO
    }
    .load();
    let error = map(&module, &[b"a", b"b", b"bad", b"c"]).unwrap_err();
    assert_eq!(error.document, Some(2));
    assert_eq!(error.to_string(), "trapped: out of bounds memory access");
    assert!(error.kind.is_repeatable());
}

#[test]
fn a_trap_after_the_last_document_names_none() {
    let error = failure(&Wat {
        map_finish: "(i32.div_s (i32.const 1) (local.get $buckets)) (i32.div_s (i32.const 0))",
        ..ECHO
    });
    assert_eq!((error.document, error.to_string()), (None, "trapped: integer divide by zero".into()));
}

#[test]
fn endless_recursion_traps() {
    let error = failure(&Wat {
        map: "(call $deeper (i64.const 1)) i32.const 0",
        rest: "(func $deeper (param i64) (call $deeper (i64.add (local.get 0) (i64.const 1))) (call $deeper (local.get 0)))",
        ..ECHO
    });
    assert_eq!(error.to_string(), "trapped: call stack exhausted");
}

#[test]
fn a_stack_overflow_is_reported() {
    // What a compiled function with a large array does: reserve the space, then write into it.
    let pointer = r#"(global $stack (export "__stack_pointer") (mut i32) (i32.const 1024))"#;
    let large = "(global.set $stack (i32.sub (global.get $stack) (i32.const 4000000)))
        (i32.store (global.get $stack) (i32.const 1)) i32.const 0";
    let error = failure(&Wat { map: large, rest: pointer, ..ECHO });
    assert!(error.to_string().starts_with("trapped: stack overflow"), "{error}");
    // A wrong address is not a stack overflow.
    let error = failure(&Wat { map: "(drop (i32.load (i32.const -4))) i32.const 0", rest: pointer, ..ECHO });
    assert_eq!(error.to_string(), "trapped: out of bounds memory access");
}

#[test]
fn the_text_of_an_exception_is_reported() {
    let error = failure(&Wat { map: "i32.const 1", ..ECHO });
    assert_eq!((error.document, error.to_string()), (Some(0), "threw: stoi: no conversion".into()));
    let error =
        Wat { reduce_feed: "i32.const 1", ..ECHO }.load().reduce_task([Ok("chunk".into())], &params()).unwrap_err();
    assert_eq!(error.to_string(), "threw: stoi: no conversion");
    let reduce_finish = "(i32.store (i32.const 1036) (i32.const 1)) i32.const 1024";
    let error = Wat { reduce_finish, ..ECHO }.load().reduce_task([], &params()).unwrap_err();
    assert_eq!(error.to_string(), "threw: stoi: no conversion");
}

#[test]
fn the_text_of_an_exception_cannot_control_a_terminal() {
    let error =
        failure(&Wat { map: "i32.const 1", rest: r#"(data (i32.const 256) "a\1b[2J\ff\nb\00          ")"#, ..ECHO });
    assert_eq!(error.to_string(), "threw: a\u{fffd}[2J\u{fffd}\nb\u{fffd}          ");
}

#[test]
fn an_uncaught_exception_is_reported() {
    let imports = "(tag $e (param i32))";
    for guest in [
        Wat { imports, map: "(throw $e (i32.const 1))", ..ECHO },
        Wat { imports, map: "i32.const 1", error: "(throw $e (i32.const 1))", ..ECHO },
    ] {
        assert_eq!(failure(&guest).to_string(), "threw: an exception outside map and reduce, where nothing catches it");
    }
}

#[test]
fn an_endless_loop_ends_at_the_time_limit() {
    let mut params = params();
    params.limits.time = Duration::from_millis(100);
    let module = Wat { map: "(loop $forever (br $forever)) unreachable", ..ECHO }.load();
    let started = Instant::now();
    let error = module.map_task([&b"document"[..]], BUCKETS, &params).unwrap_err();
    assert_eq!(error.to_string(), "ran longer than 0.1 s");
    assert_eq!(error.document, Some(0));
    assert!(!error.kind.is_repeatable(), "a quicker worker may do it");
    assert!(started.elapsed() >= params.limits.time);
}

#[test]
fn static_constructors_count_against_the_time_limit() {
    // They loop only with the task's seed, not with the seed used when the module is probed.
    let mut seeded = [0; 1];
    blake3::Hasher::new().update(&params().seed).finalize_xof().fill(&mut seeded);
    let guest = Wat {
        imports: r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#,
        initialize: "
            (drop (call $random (i32.const 0) (i32.const 1)))
            (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const SEEDED)) (then (loop $forever (br $forever))))",
        ..ECHO
    };
    let text = guest.text().replace("SEEDED", &seeded[0].to_string());
    let module = load(&runtime(), &wat::parse_str(text).unwrap()).unwrap();
    let mut params = params();
    params.limits.time = Duration::from_millis(100);
    let error = module.map_task([], BUCKETS, &params).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::TimeLimit(params.limits.time));
}

#[test]
fn a_cancelled_task_stops_even_in_an_endless_loop() {
    let module = Wat { map: "(loop $forever (br $forever)) unreachable", ..ECHO }.load();
    let params = params();
    let cancel = params.cancel.clone();
    let (started, has_started) = std::sync::mpsc::sync_channel(1);
    let task = std::thread::spawn(move || {
        started.send(()).unwrap();
        let error = module.map_task([&b"document"[..]], BUCKETS, &params).unwrap_err();
        (error, Instant::now())
    });
    has_started.recv().unwrap();
    let cancelled = Instant::now();
    cancel.cancel();
    let (error, ended) = task.join().unwrap();
    assert_eq!(error.kind, TaskErrorKind::Cancelled);
    println!("stopped after {:?}", ended - cancelled);
    // The aim is 20 ms; a machine that runs other tests at the same time gets more.
    assert!(ended - cancelled < Duration::from_secs(5));
}

#[test]
fn a_task_that_fails_for_lack_of_memory_says_so() {
    let limit = "needed more than 64 MiB of memory";
    for (what, guest) in [
        ("aborts", Wat { map: "(drop (memory.grow (i32.const 2000))) unreachable", ..ECHO }),
        ("throws", Wat { map: "(drop (memory.grow (i32.const 2000))) i32.const 1", ..ECHO }),
        ("asks for 4 GiB", Wat { map: "(drop (memory.grow (i32.const 65536))) unreachable", ..ECHO }),
        ("asks for all there is", Wat { map: "(drop (memory.grow (i32.const -1))) unreachable", ..ECHO }),
        ("has no room for the document", Wat { alloc: "(drop (memory.grow (i32.const 2000))) i32.const 0", ..ECHO }),
        (
            "grows gradually",
            Wat {
                map: "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
                ..ECHO
            },
        ),
    ] {
        assert_eq!(failure(&guest).to_string(), limit, "{what}");
    }
    let large = Wat { memory: r#"(memory (export "memory") 2000)"#, ..ECHO };
    assert_eq!(failure(&large).to_string(), limit);
}

#[test]
fn a_modules_own_memory_maximum_is_not_the_tasks_limit() {
    let error = failure(&Wat {
        memory: r#"(memory (export "memory") 17 18)"#,
        map: "(drop (memory.grow (i32.const 2))) unreachable",
        ..ECHO
    });
    assert!(matches!(error.kind, TaskErrorKind::Trap(_)), "{error:?}");
}

#[test]
fn stored_exceptions_count_as_memory() {
    let error = failure(&Wat {
        imports: "(tag $e (param i32)) (table $kept 60000 exnref)",
        map: "
            (local $i i32)
            (loop $again
                (table.set $kept (i32.rem_u (local.get $i) (i32.const 60000))
                    (block $caught (result exnref)
                        (try_table (catch_all_ref $caught) (throw $e (i32.const 1)))
                        unreachable))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const 60000))))
            unreachable",
        memory: r#"(memory (export "memory") 1010)"#,
        ..ECHO
    });
    assert_eq!(error.kind, TaskErrorKind::MemoryLimit(LIMITS.memory));
}

#[test]
fn too_much_output_is_refused_before_it_is_copied() {
    let mut params = params();
    params.limits.output = 7;
    let module = ECHO.load();
    let error = module.map_task([&b"document"[..]], BUCKETS, &params).unwrap_err();
    assert_eq!(error.to_string(), "gave more than 7 bytes of output");
    let error = module.reduce_task([Ok("document".into())], &params).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::OutputLimit(7));
    params.limits.output = 8;
    module.map_task([&b"document"[..]], BUCKETS, &params).unwrap();
}

/// Fails after all documents are mapped if one of three bytes was among them.
const FAILS_AT_THE_END: Wat = Wat {
    map: "(if (i32.eq (local.get $len) (i32.const 3)) (then (global.set $end (i32.const 1)))) i32.const 0",
    map_finish: "(if (global.get $end) (then unreachable)) i32.const 1024",
    ..ECHO
};

/// A unit of one task of all these documents, run.
fn run_together(guest: &Wat, documents: &[&[u8]]) -> TaskError {
    let ends = documents.iter().scan(0, |end, document| {
        *end += document.len() as u32;
        Some(*end)
    });
    let ranges = ends.zip(documents).map(|(end, document)| end - document.len() as u32..end).collect();
    let task = MapTask { task: TaskId(0), documents: 0..documents.len() as u32 };
    let work = Work::Map { pack: documents.concat().into(), documents: ranges, buckets: BUCKETS, tasks: vec![task] };
    let (sender, receiver) = std::sync::mpsc::sync_channel(10);
    let unit = Unit {
        module: guest.load(),
        limits: LIMITS,
        seed: Arc::new(|_| [0; 32]),
        cancel: CancelToken::new(),
        work,
        deliver: Deliver::new(move |delivery| sender.send(delivery).unwrap()),
    };
    unit.run(&CancelToken::new());
    let mut done = receiver.iter().flat_map(|delivery| delivery.done);
    done.next().unwrap().result.unwrap_err()
}

#[test]
fn a_document_that_fails_its_task_at_the_end_is_found_by_mapping_each_alone() {
    let error = run_together(&FAILS_AT_THE_END, &[b"a", b"b", b"bad", b"c"]);
    assert_eq!(
        (error.document, error.to_string()),
        (Some(2), "trapped: wasm `unreachable` instruction executed".into())
    );
}

#[test]
fn documents_that_fail_only_together_are_reported_as_such() {
    let large = vec![b'x'; LIMITS.output as usize * 2 / 3];
    let error = run_together(&Wat { memory: r#"(memory (export "memory") 50)"#, ..ECHO }, &[&large, &large]);
    assert_eq!(error.document, None);
    assert!(
        error.to_string().contains("the first 2 documents of the task were mapped one by one without an error"),
        "{error}"
    );
}

#[test]
fn guests_share_their_hosts_memory_and_return_it() {
    // One instance of the guest has 17 pages of 64 KiB.
    let runtime = |guest_memory| Runtime::new(RuntimeConfig { guest_memory, ..RuntimeConfig::new(1) }).unwrap();
    let enough = load(&runtime(17 << 16), &ECHO.wasm()).unwrap();
    for _ in 0..3 {
        map(&enough, &[b"document"]).unwrap();
    }
    let ModuleError::Probe(kind) = load(&runtime((17 << 16) - 1), &ECHO.wasm()).unwrap_err() else { panic!("another") };
    assert!(matches!(&kind, TaskErrorKind::Host(_)) && !kind.is_repeatable(), "{kind}");
}
