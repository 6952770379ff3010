//! Compiling processes: their limits, their turns, and their ends. This program starts itself as them, so it has a
//! `main` of its own.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use webmesh_node::exec::{
    CancelToken, Module, ModuleError, Runtime, RuntimeConfig, TaskLimits, TaskParams, run_if_asked,
};
use webmesh_tests::guest::guest;

/// A test and its name.
type Test = (&'static str, fn());

const TESTS: [Test; 10] = [
    ("a_module_is_compiled_and_runs", a_module_is_compiled_and_runs),
    ("bombs_end_at_their_limits_while_others_compile", bombs_end_at_their_limits_while_others_compile),
    (
        "compilations_take_no_more_memory_than_the_host_has_for_guests",
        compilations_take_no_more_memory_than_the_host_has_for_guests,
    ),
    ("endless_constructors_delay_nobody", endless_constructors_delay_nobody),
    ("constructors_that_fill_the_memory_are_ended", constructors_that_fill_the_memory_are_ended),
    ("a_large_memory_that_is_not_touched_is_no_problem", a_large_memory_that_is_not_touched_is_no_problem),
    ("a_cancelled_compilation_ends_its_process", a_cancelled_compilation_ends_its_process),
    ("a_refused_module_is_not_compiled_again", a_refused_module_is_not_compiled_again),
    ("compiling_processes_may_only_compute", compiling_processes_may_only_compute),
    ("no_compiling_process_outlives_its_parent", no_compiling_process_outlives_its_parent),
];

/// The argument with which this program only compiles a bomb, until it is killed.
const VICTIM: &str = "--victim";

fn main() -> ExitCode {
    run_if_asked();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == VICTIM) {
        let _ = load(&runtime(), [1; 32], &slow_bomb(1), &CancelToken::new());
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted = words.iter().find(|word| !word.starts_with('-')).map_or("", String::as_str);
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(wanted)) {
        let began = Instant::now();
        // A panic ends the program with a failure.
        test();
        println!("test {name} ... ok ({:.1} s)", began.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

fn runtime() -> Runtime {
    let config = RuntimeConfig { guest_memory: 4 << 30, ..RuntimeConfig::new(2) };
    assert!(config.separate_compiler, "it is the default once `run_if_asked` was called");
    Runtime::new(config).unwrap()
}

fn load(runtime: &Runtime, owner: [u8; 32], wasm: &[u8], cancel: &CancelToken) -> Result<Arc<Module>, ModuleError> {
    runtime.load_for(owner, *blake3::hash(wasm).as_bytes(), wasm, cancel)
}

fn small(number: u32) -> Vec<u8> {
    guest("17", "", &format!("(func (result i32) i32.const {number})"))
}

/// A function of `locals` locals that all live while `operation` is repeated.
fn crowded(locals: usize, ty: &str, operation: &str, times: usize) -> String {
    let names: Vec<String> = (0..locals).map(|local| format!("(local $l{local} {ty})")).collect();
    let begin: String = (0..locals)
        .map(|local| format!("(local.set $l{local} ({ty}.add (local.get $p) ({ty}.const {local})))"))
        .collect();
    let end: String = (0..locals).map(|local| format!("(local.get $l{local}) {ty}.add ")).collect();
    format!(
        "(func (param $p {ty}) (result {ty}) {} {begin} {} (local.get $p) {end})",
        names.concat(),
        operation.repeat(times)
    )
}

/// A bomb that takes the compiler far longer than its size suggests. Equal numbers give equal modules.
fn bomb(number: u32, operation: &str, times: usize) -> Vec<u8> {
    let function = crowded(800, "i64", operation, times);
    let table = "(table $t 16 externref) (table $f 16 funcref)";
    guest("17", "", &format!("{table} {function} (func (result i32) i32.const {number})"))
}

/// A bomb of 1 MB: many functions, each of moderate cost. `operation` has eight bytes.
fn megabyte_bomb(number: u32, locals: usize, operation: &str) -> Vec<u8> {
    let function = crowded(locals, "i64", operation, 2000);
    guest("17", "", &format!("(table $t 16 externref) {} (func (result i32) i32.const {number})", function.repeat(64)))
}

fn slow_bomb(number: u32) -> Vec<u8> {
    bomb(number, TABLE_COPY, 2500)
}

const TABLE_COPY: &str = "(table.set $t (i32.const 0) (table.get $t (i32.const 1)))";
const BRANCH: &str = "(block (br_if 0 (i64.eqz (local.get $l7))))";

fn params() -> TaskParams {
    let limits = TaskLimits { memory: 3 << 30, time: Duration::from_secs(10), output: 1 << 20 };
    TaskParams { seed: [0; 32], limits, cancel: CancelToken::new() }
}

/// Whether the error says at which limit the module ended.
fn names_its_limit(error: &ModuleError) -> bool {
    let named = matches!(error, ModuleError::CompileMemory(_) | ModuleError::CompileTime(_));
    named && error.is_repeatable() && error.to_string().contains("was ended at its limit of")
}

fn a_module_is_compiled_and_runs() {
    let runtime = runtime();
    let began = Instant::now();
    let module = load(&runtime, [0; 32], &small(0), &CancelToken::new()).unwrap();
    println!("a small module takes {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let began = Instant::now();
    load(&runtime, [0; 32], &small(1), &CancelToken::new()).unwrap();
    println!("another one {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    assert!(module.compile_time().is_some());
    let output = module.map_task([&b"document"[..]], 4.try_into().unwrap(), &params()).unwrap();
    assert_eq!(output.offsets, [0; 5]);
    assert!(children().is_empty());
    let error = load(&runtime, [0; 32], &guest("17", "unreachable", ""), &CancelToken::new()).unwrap_err();
    assert!(error.to_string().contains("unreachable") && error.is_repeatable(), "{error}");
    let invalid = guest(
        "17",
        "",
        "(func (drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
    );
    let error = load(&runtime, [0; 32], &invalid, &CancelToken::new()).unwrap_err();
    assert!(error.to_string().contains("relaxed") && error.is_repeatable(), "{error}");
}

/// Makes a module that differs with the number.
type Bomb = fn(u32) -> Vec<u8>;

fn bombs_end_at_their_limits_while_others_compile() {
    let runtime = runtime();
    let bombs: [(&str, Bomb); 3] = [
        ("tables", slow_bomb),
        ("branches", |number| bomb(number, BRANCH, 20_000)),
        ("1 MB of tables", |number| megabyte_bomb(number, 4, TABLE_COPY)),
    ];
    for (what, bomb) in bombs {
        thread::scope(|scope| {
            let bombs: Vec<_> = (0..4)
                .map(|number| {
                    let runtime = &runtime;
                    scope.spawn(move || {
                        let wasm = bomb(number);
                        let began = Instant::now();
                        let error = load(runtime, [1; 32], &wasm, &CancelToken::new()).unwrap_err();
                        println!("{what}, {} KB: {:.1} s: {error}", wasm.len() >> 10, began.elapsed().as_secs_f64());
                        assert!(names_its_limit(&error), "{error:?}");
                    })
                })
                .collect();
            wait_until(|| !children().is_empty());
            let mut number = 1000;
            let mut longest = Duration::ZERO;
            while bombs.iter().any(|bomb| !bomb.is_finished()) {
                let began = Instant::now();
                number += 1;
                load(&runtime, [2; 32], &small(number), &CancelToken::new()).unwrap();
                longest = longest.max(began.elapsed());
            }
            let others = number - 1000;
            println!("{others} others, the slowest after {:.2} s", longest.as_secs_f64());
            // If each waited for a bomb to end, there would be no more than bombs, however fast the machine is.
            assert!(others > 4, "only {others} other modules were compiled beside 4 bombs");
        });
    }
}

fn compilations_take_no_more_memory_than_the_host_has_for_guests() {
    let runtime = Runtime::new(RuntimeConfig { guest_memory: 128 << 20, ..RuntimeConfig::new(2) }).unwrap();
    load(&runtime, [0; 32], &small(3000), &CancelToken::new()).unwrap();
    for number in 0..2 {
        let error = load(&runtime, [0; 32], &slow_bomb(20 + number), &CancelToken::new()).unwrap_err();
        assert!(error.to_string().contains("no more memory") && !error.is_repeatable(), "{error:?}");
    }
    load(&runtime, [0; 32], &small(3001), &CancelToken::new()).unwrap();
}

fn endless_constructors_delay_nobody() {
    let runtime = runtime();
    thread::scope(|scope| {
        let endless: Vec<_> = (0..4)
            .map(|number| {
                let runtime = &runtime;
                scope.spawn(move || {
                    let wasm = guest("17", "(loop br 0)", &format!("(func (result i32) i32.const {number})"));
                    let cancel = CancelToken::new();
                    let error = load(runtime, [1; 32], &wasm, &cancel).unwrap_err();
                    assert!(matches!(error, ModuleError::ConstructorTime(_)) && error.is_repeatable(), "{error:?}");
                })
            })
            .collect();
        wait_until(|| children().len() > 1);
        // If each waited for an endless one to end, all of those would have ended.
        for number in 0..8 {
            load(&runtime, [2; 32], &small(2000 + number), &CancelToken::new()).unwrap();
        }
        assert!(endless.iter().any(|endless| !endless.is_finished()), "others waited for the endless ones");
    });
}

fn constructors_that_fill_the_memory_are_ended() {
    let fill = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x7fff0000))";
    let wasm = guest("32768", fill, "");
    let error = load(&runtime(), [0; 32], &wasm, &CancelToken::new()).unwrap_err();
    assert!(matches!(error, ModuleError::ConstructorMemory(_)), "{error:?}");
}

fn a_large_memory_that_is_not_touched_is_no_problem() {
    let module = load(&runtime(), [0; 32], &guest("32768", "", ""), &CancelToken::new()).unwrap();
    module.map_task([&b"document"[..]], 4.try_into().unwrap(), &params()).unwrap();
}

fn a_cancelled_compilation_ends_its_process() {
    let runtime = runtime();
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let loading = scope.spawn(|| load(&runtime, [1; 32], &slow_bomb(7), &cancel).unwrap_err());
        wait_until(|| !children().is_empty());
        cancel.cancel();
        // Otherwise it would end at a limit, with an error that names it.
        assert_eq!(loading.join().unwrap(), ModuleError::Cancelled);
        assert!(children().is_empty());
    });
}

fn a_refused_module_is_not_compiled_again() {
    let runtime = runtime();
    let wasm = slow_bomb(8);
    let first = load(&runtime, [1; 32], &wasm, &CancelToken::new()).unwrap_err();
    let cancelled = CancelToken::new();
    cancelled.cancel();
    assert_eq!(
        load(&runtime, [2; 32], &slow_bomb(9), &cancelled).unwrap_err(),
        ModuleError::Cancelled,
        "what has to be compiled is cancelled"
    );
    assert_eq!(load(&runtime, [2; 32], &wasm, &cancelled).unwrap_err(), first, "nothing was left to cancel");
}

fn compiling_processes_may_only_compute() {
    let runtime = runtime();
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let loading = scope.spawn(|| load(&runtime, [1; 32], &slow_bomb(10), &cancel));
        wait_until(|| !children().is_empty());
        let child = children()[0];
        // The filter comes after the program has started, and before it looks at the module: threads that compile are
        // started after it.
        wait_until(|| statuses(child).iter().any(|status| status.contains("Seccomp:\t2")));
        wait_until(|| statuses(child).len() > 1);
        for status in statuses(child) {
            assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
        }
        cancel.cancel();
        assert_eq!(loading.join().unwrap().err(), Some(ModuleError::Cancelled));
    });
}

fn no_compiling_process_outlives_its_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap()).arg(VICTIM).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| !children_of(parent.id()).is_empty());
    let child = children_of(parent.id())[0];
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until(|| !is_alive(child));
    let rest = BufReader::new(parent.stderr.take().unwrap()).lines().map_while(Result::ok).collect::<Vec<_>>();
    assert!(rest.is_empty(), "{rest:?}");
}

/// Compiling processes of this process.
fn children() -> Vec<u32> {
    children_of(std::process::id())
}

fn children_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap_or_default().1.split_whitespace().collect();
        if fields.get(1).is_some_and(|field| *field == parent.to_string()) && fields[0] != "Z" {
            found.push(id);
        }
    }
    found
}

/// What the system says of each thread of a process.
fn statuses(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok()).collect()
}

fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Looks again and again until `condition` holds.
fn wait_until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not happen");
        thread::yield_now();
    }
}
