//! The SDK's decoders in a job, given records that violate `docs/guest-abi.md`: a shuffler may be broken or malicious.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use webmesh_compiler::{Compiler, CompilerConfig, Toolchain};
use webmesh_node::exec::{CancelToken, Module, Runtime, RuntimeConfig, TaskErrorKind, TaskLimits, TaskParams};
use webmesh_tests::corpus::Random;

/// Number of damaged inputs for each job.
const CASES: u64 = 3_000;
const SEED: u64 = 61;

/// Values of every type, whose decoders are all in the reduce.
const TYPES: &str = r#"
    struct Inner { int8_t small; int64_t large; double real; };
    struct T {
      bool yes; string text; vector<string> texts; std::map<string, vector<int>> map; optional<Inner> maybe;
      variant<int, string> either; tuple<float, uint16_t> both; array<Inner, 2> two; std::set<int> sorted;
    };
    static T value(string_view doc) {
      return {true, string(doc), {"a", string(300, 'x')}, {{"k", {1, -2, 300}}, {"l", {}}}, Inner{-1, INT64_MIN, 0.5},
              "either", {1.5f, 65535}, {{{1, 2, 3}, {4, 5, 6}}}, {3, 1, 2}};
    }
    void map(string_view doc, webmesh::Emitter<T>& out) {
      out.emit(doc, value(doc));
      out.emit("another key, long enough", value("other"));
      out.emit(doc, value("again"));
    }
"#;
const PLAIN: &str = "pair<string, vector<T>> reduce(const string key, vector<T> vals) { return {key, vals}; }";
const STREAMED: &str = "void reduce(string_view key, webmesh::Values<T>& values, webmesh::Emitter<T>& out) {
      for (const T& value : values) out.emit(key, value);
    }";
const COMBINED: &str = "T combine(T a, T b) { a.text += b.text; return a; }
    pair<string, T> reduce(const string key, vector<T> vals) { return {key, vals.at(0)}; }";

fn params() -> TaskParams {
    let limits = TaskLimits { memory: 64 << 20, time: Duration::from_secs(10), output: 16 << 20 };
    TaskParams { seed: [0; 32], limits, cancel: CancelToken::new() }
}

fn compile(runtime: &Runtime, source: &str) -> Arc<Module> {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let toolchain = Toolchain::find(None).unwrap_or_else(|why| panic!("{why}"));
    let compiler = Compiler::new(toolchain, CompilerConfig::new(cache.path().to_owned())).expect("it starts");
    let compiling = compiler.compile([0; 32], "job.cpp", source.as_bytes());
    let compiled = tokio::runtime::Runtime::new().expect("a runtime").block_on(compiling).expect("it compiles");
    runtime.load(*blake3::hash(&compiled.wasm).as_bytes(), &compiled.wasm).expect("it loads")
}

/// Changes, removes, inserts or repeats some bytes, as a broken disk, network or peer may do.
fn damage(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let rest = bytes.split_off(at);
        match random.below(5) {
            0 => {}
            1 => bytes
                .extend(rest.iter().enumerate().map(|(i, byte)| if i == 0 { random.number() as u8 } else { *byte })),
            2 => bytes.extend([&[random.number() as u8][..], &rest].concat()),
            3 => bytes.extend(rest.get(1..).unwrap_or_default()),
            // A length of up to 64 bits.
            _ => bytes.extend([&vec![0xff; random.below(10) as usize][..], &rest].concat()),
        }
    }
    bytes
}

#[test]
fn damaged_records_end_in_an_error_and_never_in_a_trap() {
    println!("seed {SEED}");
    let runtime = Runtime::new(RuntimeConfig::new(1)).expect("a runtime");
    for reduce in [PLAIN, STREAMED, COMBINED] {
        let module = compile(&runtime, &format!("{TYPES}{reduce}"));
        let one = NonZeroU32::MIN;
        let whole = module.map_task([&b"a document"[..], b"two"], one, &params()).expect("it maps").data;
        let result = module.reduce_task([Ok(whole.clone())], &params()).expect("what map wrote can be reduced");
        assert_eq!(result.records, if reduce == STREAMED { 6 } else { 3 });
        let mut random = Random::new(SEED);
        let mut refused = 0;
        for case in 0..CASES {
            let damaged = damage(&whole, &mut random);
            match module.reduce_task([Ok(damaged.clone().into())], &params()) {
                Ok(_) => {}
                Err(why) => {
                    refused += 1;
                    let is_told = matches!(&why.kind, TaskErrorKind::Exception(text) if text.contains("malformed"));
                    assert!(is_told, "case {case} of seed {SEED}: {why} over {damaged:02x?}");
                }
            }
        }
        println!("{refused} of {CASES} refused");
        assert!(refused > CASES / 2, "damage is seldom noticed");
    }
}
