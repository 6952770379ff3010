//! Real processes: tests start them, wait for their output, and stop them at the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde_json::Value;

/// Timeout of every wait: nothing here takes nearly so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository is there")
}

/// A job source in `examples/`.
pub fn example(path: &str) -> PathBuf {
    root().join("examples").join(path)
}

/// A binary of this workspace, built in the same profile as this test.
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a process knows where its program lies");
    // Tests are in target/PROFILE/deps, programs in target/PROFILE.
    let folder = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a program lies in a folder");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --release --workspace` first", path.display());
    path
}

/// A command of the `webmesh` binary that keeps everything in `data`.
pub fn webmesh(data: &Path) -> Command {
    confined("webmesh", data)
}

/// A command of a program in this workspace that writes nothing outside `data`, whether or not it is given `--data`.
pub fn confined(program: &str, data: &Path) -> Command {
    confine(Command::new(binary(program)), data)
}

/// Makes a command, and all processes that it starts, write nothing outside `data`.
pub fn confine(mut command: Command, data: &Path) -> Command {
    let scratch = scratch(data);
    std::fs::create_dir_all(&scratch).expect("a folder can be made");
    command
        .env("XDG_DATA_HOME", data.join("home"))
        .env("TMPDIR", scratch)
        .env("WEBMESH_TOOLCHAIN", toolchain())
        .env("WEBMESH_LOG", "warn,libp2p_kad=error,libp2p_gossipsub=error,yamux=error")
        .stdin(Stdio::null());
    command
}

/// The folder for temporary files of a [`confined`] command; it must be empty when the command has ended.
pub fn scratch(data: &Path) -> PathBuf {
    data.join("tmp")
}

/// The C++ toolchain of this user, installed by `make setup`.
fn toolchain() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let usual = || variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    variable("WEBMESH_TOOLCHAIN").or_else(|| Some(usual()?.join("webmesh/toolchain"))).expect("HOME is set")
}

/// Kills a process that hangs, so that a test that waits for it fails instead.
#[derive(Debug)]
pub struct Watchdog(#[expect(dead_code, reason = "dropping it calls the dog off")] SyncSender<()>);

impl Watchdog {
    /// Watches `child` until this is dropped.
    pub fn over(child: &Child) -> Self {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("the child is there");
        let (kept, dropped) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            if dropped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("a process did not end within {PATIENCE:?} and is killed");
                // It may have ended just now.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
        });
        Self(kept)
    }
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let _watchdog = Watchdog::over(&child);
    child.wait_with_output().expect("the command can be waited for")
}

/// Standard error of a finished command.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a command succeeded; shows its standard error if it did not.
pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, stderr(output));
}

/// The answer of the HTTP server at `address` (`http://host:port`) to a GET of `path`, with its head.
pub fn http_get(address: &str, path: &str) -> String {
    http(address, &format!("GET {path}"), b"")
}

/// Posts a body to a path of the server at a URL, and returns the answer with its head.
pub fn http_post(address: &str, path: &str, body: &[u8]) -> String {
    http(address, &format!("POST {path}"), body)
}

fn http(address: &str, what: &str, body: &[u8]) -> String {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    let len = body.len();
    let head = format!("{what} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).expect("it can be asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Gossip messages that were delivered to a server since it started, duplicates included. It must serve HTTP.
pub fn gossip_delivered(server: &Server) -> u64 {
    let metrics = http_get(server.http.as_deref().expect("it serves HTTP"), "/metrics");
    let line = metrics.lines().find(|line| line.starts_with("webmesh_gossip_delivered_total "));
    let number = line.and_then(|line| line.split_whitespace().nth(1)).expect("the metric is there");
    number.parse().expect("a number")
}

/// Processes of commands [`confined`] to `data` that are still running: process ids and command lines.
pub fn still_running(data: &Path) -> Vec<String> {
    let mark = data.as_os_str().as_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        if entry.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        // Processes that have just ended, or belong to other users, are not ours.
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let command_line = read("cmdline");
        if [&command_line, &read("environ")].iter().any(|bytes| memmem(bytes, mark)) {
            let words = String::from_utf8_lossy(&command_line).replace('\0', " ");
            found.push(format!("{} {words}", entry.file_name().display()));
        }
    }
    found
}

/// The process that runs a detached job of the user with this data folder.
pub fn carrier(data: &Path) -> Option<Pid> {
    let folder = data.join("detached").to_string_lossy().into_owned();
    std::fs::read_dir("/proc").expect("there is /proc").flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        (command.contains("--carry") && command.contains(&folder)).then(|| Pid::from_raw(pid))?
    })
}

