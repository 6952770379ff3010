//! Units on the pool's threads.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use webmesh_protocol::TaskId;

use super::*;

const FOREVER: Wat = Wat { map: "(loop $forever (br $forever)) unreachable", ..ECHO };

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
}

/// A unit of one-document tasks, and the receiver of its deliveries.
fn unit(module: &Arc<Module>, documents: &[&[u8]]) -> (Unit, Receiver<Delivery>) {
    let mut pack = Vec::new();
    let ranges = documents
        .iter()
        .map(|document| {
            let start = pack.len() as u32;
            pack.extend_from_slice(document);
            start..pack.len() as u32
        })
        .collect::<Vec<Range<u32>>>();
    let tasks = (0..documents.len() as u32).map(|task| MapTask { task: TaskId(100 + task), documents: task..task + 1 });
    let work = Work::Map { pack: pack.into(), documents: ranges, buckets: BUCKETS, tasks: tasks.collect() };
    unit_of(module, work)
}

fn unit_of(module: &Arc<Module>, work: Work) -> (Unit, Receiver<Delivery>) {
    let (sender, receiver) = sync_channel(1000);
    let unit = Unit {
        module: Arc::clone(module),
        limits: LIMITS,
        seed: Arc::new(|task| [task.0 as u8; 32]),
        cancel: CancelToken::new(),
        work,
        deliver: Deliver::new(move |delivery| {
            // The pool does not care whether a receiver is gone.
            let _ = sender.send(delivery);
        }),
    };
    (unit, receiver)
}

/// All tasks of a unit; fails unless exactly the final delivery is marked as last.
fn all(receiver: &Receiver<Delivery>) -> Vec<TaskDone> {
    let mut done = Vec::new();
    loop {
        let delivery = receiver.recv().unwrap();
        assert!(delivery.last || !delivery.done.is_empty());
        done.extend(delivery.done);
        if delivery.last {
            assert!(receiver.recv().is_err(), "something came after the last");
            return done;
        }
    }
}

fn data(done: &TaskDone) -> &Bytes {
    match done.result.as_ref().unwrap() {
        TaskOutput::Map(output) => &output.data,
        TaskOutput::Reduce(output) => &output.data,
    }
}

#[test]
fn every_task_of_a_unit_is_delivered_in_order() {
    let documents: Vec<String> = (0..1000).map(|index| format!("document {index}")).collect();
    let borrowed: Vec<&[u8]> = documents.iter().map(|document| document.as_bytes()).collect();
    let (unit, receiver) = unit(&ECHO.load(), &borrowed);
    let pool = pool(2);
    pool.submit(unit).unwrap();
    let done = all(&receiver);
    assert!(done.iter().map(|done| done.task.0).eq(100..1100));
    assert!(done.iter().zip(&documents).all(|(done, document)| data(done) == document));
}

#[test]
fn reduce_tasks_run_in_the_pool_too() {
    let tasks = TaskId::below(3).map(|task| ReduceTask {
        task,
        chunks: Box::new((0..=task.0).map(move |chunk| Ok(Bytes::from(format!("{task}{chunk} "))))),
    });
    let (unit, receiver) = unit_of(&ECHO.load(), Work::Reduce(tasks.collect()));
    let pool = pool(1);
    pool.submit(unit).unwrap();
    let done = all(&receiver);
    assert_eq!(done.iter().map(data).collect::<Vec<_>>(), ["00 ", "10 11 ", "20 21 22 "]);
}

