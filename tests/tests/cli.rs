//! The command line from the user's side: wrong usage, interruptions, closed pipes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use webmesh_tests::corpus;
use webmesh_tests::process::{Server, Submission, assert_success, carrier, example, output, root, stderr, webmesh};

/// Timeout of every wait, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKER: &[&str] = &["--roles", "worker,shuffler"];
const ALL_ROLES: &[&str] = &["--roles", "worker,shuffler,compiler"];

/// A test's folder, with the user's files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder can be made");
        path
    }

    /// A command of the user, whose data and temporary files are in this folder.
    fn webmesh(&self, arguments: &[&str]) -> Command {
        let mut command = webmesh(self.0.path());
        command.args(arguments).arg("--data").arg(self.path("data")).env("TMPDIR", self.folder("tmp"));
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        output(&mut self.webmesh(arguments))
    }

    /// A job that never ends by itself, and its input.
    fn endless(&self) -> [String; 2] {
        let source = "void map(string_view, webmesh::Emitter<int>&) { for (volatile int i = 0;; i = i + 1) {} }\n\
            pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n";
        [self.file("endless.cpp", source), self.file("one.txt", "one document\n")].map(text)
    }

    /// The user's temporary files that are left.
    fn leftovers(&self) -> Vec<PathBuf> {
        list(&self.folder("tmp"))
    }
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a path in UTF-8")
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

fn wordcount() -> String {
    text(example("wordcount/wordcount.cpp"))
}

fn readme() -> String {
    text(root().join("README.md"))
}

/// Waits for an event with this name that contains `part`.
fn wait_for_event(run: &mut Submission, name: &str, part: &str) {
    run.wait_for(|event| event["event"] == name && event.to_string().contains(part));
}

/// Runs a command through another one, which changes how signals affect it.
fn by(way: &[&str], command: &Command) -> Command {
    let mut by = Command::new(way[0]);
    by.args(&way[1..]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    by.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    by
}

/// Polls until there is a value, or fails.
fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_exit(output: &Output, code: i32, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing from:\n{text}");
    }
}

// --- Wrong usage ------------------------------------------------------------------------------------------

#[test]
fn an_invalid_option_is_named_and_exits_with_2() {
    let place = Place::new();
    let (job, input) = (wordcount(), readme());
    let (job, input) = (job.as_str(), input.as_str());
    let mesh = ["--bootstrap", "/ip4/127.0.0.1/tcp/9"];
    for (arguments, named) in [
        (vec!["run", job, input, "--chunk", "0"], "--chunk"),
        (vec!["run", job, input, "--chunk", "64MiB"], "--chunk"),
        (vec!["run", job, "--tasks", "0"], "--tasks"),
        (vec!["run", job, input, "--tasks", "5"], "--tasks"),
        (vec!["run", job, "-", "-"], "only once"),
        (vec!["run", job, input, "--csv", "--whole-files"], "--csv"),
        (vec!["peers", "--bootstrap", "127.0.0.1:4001"], "write /ip4/127.0.0.1/tcp/4001"),
        (vec!["node", "--listen", "0.0.0.0:4001"], "write /ip4/0.0.0.0/tcp/4001"),
        (vec!["run", job, input, "--task-memory", "8GiB"], "--task-memory"),
        (vec!["run", job, input, "--task-timeout", "0.0001"], "--task-timeout"),
        (vec!["run", job, input, "--threads", "2", mesh[0], mesh[1]], "--threads"),
        (vec!["run", job, input, "--peers", "2", mesh[0], mesh[1]], "--peers"),
        (vec!["submit", job, input], "--bootstrap"),
        (vec!["submit", job, input, mesh[0], mesh[1], "--detach", "-o", "x"], "--output"),
        (vec!["submit", job, "-", mesh[0], mesh[1], "--detach"], "standard input"),
    ] {
        let output = place.output(&arguments);
        println!("{arguments:?}");
        assert_exit(&output, 2, &[named]);
    }
}

