//! Jobs whose submitter is killed: `webmesh resume` continues them to the right result, and reports what it cannot do.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use webmesh_tests::corpus::Random;
use webmesh_tests::mesh::{Mesh, assert_same, corpus_of, slow_word_count};
use webmesh_tests::process::{Submission, assert_success, carrier, example, output, stderr, webmesh};

/// How many times submitters are killed at random.
const KILLS: u32 = 20;

/// A seed from the clock, or the one in `WEBMESH_SEED`, which repeats a run.
fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as u64;
    let seed = std::env::var("WEBMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
    println!("seed {seed}: repeat with WEBMESH_SEED={seed}");
    seed
}

/// A command that resumes a job of `user`, through the mesh that it was submitted to.
fn resume(data: &Path, words: &[&str]) -> Command {
    let mut command = webmesh(data);
    command.args(["resume", "--data"]).arg(data).args(words);
    command
}

/// The folders of a user's jobs.
fn kept(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("jobs")).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Waits until the job has its id; returns it.
fn id_of(job: &mut Submission) -> String {
    job.wait_for(|event| event["event"] == "submitted")["job"].as_str().expect("an id").to_owned()
}

fn assert_refused(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing from:\n{text}");
    }
}

/// A mesh of two nodes, a slow word count over a generated corpus, and its independent count.
struct Case {
    mesh: Mesh,
    source: PathBuf,
    expected: Vec<u8>,
    result: PathBuf,
}

impl Case {
    fn new(files: u32, seed: u64) -> Self {
        let mesh = Mesh::start(2, &[]);
        let expected = corpus_of(&mesh.path("corpus"), files, seed);
        let (source, result) = (mesh.file("slow.cpp", &slow_word_count()), mesh.path("result.tsv"));
        Self { mesh, source, expected, result }
    }

    fn data(&self) -> PathBuf {
        self.mesh.path("user")
    }

    fn submit(&self) -> Command {
        let mut submit = self.mesh.submit_job("user", &self.source, &self.mesh.path("corpus"), &self.result);
        submit.args(["--docs-per-task", "1"]);
        submit
    }

    /// Submits the job and kills its submitter once this share of the maps is done; returns the job's id.
    fn killed_at(&self, share: f64) -> String {
        let mut job = Submission::start(&mut self.submit());
        let id = id_of(&mut job);
        job.wait_for_share(share);
        job.assert_runs();
        job.signal(Signal::KILL);
        job.finish();
        id
    }

    /// Submits the job with `--detach`; returns its id.
    fn detached(&self) -> String {
        let mut submit = self.mesh.ask("user", &["submit", "--detach", "--docs-per-task", "1"]);
        let submitted = output(submit.arg(&self.source).arg(self.mesh.path("corpus")));
        assert_success(&submitted);
        String::from_utf8_lossy(&submitted.stdout).trim().to_owned()
    }

    /// A command that waits for a detached job and writes its result.
    fn results(&self, id: &str) -> Command {
        let mut results = webmesh(&self.data());
        results.args(["results", id, "--wait", "--data"]).arg(self.data()).arg("-o").arg(&self.result);
        results
    }

    /// Ends the carrier of a detached job by a signal. `waiting` waits for the result, and must report that the job has
    /// stopped and how to resume it.
    fn signal_carrier(&self, signal: Signal, id: &str, waiting: Submission) {
        kill_process(carrier(&self.data()).expect("a carrier"), signal).expect("it can be signalled");
        let (code, said) = waiting.finish();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("has stopped") && said.contains(&format!("webmesh resume {}", &id[..8])), "{said}");
    }
}

#[test]
fn a_job_whose_submitter_is_killed_at_random_points_resumes_to_the_right_result() {
    let case = Case::new(30, 61);
    let mut random = Random::new(seed());
    let begun = Instant::now();
    let mut whole = Submission::start(&mut case.submit());
    id_of(&mut whole);
    let submitted = begun.elapsed();
    assert_eq!(whole.finish().0, Some(0));
    assert_same(&case.result, &case.expected);
    let lasts = begun.elapsed() - submitted;
    let mut kills = 0;
    while kills < KILLS {
        fs::remove_file(&case.result).expect("the last job wrote its result");
        let mut job = Submission::start(&mut case.submit());
        let id = id_of(&mut job);
        let mut kills_of_job = 0;
        let last = loop {
            // At any time, possibly after its end; it is killed once, twice, or three times.
            let after = lasts.mul_f64(random.unit());
            if kills_of_job == 3 || (kills_of_job > 0 && random.below(3) == 0) {
                break Some(job);
            }
            std::thread::sleep(after);
            if job.has_ended() {
                break Some(job);
            }
            job.signal(Signal::KILL);
            job.finish();
            (kills, kills_of_job) = (kills + 1, kills_of_job + 1);
            println!("kill {kills}: job {} after {after:?}", &id[..8]);
            if kept(&case.data()).is_empty() {
                // It had written its result, and was leaving the mesh.
                break None;
            }
            job = Submission::start(&mut resume(&case.data(), &[&id]));
            // If its last result came in before the kill, it is done at once.
            job.wait_for(|event| matches!(event["event"].as_str(), Some("submitted" | "result")));
        };
        if let Some(job) = last {
            let (code, said) = job.finish();
            assert_eq!(code, Some(0), "job {id}: {said}");
        }
        assert_same(&case.result, &case.expected);
        assert_eq!(kept(&case.data()), [] as [PathBuf; 0], "nothing is kept of a job that has its result");
    }
}