#[test]
fn a_failed_task_does_not_hold_up_the_others() {
    let module = Wat { map: "(i32.eq (local.get $len) (i32.const 3))", ..ECHO }.load();
    let (unit, receiver) = unit(&module, &[b"good", b"bad", b"good"]);
    let pool = pool(1);
    pool.submit(unit).unwrap();
    assert_eq!(all(&receiver).iter().map(|done| done.result.is_ok()).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn documents_outside_their_pack_fail_only_their_task() {
    let work = Work::Map {
        pack: Bytes::from("abc"),
        documents: vec![0..3, 2..4, Range { start: 3, end: 2 }, 1..2],
        buckets: BUCKETS,
        tasks: [0..1, 1..2, 2..3, 0..5, Range { start: 2, end: 1 }, 3..4, 4..4]
            .into_iter()
            .zip(0..)
            .map(|(documents, task)| MapTask { task: TaskId(task), documents })
            .collect(),
    };
    let (unit, receiver) = unit_of(&ECHO.load(), work);
    let pool = pool(1);
    pool.submit(unit).unwrap();
    let good: Vec<bool> = all(&receiver).iter().map(|done| done.result.is_ok()).collect();
    assert_eq!(good, [true, false, false, false, false, true, true]);
}

#[test]
fn finished_tasks_do_not_wait_for_a_long_one() {
    let module =
        Wat { map: "(if (i32.eqz (local.get $len)) (then (loop $forever (br $forever)))) i32.const 0", ..ECHO }.load();
    let (unit, receiver) = unit(&module, &[b"a", b"b", b"", b"never"]);
    let cancel = unit.cancel.clone();
    let pool = pool(1);
    pool.submit(unit).unwrap();
    let first = receiver.recv().unwrap();
    assert_eq!(first.done.iter().map(|done| done.task.0).collect::<Vec<_>>(), [100, 101]);
    assert!(!first.last);
    cancel.cancel();
    let last = receiver.recv().unwrap();
    assert!(last.last && last.done.is_empty());
}

#[test]
fn a_cancelled_unit_ends_and_frees_its_thread() {
    let pool = pool(1);
    let (forever, ended) = unit(&FOREVER.load(), &[b"document"]);
    let (after, receiver) = unit(&ECHO.load(), &[b"next"]);
    let cancel = forever.cancel.clone();
    pool.submit(forever).unwrap();
    pool.submit(after).unwrap();
    cancel.cancel();
    assert_eq!(all(&ended), []);
    assert_eq!(data(&all(&receiver)[0]), "next");
}

#[test]
fn a_full_queue_returns_the_unit() {
    let pool = pool(1);
    let forever = FOREVER.load();
    let mut accepted = Vec::new();
    let refused = loop {
        let (unit, receiver) = unit(&forever, &[b"document"]);
        let cancel = unit.cancel.clone();
        match pool.submit(unit) {
            Ok(()) => accepted.push((cancel, receiver)),
            Err(SubmitError(unit)) => break (unit, receiver),
        }
        assert!(accepted.len() < 10, "the queue has no bound");
    };
    assert_eq!(pool.load(), accepted.len());
    for (cancel, receiver) in accepted {
        cancel.cancel();
        all(&receiver);
    }
    let (unit, receiver) = refused;
    unit.cancel.cancel();
    pool.submit(*unit).unwrap();
    assert_eq!(all(&receiver), []);
}

#[test]
fn a_dropped_pool_ends_running_and_queued_units() {
    let pool = pool(2);
    let forever = FOREVER.load();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let (unit, receiver) = unit(&forever, &[b"document"]);
            pool.submit(unit).unwrap();
            receiver
        })
        .collect();
    drop(pool);
    for receiver in receivers {
        assert_eq!(all(&receiver), []);
    }
}

#[test]
fn a_receiver_may_hold_the_last_reference_to_the_pool() {
    let (mut unit, receiver) = unit(&ECHO.load(), &[b"document"]);
    let pool = Arc::new(pool(2));
    let (submitted, is_submitted) = sync_channel(1);
    let (sender, dropped) = sync_channel(1);
    let mut held = Some(Arc::clone(&pool));
    unit.deliver = Deliver::new(move |_| {
        is_submitted.recv().unwrap();
        drop(held.take());
        sender.send(()).unwrap();
    });
    drop(receiver);
    pool.submit(unit).unwrap();
    drop(pool);
    submitted.send(()).unwrap();
    dropped.recv().unwrap();
}

#[test]
fn a_receiver_that_panics_does_not_cost_a_thread() {
    let module = ECHO.load();
    let (mut bad, _) = unit(&module, &[b"document"]);
    bad.deliver = Deliver::new(|_| panic!("on purpose"));
    let (good, receiver) = unit(&module, &[b"document"]);
    let pool = pool(1);
    pool.submit(bad).unwrap();
    pool.submit(good).unwrap();
    assert_eq!(all(&receiver).len(), 1);
}

#[test]
fn a_slow_receiver_does_not_count_against_the_time_limit() {
    // The first task's delivery comes due while the second runs, and takes longer than the second may run.
    let module = Wat {
        map: "
            (local $i i64)
            (loop $busy
                (local.set $i (i64.add (local.get $i) (i64.const 1)))
                (br_if $busy (i64.lt_u (local.get $i) (i64.mul (i64.extend_i32_u (local.get $len)) (i64.const 60000000)))))
            i32.const 0",
        ..ECHO
    }
    .load();
    let (mut unit, _) = unit(&module, &[b"", b"long"]);
    let time = Duration::from_secs(2);
    unit.limits.time = time;
    let (sender, receiver) = sync_channel(10);
    unit.deliver = Deliver::new(move |delivery: Delivery| {
        let since = std::time::Instant::now();
        while !delivery.last && since.elapsed() < time * 5 / 4 {
            std::thread::yield_now();
        }
        sender.send(delivery).unwrap();
    });
    let pool = pool(1);
    pool.submit(unit).unwrap();
    assert!(all(&receiver).iter().all(|done| done.result.is_ok()));
}

#[test]
fn more_concurrent_tasks_than_threads_find_slots() {
    // Every slot that the runtime promises: one for each thread and a few more.
    let module = ECHO.load();
    let pool = pool(2);
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let (unit, receiver) = unit(&module, &[&b"document"[..]; 200]);
            pool.submit(unit).unwrap();
            receiver
        })
        .collect();
    for _ in 0..200 {
        map(&module, &[b"document"]).unwrap();
    }
    for receiver in receivers {
        assert!(all(&receiver).iter().all(|done| data(done) == "document"));
    }
}
