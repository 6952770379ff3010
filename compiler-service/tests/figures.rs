//! How fast it is: figures, not verdicts. `cargo test -p webmesh-compiler --release --test figures -- --ignored --nocapture`
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Instant;

use common::{job, service, somebody};

const ROUNDS: usize = 9;

#[tokio::test]
#[ignore = "prints figures of this machine"]
async fn compile_times() {
    let start = Instant::now();
    let service = service(|_| {});
    println!("start in {}, with probes: {:.0?}", service.compiler.sandbox(), start.elapsed());
    let (mut new, mut cached) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let source = job(&format!("int round_{round};"));
        for times in [&mut new, &mut cached] {
            let start = Instant::now();
            let compiled = service.compiler.compile(somebody(), "job.cpp", source.as_bytes()).await.unwrap();
            times.push((start.elapsed(), compiled.wasm.len()));
        }
    }
    for (name, times) in [("new", &mut new), ("from the cache", &mut cached)] {
        times.sort_unstable();
        let (median, bytes) = times[ROUNDS / 2];
        println!("word count, {name}: median {median:.2?}, best {:.2?}, {bytes} bytes", times[0].0);
    }
}
