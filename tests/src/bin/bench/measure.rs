//! A run of a command: its duration, from several starting points, and the peak memory of its processes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Poll interval for memory.
const LOOK: Duration = Duration::from_millis(20);

/// The measurements of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// From the start of the process to its exit.
    pub(crate) wall: Duration,
    /// From when the mesh was ready until the result was written: reading the inputs, compiling (or not) and the job.
    pub(crate) from_ready: Duration,
    /// From the submission until the result was written.
    pub(crate) from_submit: Duration,
    /// Peak memory in bytes: the largest sum of the peaks of its processes.
    pub(crate) peak: u64,
}

/// Runs `webmesh run` or `submit`, and polls its memory and that of the processes `others` until it ends.
pub(crate) fn run(command: &mut Command, others: &[u32]) -> Run {
    let started = Instant::now();
    let mut child =
        command.arg("--json").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let roots: Vec<u32> = others.iter().copied().chain([child.id()]).collect();
    let (over, end) = mpsc::sync_channel::<()>(0);
    let memory = std::thread::spawn(move || {
        let mut peak = 0;
        loop {
            peak = peak.max(roots.iter().map(|&pid| memory_of(pid)).sum());
            if end.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
                return peak;
            }
        }
    });
    let mut events: Vec<(Instant, Value)> = Vec::new();
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().expect("its events are piped")).lines() {
        let line = line.expect("its events can be read");
        if let Ok(event) = serde_json::from_str(&line) {
            events.push((Instant::now(), event));
        }
        said = said + &line + "\n";
    }
    let status = child.wait().expect("the command can be waited for");
    let wall = started.elapsed();
    drop(over);
    assert!(status.success(), "{command:?} failed ({status}):\n{said}");
    let at = |name: &str| events.iter().find(|(_, event)| event["event"] == name).map(|(at, _)| *at);
    let (ready, submitted) = (at("phase").expect("it tells its phases"), at("submitted").expect("it is submitted"));
    let written = at("result").expect("the result is written");
    Run {
        wall,
        from_ready: written - ready,
        from_submit: written - submitted,
        peak: memory.join().expect("the watch over the memory ends"),
    }
}

/// The sum of the peaks of a process and all of its descendants, in bytes.
fn memory_of(pid: u32) -> u64 {
    let own = high_water(pid).unwrap_or(0);
    // A process without children, or one that has just ended, has no such list.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let below: u64 = lists
        .flat_map(|list| list.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>())
        .map(memory_of)
        .sum();
    own + below
}

/// Peak resident memory of a process, in bytes.
fn high_water(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Prints a row for some runs, each measured by `time`; returns the median in seconds.
pub(crate) fn report(what: &str, budget: &str, runs: &[Run], time: impl Fn(&Run) -> Duration) -> f64 {
    let peak = runs.iter().map(|run| run.peak).max().unwrap_or(0);
    times(what, budget, runs.iter().map(time).collect(), &format!("{} MiB", peak >> 20))
}

/// Prints a row for some durations; returns the median in seconds.
pub(crate) fn times(what: &str, budget: &str, mut times: Vec<Duration>, memory: &str) -> f64 {
    times.sort_unstable();
    let [median, least, most] = [times[times.len() / 2], times[0], times[times.len() - 1]].map(human);
    println!("| {what} | {budget} | {median} | {least} | {most} | {memory} |");
    times[times.len() / 2].as_secs_f64()
}

/// Prints a row for a value that is not a duration.
pub(crate) fn number(what: &str, budget: &str, value: &str) {
    println!("| {what} | {budget} | {value} | | | |");
}

fn human(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}