#[test]
fn a_resumed_job_reuses_the_data_of_its_peers_and_its_disk() {
    let case = Case::new(60, 62);
    let id = case.killed_at(0.6);
    let jobs = output(&mut case.mesh.ask("user", &["jobs"]));
    assert_success(&jobs);
    let listed = String::from_utf8_lossy(&jobs.stdout).into_owned();
    let line = listed.lines().find(|line| line.starts_with(&id)).expect("the stopped job is listed");
    assert!(line.contains("stopped here at") && line.contains(&format!("webmesh resume {}", &id[..8])), "{line}");
    let listed = output(&mut resume(&case.data(), &["--json"]));
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("a list of jobs");
    assert_eq!((&listed[0]["job"], &listed[0]["state"]), (&id.as_str().into(), &"stopped".into()));
    let done = listed[0]["stages"][0]["done"].as_u64().expect("a number");
    assert!(done >= 30, "{done} of 60 maps were done when it was killed");
    // By the first digits of its id, with its result to another file.
    let other = case.mesh.path("other.tsv");
    let mut job = Submission::start(resume(&case.data(), &[&id[..6], "-o"]).arg(&other));
    let first = job.wait_for(|event| event["event"] == "progress");
    assert!(first["stages"][0]["done"].as_u64() >= Some(done), "it begins anew: {first}");
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&other, &case.expected);
    assert!(!case.result.exists());
    assert_refused(&output(&mut resume(&case.data(), &[&id])), &["no stopped job"]);
}

#[test]
fn a_job_on_an_embedded_mesh_resumes_with_its_piped_input() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let source = dir.path().join("slow.cpp");
    fs::write(&source, slow_word_count()).expect("a source");
    let text = "one two two\n".repeat(40);
    let mut run = webmesh(&data);
    run.arg("run").arg(source).args(["-", "--chunk", "1", "--docs-per-task", "1", "--json", "--data"]).arg(&data);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it is read");
    let mut job = Submission::of(child);
    let id = id_of(&mut job);
    job.wait_for_share(0.3);
    job.signal(Signal::KILL);
    job.finish();
    let done = output(&mut resume(&data, &[&id]));
    assert_success(&done);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "one\t40\ntwo\t80\n");
    assert_eq!(kept(&data), [] as [PathBuf; 0]);
}

#[test]
fn a_detached_job_whose_process_was_killed_resumes_in_the_background() {
    let case = Case::new(60, 63);
    let id = case.detached();
    let mut waiting = Submission::start(&mut case.results(&id));
    waiting.wait_for_share(0.3);
    let running = output(&mut resume(&case.data(), &[&id]));
    assert_refused(&running, &["is running"]);
    case.signal_carrier(Signal::KILL, &id, waiting);
    let resumed = output(&mut resume(&case.data(), &[&id]));
    assert_success(&resumed);
    assert_eq!(String::from_utf8_lossy(&resumed.stdout).trim(), id);
    assert_success(&output(&mut case.results(&id)));
    assert_same(&case.result, &case.expected);
}

#[test]
fn sigterm_stops_a_detached_job_and_leaves_it_resumable() {
    let case = Case::new(60, 67);
    let id = case.detached();
    // Twice: the second time it is a process that goes on with the job.
    for share in [0.3, 0.6] {
        let mut waiting = Submission::start(&mut case.results(&id));
        waiting.wait_for_share(share);
        case.signal_carrier(Signal::TERM, &id, waiting);
        assert_eq!(kept(&case.data()).len(), 1);
        let resumed = output(&mut resume(&case.data(), &[&id]));
        assert_success(&resumed);
    }
    assert_success(&output(&mut case.results(&id)));
    assert_same(&case.result, &case.expected);
    // The carrier holds a lock on its log until it exits; it removes what it has kept after it has written the result.
    let log = fs::File::open(case.data().join("detached").join(&id).join("log")).expect("the log is there");
    log.lock_shared().expect("it can be waited for");
    assert_eq!(kept(&case.data()), [] as [PathBuf; 0]);
}

