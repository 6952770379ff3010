//! Real processes: started, waited for by what they print, and gone when the test is over.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing here takes nearly so long unless it hangs.
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
    // Tests lie in target/PROFILE/deps, binaries in target/PROFILE.
    let folder = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a program lies in a folder");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --release --workspace` first", path.display());
    path
}

/// A command of the `webmesh` binary that keeps everything in `data`.
pub fn webmesh(data: &Path) -> Command {
    let mut command = Command::new(binary("webmesh"));
    command.env("XDG_CACHE_HOME", data.join("cache")).env("WEBMESH_LOG", "warn,libp2p_kad=error").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let pid = Pid::from_child(&child);
    let (done, waited) = mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match waited.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("the command can be waited for"),
        Err(_) => {
            // Best effort: the test fails anyway.
            let _ = kill_process(pid, Signal::KILL);
            panic!("{command:?} did not end within {PATIENCE:?}");
        }
    }
}

/// Standard error of a finished command.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a command succeeded; shows what it said if it did not.
pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, stderr(output));
}

/// A node or a bootstrap node.
pub struct Server {
    child: Child,
    /// Where it is reached.
    pub address: String,
    /// Its HTTP address, if it has one.
    pub http: Option<String>,
    /// Its peer id.
    pub peer: String,
    /// Keeps the pipe open.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server and waits for its ready line.
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output can be read");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line but {line:?}"));
        assert_eq!(ready["event"], "ready");
        let address = ready["addresses"][0].as_str().expect("it listens").to_owned();
        let http = ready["http"].as_str().map(str::to_owned);
        let peer = ready["peer"].as_str().expect("it has a name").to_owned();
        Self { child, address, http, peer, _stdout: stdout }
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
        let mut command = Command::new(binary("webmesh-bootstrap"));
        command.env("WEBMESH_LOG", "warn,libp2p_kad=error").args([
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--http",
            "127.0.0.1:0",
            "--data",
        ]);
        Self::start(command.arg(data))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Asks it to leave, and gives its exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it can be told to end");
        self.child.wait().expect("it can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A job under way, submitted with `--json`.
pub struct Submission {
    child: Child,
    events: BufReader<ChildStderr>,
}

impl Submission {
    /// Starts a submission; `--json` is added.
    pub fn start(command: &mut Command) -> Self {
        let command = command.arg("--json").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let events = BufReader::new(child.stderr.take().expect("its events are piped"));
        Self { child, events }
    }

    /// Waits for the first event for which `wanted` holds.
    pub fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
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

    /// Sends Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it can be interrupted");
    }

    /// Waits for the end; gives the exit code and what else it said.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.events.read_to_string(&mut rest).expect("its events can be read");
        (self.child.wait().expect("it can be waited for").code(), rest)
    }
}