/// The names of all descendants of the process `pid`.
pub fn descendants(pid: u32) -> Vec<String> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        // A process may end after it was listed.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let Some((id, name)) = head.split_once(" (") else { continue };
        let parent = tail.split_whitespace().nth(1).and_then(|field| field.parse::<u32>().ok());
        if let (Ok(id), Some(parent)) = (id.parse::<u32>(), parent) {
            processes.push((id, parent, name.to_owned()));
        }
    }
    let (mut below, mut found) = (vec![pid], Vec::new());
    while let Some(pid) = below.pop() {
        for (id, _, name) in processes.iter().filter(|(_, parent, _)| *parent == pid) {
            below.push(*id);
            found.push(name.clone());
        }
    }
    found
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A node or a bootstrap node.
pub struct Server {
    child: Child,
    /// Its address.
    pub address: String,
    /// Its HTTP address, if it has one.
    pub http: Option<String>,
    /// Its peer id.
    pub peer: String,
    /// Its ready line.
    pub ready: Value,
    /// Keeps the pipe open.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server and waits for its ready line.
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let watchdog = Watchdog::over(&child);
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output can be read");
        drop(watchdog);
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line but {line:?}"));
        assert_eq!(ready["event"], "ready");
        let address = ready["addresses"][0].as_str().expect("it listens").to_owned();
        let http = ready["http"].as_str().map(str::to_owned);
        let peer = ready["peer"].as_str().expect("it has a name").to_owned();
        Self { child, address, http, peer, ready, _stdout: stdout }
    }

    /// A node of one thread on loopback.
    pub fn node(data: &Path, bootstrap: &[&str], more: &[&str]) -> Self {
        let mut command = webmesh(data);
        command.args(["node", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", "--threads", "1", "--data"]).arg(data);
        bootstrap.iter().for_each(|address| {
            command.args(["--bootstrap", address]);
        });
        Self::start(command.args(more))
    }

    /// A bootstrap node on loopback.
    pub fn bootstrap(data: &Path) -> Self {
        Self::bootstrap_at(data, "/ip4/127.0.0.1/tcp/0")
    }

    /// A bootstrap node that listens on one address.
    pub fn bootstrap_at(data: &Path, listen: &str) -> Self {
        let mut command = confined("webmesh-bootstrap", data);
        command.args(["--listen", listen, "--http", "127.0.0.1:0", "--data"]);
        Self::start(command.arg(data))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be sent a signal");
    }

    /// Asks it to leave, and returns its exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.tell_to_end();
        self.ended()
    }

    /// Asks it to leave.
    pub fn tell_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it ends, and returns its exit status.
    pub fn ended(&mut self) -> ExitStatus {
        let _watchdog = Watchdog::over(&self.child);
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running job, submitted with `--json`.
pub struct Submission {
    child: Child,
    events: BufReader<ChildStderr>,
    _watchdog: Watchdog,
}

impl Submission {
    /// Starts a submission; `--json` is added.
    pub fn start(command: &mut Command) -> Self {
        Self::writing_to(Stdio::null(), command)
    }

    /// Starts a submission whose result is not read; `--json` is added.
    pub fn unread(command: &mut Command) -> Self {
        Self::writing_to(Stdio::piped(), command)
    }

    fn writing_to(output: Stdio, command: &mut Command) -> Self {
        let command = command.arg("--json").stdout(output).stderr(Stdio::piped());
        Self::of(command.spawn().expect("the command starts"))
    }

    /// A submission that was started with `--json` and its standard error piped.
    pub fn of(mut child: Child) -> Self {
        let events = BufReader::new(child.stderr.take().expect("its events are piped"));
        let _watchdog = Watchdog::over(&child);
        Self { child, events, _watchdog }
    }

    /// Waits for the first event that satisfies `wanted`.
    pub fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_each(wanted)
    }

    /// Passes every event to `wanted` until it returns true.
    pub fn wait_for_each(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).expect("its events can be read");
            assert!(read > 0, "it ended before the event that was waited for; it had said:\n{seen}");
            if let Ok(event) = serde_json::from_str(&line)
                && wanted(&event)
            {
                return event;
            }
            seen.push_str(&line);
        }
    }

    /// Waits until at least this share of the first stage is done.
    pub fn wait_for_share(&mut self, share: f64) {
        self.wait_for(|event| {
            let map = &event["stages"][0];
            let (done, tasks) = (map["done"].as_f64(), map["tasks"].as_f64());
            event["event"] == "progress" && done.zip(tasks).is_some_and(|(done, tasks)| done >= tasks * share)
        });
    }

    /// Asserts that the job has not ended yet, so the test's intervention came while it ran.
    pub fn assert_runs(&mut self) {
        // Events are written before the submitter continues, so an end would be in the pipe.
        let waiting = |events: &BufReader<ChildStderr>| {
            !events.buffer().is_empty() || ioctl_fionread(events.get_ref()).expect("a pipe can be asked") > 0
        };
        while waiting(&self.events) {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).expect("its events can be read");
            let ended = serde_json::from_str::<Value>(&line).is_ok_and(|event| event["event"] == "ended");
            assert!(read > 0 && !ended, "the job is over too early for this test: {line}");
        }
    }

    /// Whether its process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_some()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal, such as Ctrl-C's.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be sent a signal");
    }

    /// Sends Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Waits until it ends; returns the exit code and the rest of its output.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.events.read_to_string(&mut rest).expect("its events can be read");
        (self.child.wait().expect("it can be waited for").code(), rest)
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        // It has ended unless its test fails.
        let _ = self.child.kill();
    }
}