#[test]
fn with_json_every_line_is_json_even_in_errors() {
    let place = Place::new();
    let nowhere = text(place.path("nowhere.cpp"));
    let broken = text(place.file("broken.cpp", "nonsense"));
    let mesh = ["--bootstrap", "/ip4/127.0.0.1/tcp/9", "--json"];
    for (arguments, code, why) in [
        (vec!["run", &nowhere, "--json"], 1, "nowhere.cpp"),
        (vec!["run", &broken, "--json", "--tasks", "1"], 1, "broken.cpp:1:"),
        // With the log, which then includes all libraries.
        (vec!["run", &broken, "--json", "-vv", "--tasks", "1"], 1, "broken.cpp:1:"),
        (vec!["run", &broken, "--json", "--tasks", "0"], 2, "--tasks"),
        (vec!["jobs", mesh[0], mesh[1], mesh[2]], 1, "/ip4/127.0.0.1/tcp/9"),
        (vec!["cancel", "3f7a", mesh[0], mesh[1], mesh[2]], 1, "/ip4/127.0.0.1/tcp/9"),
        (vec!["results", "3f7a", "--json"], 1, "3f7a"),
    ] {
        let output = output(place.webmesh(&arguments).env_remove("WEBMESH_LOG"));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        let events: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
        let (log, said): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event["event"] == "log");
        assert!(arguments.contains(&"-vv") != log.is_empty(), "{text}");
        assert!(log.iter().all(|line| line["time"].as_str().is_some_and(|time| time.ends_with('Z'))), "{text}");
        let last = said.last().expect("something is said");
        assert_eq!(last["event"], "error", "{text}");
        assert!(last["why"].as_str().is_some_and(|said| said.contains(why)), "{last}");
    }
}

#[test]
fn warnings_of_the_compiler_are_an_event() {
    let place = Place::new();
    let source = format!("#warning \"mind the gap\"\n{}", fs::read_to_string(wordcount()).expect("the example"));
    let job = text(place.file("job.cpp", &source));
    let output = place.output(&["run", &job, &readme(), "--json"]);
    assert_success(&output);
    let events = stderr(&output);
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let warnings: Vec<_> = events.filter(|event| event["event"] == "warnings").collect();
    assert_eq!(warnings.len(), 1);
    let text = warnings[0]["text"].as_str().expect("a text");
    assert!(text.contains("mind the gap") && !text.contains('\x1b'), "{text}");
}

// --- Obstacles --------------------------------------------------------------------------------------------

#[test]
fn two_nodes_cannot_share_a_data_folder() {
    let place = Place::new();
    let data = place.path("data");
    let first = Server::node(&data, &[], WORKER);
    let second = place.output(&["node", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_exit(&second, 1, &[&text(data.clone()), "--data"]);
    drop(first);
    // A killed node leaves no lock behind.
    let mut third = Server::node(&data, &[], WORKER);
    assert!(third.terminate().success());
}

#[test]
fn an_http_port_in_use_is_named() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = place.output(&["node", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--http", &address]);
    assert_exit(&output, 1, &[&address, "--http", "in use"]);
}

#[test]
fn a_failed_join_gives_the_reason_for_each_address() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], WORKER);
    let (at, own) = node.address.split_once("/p2p/").expect("an address with an id");
    let other = Server::node(&place.path("other"), &[], WORKER);
    let wrong = format!("{at}/p2p/{}", other.peer);
    let refused = "/ip4/127.0.0.1/tcp/9";
    let unknown = "/dns4/nowhere.invalid/tcp/4001";
    let output = place.output(&["peers", "--bootstrap", &wrong, "--bootstrap", refused, "--bootstrap", unknown]);
    assert_exit(&output, 1, &[&wrong, own, refused, "refused", unknown]);
    let joined = place.output(&["peers", "--bootstrap", refused, "--bootstrap", &node.address]);
    assert_success(&joined);
}

#[test]
fn a_compiler_is_found_through_a_node_that_has_none() {
    let place = Place::new();
    let bootstrap = Server::bootstrap(&place.path("bootstrap"));
    let node = Server::node(&place.path("node"), &[&bootstrap.address], WORKER);
    // Longer than the name of a job may be: it is truncated.
    let long = text(place.file(&format!("{}.cpp", "n".repeat(180)), &fs::read_to_string(wordcount()).expect("it")));
    let counted = place.output(&["submit", &long, &readme(), "--bootstrap", &node.address]);
    assert_success(&counted);
    assert!(!counted.stdout.is_empty());
}

#[test]
fn a_mesh_without_a_compiler_says_so_and_what_to_do() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], WORKER);
    let output = place.output(&["submit", &wordcount(), &readme(), "--bootstrap", &node.address]);
    assert_exit(&output, 1, &["no peer of the mesh has a compiler", "webmesh node --roles compiler"]);
}

