//! The estimate of a compilation's cost, against the compiler.

use std::time::{Duration, Instant};

use crate::exec::cost::cells;
use crate::exec::engine;
use crate::exec::limits::MAX_CONTROL_CELLS;

/// A small generator of pseudo-random numbers (splitmix64), for cases that a seed repeats.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Instructions that leave the stack as it was. `$i`, `$e` are locals of a number and of a reference.
const OPERATIONS: [&str; 26] = [
    "(table.set $e (i32.const 0) (table.get $e (i32.const 1)))",
    "(table.set $f (i32.const 0) (table.get $f (i32.const 1)))",
    "(table.set $x (i32.const 0) (table.get $x (i32.const 1)))",
    "(drop (table.get $e (local.get 0)))",
    "(drop (table.grow $e (ref.null extern) (i32.const 1)))",
    "(drop (table.grow $f (ref.null func) (i32.const 1)))",
    "(table.copy $e $e (i32.const 0) (i32.const 1) (i32.const 1))",
    "(table.fill $e (i32.const 0) (ref.null extern) (i32.const 1))",
    "(table.fill $f (i32.const 0) (ref.func $callee) (i32.const 1))",
    "(global.set $g (global.get $g))",
    "(global.set $n (i32.add (global.get $n) (local.get 0)))",
    "(call $callee)",
    "(call_indirect $f (i32.const 0))",
    "(call_indirect $f (param i32 i32) (result i32) (local.get 0) (local.get 0) (local.get 0)) (drop)",
    "(block (br_if 0 (local.get 0)))",
    "(loop (br_if 0 (local.get 0)))",
    "(if (local.get 0) (then (local.set 0 (i32.const 1))) (else (local.set 0 (i32.const 2))))",
    "(block (block (block (br_table 0 1 2 1 0 2 1 0 2 1 0 (local.get 0)))))",
    "(i32.store (local.get 0) (i32.load (local.get 0)))",
    "(drop (memory.grow (i32.const 0)))",
    "(memory.copy (local.get 0) (local.get 0) (local.get 0))",
    "(local.set 0 (i32.div_s (local.get 0) (local.get 0)))",
    "(local.set 0 (i32.trunc_f64_s (f64.convert_i32_s (local.get 0))))",
    "(block (try_table (catch_all 0) (call $callee)))",
    "(block (if (local.get 0) (then (throw $tag (local.get 0)))))",
    "(drop (select (local.get 0) (i32.const 3) (local.get 0)))",
];

/// Types of locals; the last ones are references.
const TYPES: [&str; 6] = ["i32", "i64", "f64", "v128", "externref", "exnref"];

/// A module of one function in which many values live over many repetitions of a few instructions.
fn case(random: &mut Random, scale: u64) -> String {
    let kinds = 1 + random.below(3);
    let operations: Vec<&str> = (0..kinds).map(|_| random.one_of(&OPERATIONS)).collect();
    let ty = random.one_of(&TYPES);
    let magnitude = 1 + random.below(11);
    let locals = 1 + random.below(1 << magnitude);
    let times = 1 + scale / locals.max(16);
    let (names, begin, end): (String, String, String) = (
        (0..locals).map(|n| format!("(local $l{n} {ty})")).collect(),
        (0..locals).map(|n| format!("(local.set $l{n} (call $make_{ty} (i32.const {n})))")).collect(),
        (0..locals).map(|n| format!("(call $take_{ty} (local.get $l{n}))")).collect(),
    );
    // In half of the cases, each repetition changes a local, so that the values differ from place to place.
    let changing = random.below(2) == 0;
    let body: String = (0..times)
        .map(|n| {
            let change = format!("(local.set $l{0} (call $make_{ty} (i32.const {n})))", n % locals);
            format!("{}{}", operations[(n % kinds) as usize], if changing { &change } else { "" })
        })
        .collect();
    let helpers: String = TYPES
        .iter()
        .map(|ty| format!("(func $make_{ty} (param i32) (result {ty}) unreachable) (func $take_{ty} (param {ty}))"))
        .collect();
    format!(
        "(module (memory 1) (table $e 8 externref) (table $f 8 funcref) (table $x 8 exnref) (tag $tag (param i32))
         (global $g (mut externref) (ref.null extern)) (global $n (mut i32) (i32.const 0))
         (elem declare func $callee) (func $callee) {helpers}
         (func (param i32) {names} {begin} {body} {end}))"
    )
}

/// Time that this thread has had a processor; elapsed time where the system does not tell.
fn processor_time(began: Instant) -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = times.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

/// Processor time for each cell: twice the most that was found in some hundred generated modules on a machine with
/// other load.
const MAX_MICROS_PER_CELL: f64 = 6.0;

/// Compiles generated modules and prints the time for each cell: `FUZZ_SECONDS=600 cargo test --release -p webmesh-node
/// the_estimated_cost -- --nocapture`. `FUZZ_SEED` repeats a case.
#[test]
fn the_estimated_cost_follows_what_the_compiler_needs() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let only = number("FUZZ_SEED");
    let engine = engine::for_measuring().unwrap();
    let (began, mut seed, mut worst) = (Instant::now(), only.unwrap_or(1), 0.0_f64);
    while began.elapsed().as_secs() < seconds {
        let mut random = Random(seed);
        let scale = 1 << (12 + random.below(9));
        let wasm = wat::parse_str(case(&mut random, scale)).unwrap();
        let found = cells(&wasm, MAX_CONTROL_CELLS).unwrap();
        if found <= MAX_CONTROL_CELLS {
            let before = processor_time(began);
            wasmtime::Module::from_binary(&engine, &wasm).unwrap();
            let micros = (processor_time(began) - before).as_secs_f64() * 1e6;
            // What bytes cost, and starting, is not the estimate's matter.
            let beyond = (micros - 4.0 * wasm.len() as f64 - 50_000.0) / found.max(1) as f64;
            if beyond > worst || only.is_some() {
                worst = worst.max(beyond);
                println!(
                    "seed {seed}: {} bytes, {found} cells, {:.0} ms, {beyond:.2} µs a cell",
                    wasm.len(),
                    micros / 1e3
                );
            }
            assert!(beyond < MAX_MICROS_PER_CELL, "seed {seed}: {found} cells took {:.1} s", micros / 1e6);
        }
        if only.is_some() {
            break;
        }
        seed += 1;
    }
    println!("{} modules, at most {worst:.2} µs a cell", seed - 1);
}
