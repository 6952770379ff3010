//! Guests that give false addresses. None may make the host panic or read memory outside the guest's.

use super::*;

/// Whether the task failed because it violated the interface.
fn broke_the_interface(result: Result<impl std::fmt::Debug, TaskError>) {
    let error = result.unwrap_err();
    assert!(matches!(error.kind, TaskErrorKind::BadModule(_) | TaskErrorKind::OutputLimit(_)), "{error:?}");
}

#[test]
fn a_buffer_outside_the_memory_is_refused() {
    for alloc in ["i32.const 0", "i32.const -1", "i32.const 1114108", "i32.const 0x7fffffff"] {
        broke_the_interface(map(&Wat { alloc, ..ECHO }.load(), &[b"document"]));
        broke_the_interface(Wat { alloc, ..ECHO }.load().reduce_task([Ok("document".into())], &params()));
    }
}

#[test]
fn a_result_outside_the_memory_is_refused() {
    for at in ["i32.const -1", "i32.const -8", "i32.const 1114109", "i32.const 0x80000000"] {
        broke_the_interface(map(&Wat { map_finish: at, ..ECHO }.load(), &[]));
        broke_the_interface(Wat { reduce_finish: at, ..ECHO }.load().reduce_task([], &params()));
        broke_the_interface(map(&Wat { map: "i32.const 1", error: at, ..ECHO }.load(), &[b"document"]));
    }
}

#[test]
fn any_result_words_are_handled() {
    // Values that a careless check gets wrong: 0, the ends of the memory, of i32 and of u32.
    const EDGES: [u32; 10] =
        [0, 1, 1024, 1_114_111, 1_114_112, 1_114_113, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
    let guest = Wat {
        map: "
            (memory.copy (i32.const 1024) (local.get $ptr) (i32.const 32))
            (i32.load (i32.const 1040))",
        map_finish: "i32.const 1024",
        reduce_feed: "(memory.copy (i32.const 1024) (local.get $ptr) (i32.const 32)) i32.const 0",
        reduce_finish: "i32.const 1024",
        error: "i32.const 1024",
        ..ECHO
    };
    let module = guest.load();
    for first in EDGES {
        for second in EDGES {
            for third in EDGES {
                for status in [0, 1] {
                    let words = [first, second, third, status, status, first, second, third];
                    let answer: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    if let Ok(output) = map(&module, &[&answer]) {
                        assert_eq!(output.offsets.len(), 5);
                        assert!(output.offsets.is_sorted());
                        assert_eq!(*output.offsets.last().unwrap() as usize, output.data.len());
                    }
                    let reduced = module.reduce_task([Ok(answer.into())], &params());
                    if let Ok(output) = reduced {
                        assert_eq!(output.data.len(), second as usize);
                    }
                }
            }
        }
    }
}

#[test]
fn bucket_offsets_that_descend_are_refused() {
    let map_finish = "
        (i32.store (i32.const 1024) (i32.const 65536))
        (i32.store (i32.const 1028) (i32.const 2048))
        (i32.store (i32.const 2052) (i32.const 9))
        (i32.store (i32.const 2056) (i32.const 8))
        (i32.store (i32.const 2060) (i32.const 9))
        (i32.store (i32.const 2064) (i32.const 9))
        i32.const 1024";
    let error = map(&Wat { map_finish, ..ECHO }.load(), &[]).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::BadModule("bucket offsets descend from 9 to 8".into()));
}

#[test]
fn more_buckets_than_any_memory_holds_are_refused() {
    let finish = "(i64.store (i32.const 1024) (i64.const 0)) i32.const 1024";
    let module = Wat { map_finish: finish, ..ECHO }.load();
    for buckets in [1 << 20, u32::MAX / 4, u32::MAX] {
        let error = module.map_task([], NonZeroU32::new(buckets).unwrap(), &params()).unwrap_err();
        assert!(matches!(error.kind, TaskErrorKind::BadModule(_) | TaskErrorKind::Input(_)), "{error:?}");
    }
}

#[test]
fn an_error_text_is_cut() {
    let error = "(i32.store (i32.const 1028) (i32.const 1000000)) i32.const 1024";
    let TaskErrorKind::Exception(text) = failure(&Wat { map: "i32.const 1", error, ..ECHO }).kind else {
        panic!("not thrown")
    };
    assert_eq!(text.chars().count(), 4096);
}