#[test]
fn control_characters_in_a_name_are_escaped() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], ALL_ROLES);
    let job = text(place.file("evil\x1b]0;owned\x07.cpp", &fs::read_to_string(wordcount()).expect("the example")));
    let input = readme();
    let counted = place.output(&["submit", &job, &input, "--bootstrap", &node.address]);
    assert_success(&counted);
    let jobs = place.output(&["jobs", "--bootstrap", &node.address]);
    let listed = String::from_utf8(jobs.stdout).expect("UTF-8");
    assert!(listed.contains(r"evil\u{1b}]0;owned\u{7}.cpp"), "{listed}");
    assert!(!stderr(&counted).contains('\x1b'));
}

// --- Closed pipes -----------------------------------------------------------------------------------------

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], ALL_ROLES);
    let input = text(place.folder("input"));
    corpus::reviews(Path::new(&input), 4, 100_000, 20_000, 21).expect("the corpus can be written");
    for arguments in [
        vec!["peers", "--bootstrap", &node.address],
        vec!["peers", "--bootstrap", &node.address, "--json"],
        vec!["run", &wordcount(), &input],
    ] {
        let mut command = place.webmesh(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_exit(&output, 0, &[]);
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

// --- Signals ----------------------------------------------------------------------------------------------

#[test]
fn ctrl_c_before_the_job_exists_leaves_nothing_behind() {
    let place = Place::new();
    let [job, input] = place.endless();
    let mut command = place.webmesh(&["run", &job, &input, "--peers", "3", "--threads", "1"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for("the embedded mesh's folder", || place.leftovers().first().cloned());
    kill_process(Pid::from_child(&child), Signal::INT).expect("it can be signalled");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(place.leftovers(), [] as [PathBuf; 0]);
}

/// Starts the endless job on an embedded mesh of two, and waits until it runs.
fn run_endless(place: &Place, result: &Path) -> Submission {
    let [job, input] = place.endless();
    let arguments = ["run", &job, &input, "--task-timeout", "3000", "--peers", "2", "--threads", "1"];
    // Under nohup, one of the signals is ignored; restore its default.
    let mut run = by(&["env", "--default-signal=HUP"], place.webmesh(&arguments).arg("-o").arg(result));
    let mut run = Submission::start(&mut run);
    wait_for_event(&mut run, "progress", "");
    run
}

#[test]
fn a_signal_cancels_a_job_and_leaves_no_file() {
    for which in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = Place::new();
        let results = place.folder("results");
        let run = run_endless(&place, &results.join("result.tsv"));
        run.signal(which);
        let (code, said) = run.finish();
        assert_eq!(code, Some(1), "{which:?}: {said}");
        assert!(said.contains("the job was cancelled"), "{which:?}: {said}");
        assert_eq!([list(&results), place.leftovers()], [[], []] as [[PathBuf; 0]; 2], "{which:?}");
    }
}

#[test]
fn a_second_signal_ends_a_job_at_once_and_leaves_no_file() {
    let place = Place::new();
    let results = place.folder("results");
    let run = run_endless(&place, &results.join("result.tsv"));
    // Two signals of one kind might be merged.
    run.signal(Signal::INT);
    run.signal(Signal::TERM);
    let (code, said) = run.finish();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!([list(&results), place.leftovers()], [[], []] as [[PathBuf; 0]; 2]);
}

#[test]
fn ctrl_c_ends_a_job_whose_result_nobody_reads() {
    let place = Place::new();
    let input = place.folder("input");
    // More than a pipe can buffer.
    corpus::reviews(&input, 20, 100_000, 20_000, 22).expect("the corpus can be written");
    let mut run = Submission::unread(&mut place.webmesh(&["run", &wordcount(), &text(input)]));
    wait_for_event(&mut run, "phase", "merging");
    run.signal(Signal::INT);
    let (code, said) = run.finish();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(place.leftovers(), [] as [PathBuf; 0]);
}

#[test]
fn a_job_under_nohup_outlives_its_terminal() {
    let place = Place::new();
    let input = place.folder("input");
    corpus::reviews(&input, 40, 100_000, 20_000, 23).expect("the corpus can be written");
    let result = place.path("result.tsv");
    let plain = place.webmesh(&["run", &wordcount(), &text(input.clone()), "-o", &text(result.clone())]);
    let mut job = Submission::start(&mut by(&["nohup"], &plain));
    wait_for_event(&mut job, "submitted", "");
    job.signal(Signal::HUP);
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    let expected = corpus::count_words(&[&input]).expect("the corpus can be counted");
    assert!(fs::read(&result).expect("a result") == expected, "not the independent count");
}

// --- Detached jobs ----------------------------------------------------------------------------------------

/// Submits a detached job; returns its id.
fn detach(place: &Place, node: &Server, arguments: &[&str]) -> String {
    let all = [&["submit", "--detach", "--bootstrap", &node.address][..], arguments].concat();
    let submitted = place.output(&all);
    assert_success(&submitted);
    let said = String::from_utf8(submitted.stdout).expect("UTF-8");
    let id = said.strip_suffix('\n').expect("a line").to_owned();
    assert!(id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()), "no job id alone: {said}");
    id
}

#[test]
fn the_result_of_a_detached_job_can_be_fetched_later() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], ALL_ROLES);
    let input = place.folder("input");
    corpus::reviews(&input, 30, 100_000, 20_000, 24).expect("the corpus can be written");
    let expected = corpus::count_words(&[&input]).expect("the corpus can be counted");
    let id = detach(&place, &node, &[&wordcount(), &text(input)]);
    let file = place.path("result.tsv");
    assert_success(&place.output(&["results", &id, "--wait", "-o", &text(file.clone())]));
    assert!(fs::read(&file).expect("a result") == expected, "not the independent count");
    // Once more, by the first digits of the id, to standard output.
    let again = place.output(&["results", &id[..6]]);
    assert_success(&again);
    assert!(again.stdout == expected, "not the same result");
    let jobs = place.output(&["jobs", "--json", "--bootstrap", &node.address]);
    let jobs: Value = serde_json::from_slice(&jobs.stdout).expect("a list of jobs");
    assert_eq!((&jobs[0]["job"], &jobs[0]["state"]), (&id.into(), &"done".into()));
    wait_for("the carrier's end", || carrier(&place.path("data")).is_none().then_some(()));
}

