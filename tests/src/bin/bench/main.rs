//! `make bench`: the benchmarks of `docs/benchmarks.md`, measured with the programs as users run them.
//!
//! Each figure is the median of several runs; their spread shows the machine's noise. The corpus is created once and
//! kept.

mod jobs;
mod measure;
mod mesh;
mod rates;

use std::path::PathBuf;
use std::process::ExitCode;

/// Where the benchmarks keep their corpora, and whether this is a smoke test.
struct Bench {
    place: PathBuf,
    smoke: bool,
}

impl Bench {
    /// Number of runs of a benchmark.
    fn times(&self, times: usize) -> usize {
        if self.smoke { 1 } else { times }
    }

    /// A count or size, reduced in a smoke test.
    fn many(&self, count: u32) -> u32 {
        if self.smoke { count.div_ceil(100) } else { count }
    }

    /// Path for a file or folder; smoke tests have their own, as theirs are no corpora.
    fn path(&self, name: &str) -> PathBuf {
        self.place.join(if self.smoke { "smoke" } else { "full" }).join(name)
    }
}

/// A benchmark's name and function.
type Part = (&'static str, fn(&Bench));

const PARTS: [Part; 6] = [
    ("gb", jobs::gigabyte),
    ("files", jobs::many_files),
    ("tasks", mesh::many_tasks),
    ("small", mesh::ten_tasks),
    ("compile", rates::compile),
    ("sim", rates::simulated),
];

fn main() -> ExitCode {
    let (flags, wanted): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let smoke = flags.iter().any(|flag| flag == "--smoke");
    let is_part = |name: &String| PARTS.iter().any(|(part, _)| part == name);
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--smoke").or(wanted.iter().find(|name| !is_part(name))) {
        let parts: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("bench: what is `{unknown}`? Choose among: {} (all without any), and --smoke", parts.join(" "));
        return ExitCode::from(2);
    }
    let place =
        std::env::var_os("WEBMESH_BENCH_DIR").map_or_else(|| std::env::temp_dir().join("webmesh-bench"), PathBuf::from);
    let bench = Bench { place, smoke };
    std::fs::create_dir_all(bench.path("")).expect("the folder of the benches can be made");
    println!("{} cores\n", std::thread::available_parallelism().map_or(0, usize::from));
    if smoke {
        println!("a smoke test: a hundredth of everything, once; the figures mean nothing\n");
    }
    println!("| What | Budget | Median | Least | Most | Peak memory |\n|---|---|---|---|---|---|");
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(&bench);
        }
    }
    ExitCode::SUCCESS
}