#[test]
fn changed_inputs_are_named_and_nothing_is_lost() {
    let case = Case::new(40, 64);
    let id = case.killed_at(0.2);
    let files: Vec<PathBuf> = {
        let entries = fs::read_dir(case.mesh.path("corpus")).expect("the corpus");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    };
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
    let again = || output(&mut resume(&case.data(), &[&id]));
    let name = |i: usize| files[i].to_str().expect("a path in UTF-8");
    // One file is gone, one is shorter.
    fs::remove_file(&files[3]).expect("it can be removed");
    fs::write(&files[5], &whole[5][..100]).expect("it can be written");
    let shorter = format!("it had {} bytes, and now has 100", whole[5].len());
    assert_refused(&again(), &[name(3), name(5), &shorter, "put them back", "--discard"]);
    fs::write(&files[3], &whole[3]).expect("it can be written");
    // One has other text of the same length.
    let mut other = whole[5].clone();
    other[50..60].copy_from_slice(b"otherwords");
    fs::write(&files[5], &other).expect("it can be written");
    assert_refused(&again(), &[name(5), "put them back"]);
    // One has grown, which does not change its earlier documents.
    fs::write(&files[5], &whole[5]).expect("it can be written");
    fs::write(&files[7], [&whole[7][..], b"more words\n"].concat()).expect("it can be written");
    assert_success(&again());
    assert_same(&case.result, &case.expected);
}

#[test]
fn a_damaged_log_is_truncated_and_the_loss_is_reported() {
    let case = Case::new(60, 65);
    let id = case.killed_at(0.6);
    let log = case.data().join("jobs").join(&id).join("decisions");
    let mut bytes = fs::read(&log).expect("a log");
    let middle = bytes.len() * 2 / 3;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).expect("it can be written");
    let resumed = output(&mut resume(&case.data(), &[&id]));
    assert_success(&resumed);
    let said = stderr(&resumed);
    assert!(said.contains("was damaged and has been truncated") && said.contains("finished tasks"), "{said}");
    assert_same(&case.result, &case.expected);
}

#[test]
fn a_job_without_the_beginning_of_its_log_is_refused_and_can_be_removed() {
    let case = Case::new(40, 66);
    let id = case.killed_at(0.2);
    let folder = case.data().join("jobs").join(&id);
    for name in ["decisions", "record", "module.wasm"] {
        let path = folder.join(name);
        let whole = fs::read(&path).expect("it is kept");
        let mut damaged = whole.clone();
        damaged[40] ^= 1;
        fs::write(&path, damaged).expect("it can be written");
        let refused = output(&mut resume(&case.data(), &[&id]));
        assert_refused(&refused, &[path.to_str().expect("a path in UTF-8"), "is damaged", "--discard"]);
        fs::write(&path, whole).expect("it can be written");
    }
    assert_success(&output(&mut resume(&case.data(), &[&id, "--discard"])));
    assert_eq!(kept(&case.data()), [] as [PathBuf; 0]);
}

#[test]
fn a_cancelled_or_failed_job_leaves_nothing_to_resume() {
    let mesh = Mesh::start(1, &[]);
    let result = mesh.path("result.tsv");
    let mut job = Submission::start(&mut mesh.submit_endless("user", &result));
    job.wait_for(|event| event["event"] == "progress");
    assert_eq!(kept(&mesh.path("user")).len(), 1);
    job.interrupt();
    assert_eq!(job.finish().0, Some(1));
    assert_eq!(kept(&mesh.path("user")), [] as [PathBuf; 0]);
    let source = mesh.file(
        "traps.cpp",
        "void map(string_view, webmesh::Emitter<int>&) { __builtin_trap(); }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n",
    );
    let failed = output(&mut mesh.submit_job("user", &source, &example("wordcount/wordcount.cpp"), &result));
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert_eq!(kept(&mesh.path("user")), [] as [PathBuf; 0]);
    // A stopped job can be cancelled by its id.
    let mut job = Submission::start(&mut mesh.submit_endless("user", &result));
    let id = id_of(&mut job);
    job.signal(Signal::KILL);
    job.finish();
    assert_success(&output(&mut mesh.ask("user", &["cancel", &id])));
    assert_eq!(kept(&mesh.path("user")), [] as [PathBuf; 0]);
}

#[test]
fn a_result_that_could_not_be_written_is_written_by_resume() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let input = dir.path().join("input.txt");
    fs::write(&input, "two one two\n").expect("an input");
    let mut run = webmesh(&data);
    run.arg("run").arg(example("wordcount/wordcount.cpp")).arg(&input).args(["-o", "/dev/full", "--data"]).arg(&data);
    let failed = output(&mut run);
    assert_refused(&failed, &["/dev/full", "webmesh resume", "-o FILE"]);
    let id = kept(&data)[0].file_name().expect("a name").to_string_lossy().into_owned();
    let result = dir.path().join("result.tsv");
    assert_success(&output(resume(&data, &[&id, "-o"]).arg(&result)));
    assert_same(&result, b"one\t1\ntwo\t2\n");
    assert_eq!(kept(&data), [] as [PathBuf; 0]);
}
