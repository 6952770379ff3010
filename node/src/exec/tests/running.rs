//! What a well-behaved guest can rely on.

use std::io;

use bytes::Bytes;

use super::*;

#[test]
fn each_bucket_is_returned_in_its_place() {
    let output = map(&ECHO.load(), &[b"one", b"", b"three"]).unwrap();
    assert_eq!(output.offsets, [0, 3, 3, 8, 8]);
    let buckets: Vec<_> = (0..4).map(|bucket| output.bucket(bucket).unwrap()).collect();
    assert_eq!(buckets, ["one", "", "three", ""].map(Bytes::from));
    assert_eq!(output.bucket(4), None);
}

#[test]
fn a_guest_may_place_its_first_bucket_anywhere_in_its_data() {
    let output = map(
        &Wat {
            map_finish: "
                (i32.store (i32.const 1024) (i32.const 200))
                (i32.store (i32.const 1028) (i32.const 2048))
                (i32.store (i32.const 2048) (i32.const 56))
                (i32.store (i32.const 2052) (i32.const 60))
                (i32.store (i32.const 2056) (i32.const 60))
                (i32.store (i32.const 2060) (i32.const 62))
                (i32.store (i32.const 2064) (i32.const 62))
                i32.const 1024",
            ..ECHO
        }
        .load(),
        &[],
    )
    .unwrap();
    assert_eq!((output.data, output.offsets), (Bytes::from("stoi: "), vec![0, 4, 4, 6, 6]));
}

#[test]
fn a_reduce_reads_the_segments_in_order() {
    let chunks = ["first ", "second ", "", "last"].map(|chunk| Ok(Bytes::from(chunk)));
    let output = ECHO.load().reduce_task(chunks, &params()).unwrap();
    assert_eq!(output, ReduceOutput { data: Bytes::from("first second last"), records: 4 });
}

#[test]
fn an_empty_task_gives_empty_buckets() {
    let module = ECHO.load();
    assert_eq!(map(&module, &[]).unwrap(), MapOutput { data: Bytes::new(), offsets: vec![0; 5] });
    let output = module.reduce_task([], &params()).unwrap();
    assert_eq!(output, ReduceOutput { data: Bytes::new(), records: 0 });
}

#[test]
fn no_task_sees_the_memory_of_another() {
    // Fails if any byte of the data, of fresh memory, or of memory grown before differs from its initial value.
    let module = Wat {
        map: "
            (if (i32.eqz (i32.eq (i32.load8_u (i32.const 256)) (i32.const 115))) (then unreachable))
            (if (i32.load (i32.const 600000)) (then unreachable))
            (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))
            (if (i32.load (i32.const 6000000)) (then unreachable))
            (if (global.get $count) (then unreachable))
            (i32.store8 (i32.const 256) (i32.const 1))
            (i32.store (i32.const 600000) (i32.const 1))
            (i32.store (i32.const 6000000) (i32.const 1))
            (global.set $count (i32.const 1))
            i32.const 0",
        ..ECHO
    }
    .load();
    for _ in 0..20 {
        map(&module, &[b"document"]).unwrap();
    }
}

#[test]
fn static_constructors_run_first() {
    let module = Wat {
        initialize: "(global.set $end (i32.const 3)) (i32.store (i32.const 65536) (i32.const 0x2e2e2e))",
        ..ECHO
    }
    .load();
    assert_eq!(map(&module, &[b"!"]).unwrap().data, "...!");
}

#[test]
fn a_caught_exception_does_not_fail_the_task() {
    // A million in one task: thrown objects must also be freed.
    let module = Wat {
        imports: "(tag $e (param i32))",
        map: "
            (local $i i32)
            (loop $again
                (block $caught (result i32)
                    (try_table (catch $e $caught) (throw $e (i32.const 1)))
                    unreachable)
                (local.set $i (i32.add (local.get $i)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000))))
            i32.const 0",
        ..ECHO
    }
    .load();
    map(&module, &[b"document"]).unwrap();
}

#[test]
fn a_rethrown_exception_reference_works() {
    let module = Wat {
        imports: "(tag $e (param i32))",
        map: "
            (block $outer (result i32)
                (try_table (catch $e $outer)
                    (block $inner (result exnref)
                        (try_table (catch_all_ref $inner) (throw $e (i32.const 5)))
                        unreachable)
                    throw_ref)
                unreachable)
            (i32.sub (i32.const 5))",
        ..ECHO
    }
    .load();
    map(&module, &[b"document"]).unwrap();
}

#[test]
fn a_guest_may_go_on_without_memory_that_it_was_denied() {
    let module = Wat { map: "(drop (memory.grow (i32.const 2000))) i32.const 0", ..ECHO }.load();
    map(&module, &[b"document"]).unwrap();
}

#[test]
fn an_unreadable_segment_is_not_blamed_on_the_guest() {
    let chunks = [Ok(Bytes::from("fine")), Err(io::Error::other("the disk is gone"))];
    let error = ECHO.load().reduce_task(chunks, &params()).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::Input("the disk is gone".into()));
    assert!(!error.kind.is_repeatable());
}

#[test]
fn waiting_for_input_does_not_count_against_the_time_limit() {
    let mut params = params();
    params.limits.time = Duration::from_millis(100);
    let slow = (0..4).map(|_| {
        std::thread::sleep(Duration::from_millis(60));
        Ok(Bytes::from("x"))
    });
    assert_eq!(ECHO.load().reduce_task(slow, &params).unwrap().records, 4);
}
