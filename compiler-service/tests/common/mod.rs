//! Shared helpers of the compile service's tests.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use webmesh_compiler::{CompileError, Compiled, Compiler, CompilerConfig, Requester, SandboxKind, Toolchain};

/// Timeout of every wait, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The root folder of the repository.
pub(crate) fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the project's folder")
}

/// The toolchain. Panics if there is none, since no test can run without it.
pub(crate) fn toolchain() -> Toolchain {
    Toolchain::find(None).unwrap_or_else(|why| panic!("{why}\nThe compiler's tests need it: run `make setup` first."))
}

/// A compiler with a cache of its own.
pub(crate) struct Service {
    pub(crate) compiler: Compiler,
    pub(crate) cache: tempfile::TempDir,
}

pub(crate) fn service(adjust: impl FnOnce(&mut CompilerConfig)) -> Service {
    let cache = tempfile::tempdir().expect("a folder for the cache");
    let mut config = CompilerConfig::new(cache.path().to_path_buf());
    adjust(&mut config);
    let compiler = Compiler::new(toolchain(), config).unwrap_or_else(|why| panic!("{why}"));
    Service { compiler, cache }
}

/// All sandboxes that work on this machine, at least one. Prints those that do not.
pub(crate) fn sandboxes() -> Vec<SandboxKind> {
    let works = |kind: &SandboxKind| {
        let cache = tempfile::tempdir().expect("a folder for the cache");
        let mut config = CompilerConfig::new(cache.path().to_path_buf());
        config.sandboxes = vec![*kind];
        Compiler::new(toolchain(), config).inspect_err(|why| eprintln!("NOT TESTED in {kind}: {why}")).is_ok()
    };
    let working: Vec<_> = SandboxKind::ALL.into_iter().filter(works).collect();
    assert!(!working.is_empty(), "no sandbox works here: install bubblewrap (`make setup`)");
    working
}

/// A service in the given sandbox.
pub(crate) fn service_in(sandbox: SandboxKind, processor_time: Duration) -> Service {
    service(|config| {
        config.sandboxes = vec![sandbox];
        config.processor_time = processor_time;
    })
}

/// A requester that no other call returned.
pub(crate) fn new_requester() -> Requester {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    [NEXT.fetch_add(1, Ordering::Relaxed); 32]
}

/// The source of a job with `extra` before its functions.
pub(crate) fn job(extra: &str) -> String {
    format!("{extra}\n{WORD_COUNT}")
}

pub(crate) async fn compile(service: &Service, source: &str) -> Result<Compiled, CompileError> {
    service.compiler.compile(new_requester(), "job.cpp", source.as_bytes()).await
}

/// A word count, in the vector form of `map` and `reduce`.
pub(crate) const WORD_COUNT: &str = r#"
#include <string>
#include <utility>
#include <vector>
using namespace std;

vector<pair<string, int>> map(const string doc) {
  vector<pair<string, int>> out;
  string word;
  for (char c : doc + " ") {
    if (c > ' ') {
      word += c;
    } else if (!word.empty()) {
      out.emplace_back(word, 1);
      word.clear();
    }
  }
  return out;
}

pair<string, int> reduce(const string key, vector<int> vals) {
  int sum = 0;
  for (int val : vals) sum += val;
  return {key, sum};
}
"#;

/// `text` without its colours.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// All descendants of the process `pid`, by id and name.
pub(crate) fn descendants(pid: u32) -> Vec<(u32, String)> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end between the listing and the read.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
        let mut fields = tail.split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|field| field.parse::<u32>().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && state != "Z"
        {
            processes.push((id, parent, name));
        }
    }
    let mut below = vec![pid];
    let mut found = Vec::new();
    while let Some(pid) = below.pop() {
        for (id, parent, name) in &processes {
            if *parent == pid {
                below.push(*id);
                found.push((*id, name.clone()));
            }
        }
    }
    found
}

/// The compilers and linkers among the descendants of this process.
pub(crate) fn compilers() -> Vec<(u32, String)> {
    let mut found = descendants(std::process::id());
    found.retain(|(_, name)| matches!(name.as_str(), "clang" | "wasm-ld" | "lld"));
    found
}

/// Waits until clang runs among the descendants of the process `pid`; returns all of them.
pub(crate) fn wait_for_compile(pid: u32) -> Vec<(u32, String)> {
    // Every compile opens the precompiled header.
    let header = toolchain().folder().join("webmesh.pch");
    let opened = inotify::init(inotify::CreateFlags::CLOEXEC).expect("an inotify instance");
    inotify::add_watch(&opened, header, inotify::WatchFlags::OPEN).expect("a watch of the header");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = descendants(pid);
        if found.iter().any(|(_, name)| name == "clang") {
            return found;
        }
        assert!(is_ready(&opened, deadline), "no compile has started");
        retry_on_intr(|| rustix::io::read(&opened, &mut [0_u8; 4096])).expect("an event");
    }
}

/// Waits until the processes have ended; panics if one has not after a minute.
pub(crate) fn assert_end(processes: &[(u32, String)]) {
    let deadline = Instant::now() + PATIENCE;
    for (id, name) in processes {
        let pid = i32::try_from(*id).ok().and_then(Pid::from_raw).expect("a process id");
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => assert!(is_ready(&process, deadline), "{name} ({id}) is still running"),
            // It has ended.
            Err(Errno::SRCH) => {}
            Err(why) => panic!("{name} ({id}): {why}"),
        }
    }
}

/// Waits until `fd` is readable; `false` at the deadline. A process is when it has ended.
fn is_ready(fd: &impl AsFd, deadline: Instant) -> bool {
    let ready = retry_on_intr(|| {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).expect("a minute at most");
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left))
    });
    ready.expect("it can be waited for") > 0
}
