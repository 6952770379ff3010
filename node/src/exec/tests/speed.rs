//! The cost of tasks. Prints; fails only if something is wrong by an order of magnitude.

use std::num::NonZeroUsize;
use std::sync::mpsc::sync_channel;
use std::time::Instant;
use webmesh_protocol::TaskId;

use super::*;

/// Touches some pages, as a C++ guest does: its stack, its heap, its tables.
const TOUCHING: Wat = Wat {
    initialize: "
        (i32.store (i32.const 8192) (i32.const 1))
        (i32.store (i32.const 16384) (i32.const 1))
        (i32.store (i32.const 262144) (i32.const 1))
        (i32.store (i32.const 266240) (i32.const 1))",
    ..ECHO
};

/// Touches 4 MiB, as a C++ guest does with half a megabyte of text.
const LARGE: Wat = Wat {
    memory: r#"(memory (export "memory") 80)"#,
    initialize: "
        (local $at i32)
        (local.set $at (i32.const 1048576))
        (loop $touch
            (i32.store (local.get $at) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 4096)))
            (br_if $touch (i32.lt_u (local.get $at) (i32.const 5242880))))",
    ..ECHO
};

/// Microseconds for each of `count` tasks of one line, in one unit on one thread.
fn tiny_tasks(guest: &Wat, count: u32) -> f64 {
    let module = guest.load();
    let work = Work::Map {
        pack: "to be or not to be".into(),
        documents: std::iter::once(0..18).collect(),
        buckets: BUCKETS,
        tasks: TaskId::below(count).map(|task| MapTask { task, documents: 0..1 }).collect(),
    };
    let (sender, receiver) = sync_channel(16);
    let unit = Unit {
        module,
        limits: LIMITS,
        seed: Arc::new(|task| *blake3::hash(&task.0.to_le_bytes()).as_bytes()),
        cancel: CancelToken::new(),
        work,
        deliver: Deliver::new(move |delivery| sender.send(delivery).unwrap()),
    };
    let pool = Pool::new(NonZeroUsize::MIN).unwrap();
    let started = Instant::now();
    pool.submit(unit).unwrap();
    let mut done = 0;
    while let Ok(delivery) = receiver.recv() {
        done += delivery.done.len() as u32;
        assert!(delivery.done.iter().all(|done| done.result.is_ok()));
    }
    assert_eq!(done, count);
    started.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}

#[test]
fn a_tiny_task_costs_microseconds() {
    let throwing = Wat { imports: "(tag $e)", rest: "(func (throw $e))", ..TOUCHING };
    for (what, guest) in [("plain", &ECHO), ("touches 6 pages", &TOUCHING), ("can throw", &throwing)] {
        tiny_tasks(guest, 1000);
        let cost = tiny_tasks(guest, 20_000);
        println!("a tiny task, {what}: {cost:.1} µs, {:.0} a second", 1e6 / cost);
        assert!(cost < 500.0);
    }
    let cost = tiny_tasks(&LARGE, 500);
    println!("a task that touches 4 MiB: {cost:.0} µs");
    assert!(cost < 50_000.0);
}