#[test]
fn a_detached_job_shows_its_progress_and_can_be_cancelled() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], ALL_ROLES);
    let [job, input] = place.endless();
    let id = detach(&place, &node, &[&job, &input, "--task-timeout", "3000"]);
    let running = place.output(&["results", &id]);
    assert_exit(&running, 1, &["is still running", "--wait"]);
    assert!(running.stdout.is_empty());
    let waiting = place.webmesh(&["results", &id, "--wait"]).stderr(Stdio::piped()).spawn().expect("it starts");
    assert_success(&place.output(&["cancel", &id, "--bootstrap", &node.address]));
    assert_exit(&waiting.wait_with_output().expect("it ends"), 1, &["the job was cancelled"]);
    assert_exit(&place.output(&["results", &id]), 1, &["the job was cancelled"]);
}

#[test]
fn a_detached_job_whose_process_was_killed_is_shown_as_stopped() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], ALL_ROLES);
    let [job, input] = place.endless();
    let id = detach(&place, &node, &[&job, &input, "--task-timeout", "3000"]);
    kill_process(carrier(&place.path("data")).expect("a carrier"), Signal::KILL).expect("it can be killed");
    assert_exit(&place.output(&["results", &id, "--wait"]), 1, &["has stopped", "webmesh resume"]);
    fs::remove_dir_all(place.path("data/jobs")).expect("it is kept");
    assert_exit(&place.output(&["results", &id]), 1, &["is lost", "submit it again"]);
}

#[test]
fn a_detached_job_that_cannot_be_submitted_fails_at_once_and_leaves_nothing() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], ALL_ROLES);
    let broken = text(place.file("broken.cpp", "nonsense"));
    let output = place.output(&["submit", &broken, &readme(), "--detach", "--bootstrap", &node.address]);
    assert_exit(&output, 1, &["broken.cpp:1:"]);
    assert!(output.stdout.is_empty());
    assert_eq!(list(&place.path("data/detached")), [] as [PathBuf; 0]);
    assert_exit(&place.output(&["results", "3f7a"]), 1, &["3f7a", "--detach"]);
    let asked = place.output(&["results", "3f7a", "--bootstrap", &node.address]);
    assert_exit(&asked, 1, &["the mesh knows no job `3f7a`"]);
}
