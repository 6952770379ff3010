//! Inputs of a job: named, piped in, in folders; and notes on unusual ones.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use webmesh_tests::process::{Server, assert_success, confine, example, output, stderr, webmesh};
use webmesh_tests::terminal::watch;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
        fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// A word count of the arguments.
    fn count(&self, inputs: &[&Path], more: &[&str]) -> Command {
        let mut command = webmesh(self.0.path());
        command.arg("run").arg(wordcount()).args(inputs).arg("--data").arg(self.path("data")).args(more);
        command
    }
}

fn wordcount() -> PathBuf {
    example("wordcount/wordcount_fast.cpp")
}

/// Runs a command to its end with `bytes` piped in.
fn piped(command: &mut Command, bytes: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("its input is piped");
    let bytes = bytes.to_vec();
    // It may end without having read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("all is written");
    output
}

fn assert_counts(output: &Output, expected: &str) {
    assert_success(output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", stderr(output));
}

fn assert_says(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing from:\n{text}");
    }
}

// --- Standard input ---------------------------------------------------------------------------------------

#[test]
fn piped_input_is_read_with_or_without_a_dash() {
    let place = Place::new();
    assert_counts(&piped(&mut place.count(&[], &[]), b"a b a\n"), "a\t2\nb\t1\n");
    assert_counts(&piped(&mut place.count(&[Path::new("-")], &[]), b"a b a\n"), "a\t2\nb\t1\n");
    // A file on standard input is an input, too.
    let file = File::open(place.file("in", b"c c\n")).expect("it can be read");
    assert_counts(&output(place.count(&[], &[]).stdin(Stdio::from(file))), "c\t2\n");
}

#[test]
fn a_job_without_any_input_is_refused_with_the_choices() {
    let place = Place::new();
    let choices = ["no INPUT", "files or folders", "cat FILE |", "--tasks N"];
    let asked = output(&mut place.count(&[], &[]));
    assert_eq!(asked.status.code(), Some(2), "{}", stderr(&asked));
    assert!(asked.stdout.is_empty());
    assert_says(&asked, &choices);
    let terminal = watch(&place.count(&[], &[]), &place.path("out"));
    assert_eq!(terminal.status.code(), Some(2));
    // Lines may be wrapped anywhere at the terminal's edge.
    let shown = terminal.screens.last().expect("something is shown").replace('\n', "");
    assert!(choices.iter().all(|choice| shown.contains(choice)), "{shown}");
    // A detached job does not read a pipe by default either.
    let mut detached = webmesh(place.0.path());
    detached.arg("submit").arg(wordcount()).args(["--detach", "--bootstrap", "/ip4/127.0.0.1/tcp/9"]);
    let refused = piped(detached.arg("--data").arg(place.path("data")), b"a");
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert_says(&refused, &["standard input"]);
    // With --tasks, a piped input is not read.
    let numbers = piped(&mut place.count(&[], &["--tasks", "3"]), b"a");
    assert_counts(&numbers, "0\t1\n1\t1\n2\t1\n");
}

// --- Unusual inputs ---------------------------------------------------------------------------------------

#[test]
fn kernel_files_are_read_whatever_their_reported_size() {
    let place = Place::new();
    let counted = output(&mut place.count(&[Path::new("/proc/self/cmdline"), Path::new("/proc/cpuinfo")], &[]));
    assert_success(&counted);
    let cores = fs::read_to_string("/proc/cpuinfo").expect("it can be read");
    let cores = cores.split(|c: char| !c.is_alphanumeric()).filter(|word| *word == "processor").count();
    let lines = String::from_utf8_lossy(&counted.stdout).into_owned();
    assert!(cores == 0 || lines.contains(&format!("processor\t{cores}\n")), "{lines}");
    assert!(lines.contains("cmdline\t1\n"), "its own arguments name it: {lines}");
}

#[test]
fn compressed_and_utf16_inputs_are_reported_with_a_command_that_works() {
    let place = Place::new();
    let gzip = Command::new("sh").arg("-c").arg("printf 'a b a\\n' | gzip -c").output().expect("there is gzip");
    let packed = place.file("some dir/in.txt.gz", &gzip.stdout);
    let wide: Vec<u8> = "\u{feff}a b a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = place.file("wide.txt", &wide);
    for (input, about) in [(&packed, "compressed (gzip)"), (&wide, "UTF-16")] {
        let counted = output(&mut place.count(&[input], &["--partitions", "3"]));
        assert_success(&counted);
        assert_says(&counted, &["note: ", about]);
        let text = stderr(&counted);
        let command = text.split("to read what is in it: ").nth(1).and_then(|rest| rest.lines().next());
        let command = command.unwrap_or_else(|| panic!("no command in:\n{text}"));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command);
        assert!(command.contains("--partitions 3"), "{command}");
        assert_counts(&output(&mut confine(shell, place.0.path())), "a\t2\nb\t1\n");
    }
    // With --json it is an event.
    let json = stderr(&output(&mut place.count(&[&packed], &["--json"])));
    let notes: Vec<_> = json.lines().filter(|line| line.contains(r#""event":"note""#)).collect();
    assert!(notes.len() == 1 && notes[0].contains("zcat"), "{json}");
}

#[test]
fn a_note_on_the_inputs_of_a_detached_job_reaches_its_user() {
    let place = Place::new();
    let node = Server::node(&place.path("node"), &[], &["--roles", "worker,shuffler,compiler"]);
    let packed = place.file("in.gz", b"\x1f\x8b\x08 no more");
    let mut submit = webmesh(place.0.path());
    submit.arg("submit").arg(wordcount()).arg(&packed).args(["--detach", "--bootstrap", &node.address, "--data"]);
    let submitted = output(submit.arg(place.path("data")));
    assert_success(&submitted);
    assert_says(&submitted, &["note: ", "in.gz is compressed (gzip)", "zcat ", " submit "]);
    assert!(!stderr(&submitted).contains("--carry"), "{}", stderr(&submitted));
    // Its process ends with the job.
    let id = String::from_utf8_lossy(&submitted.stdout);
    let mut results = webmesh(place.0.path());
    results.args(["results", id.trim(), "--wait", "--data"]).arg(place.path("data"));
    assert_success(&output(&mut results));
}

#[test]
fn records_with_quoted_line_breaks_are_not_cut() {
    let place = Place::new();
    let job = place.file(
        "rows.cpp",
        b"// Counts records; quoted fields may hold line breaks.
        void map(string_view doc, webmesh::Emitter<int>& out) {
          bool quoted = false;
          for (char c : doc) {
            if (c == '\"') quoted = !quoted;
            if (c == '\\n' && !quoted) out.emit(\"records\", 1);
          }
          if (quoted) out.emit(\"cut\", 1);
        }
        int combine(int a, int b) { return a + b; }
        pair<string, int> reduce(const string key, vector<int> vals) {
          int sum = 0;
          for (int v : vals) sum += v;
          return {key, sum};
        }\n",
    );
    let text = "5,\"a review\nof several\nlines, with \"\"quotes\"\"\"\n".repeat(50_000);
    let table = place.file("in.csv", text.as_bytes());
    let mut command = webmesh(place.0.path());
    command.arg("run").arg(&job).arg(&table).arg("--data").arg(place.path("data"));
    assert_counts(&output(&mut command), "records\t50000\n");
    // Standard input has no name that marks it as a table.
    let mut command = webmesh(place.0.path());
    command.arg("run").arg(&job).args(["-", "--csv", "--data"]).arg(place.path("data"));
    assert_counts(&piped(&mut command, text.as_bytes()), "records\t50000\n");
}

// --- Folders ----------------------------------------------------------------------------------------------

#[test]
fn a_result_in_the_input_folder_is_not_an_input_of_the_next_run() {
    let place = Place::new();
    let folder = place.file("d/in.txt", b"a b a\n").parent().expect("a folder").to_owned();
    symlink(&folder, place.path("way")).expect("a link can be made");
    for result in ["d/counts.tsv", "way/counts.tsv", "d/counts.tsv"] {
        let counted = output(place.count(&[&folder], &["-o"]).arg(place.path(result)));
        assert_success(&counted);
        assert_eq!(fs::read_to_string(folder.join("counts.tsv")).expect("a result"), "a\t2\nb\t1\n");
    }
    // Nor if standard output is redirected there.
    for _ in 0..2 {
        let result = File::options().append(true).create(true).open(folder.join("counts.tsv")).expect("it opens");
        let child = place.count(&[&folder], &[]).stdout(result).stderr(Stdio::piped()).spawn().expect("it starts");
        let counted = child.wait_with_output().expect("it ends");
        assert_success(&counted);
        assert_says(&counted, &["note: ", "d/counts.tsv is left out"]);
    }
    assert_eq!(fs::read_to_string(folder.join("counts.tsv")).expect("a result"), "a\t2\nb\t1\n".repeat(3));
    // As an explicit input it is reported before anything is lost.
    let both = output(place.count(&[&folder.join("in.txt")], &["-o"]).arg(folder.join("in.txt")));
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
    assert_eq!(fs::read(folder.join("in.txt")).expect("the input"), b"a b a\n");
}

#[test]
fn an_unreadable_file_is_reported_and_can_be_skipped() {
    let place = Place::new();
    let readable = place.file("d/a", b"a\n");
    let locked = place.file("d/b", b"b\n");
    let folder = readable.parent().expect("a folder");
    let mut forbid = Command::new("chmod");
    assert!(forbid.args(["000"]).arg(&locked).status().expect("there is chmod").success());
    if File::open(&locked).is_ok() {
        // As root: memory that is not mapped cannot be read by anybody.
        fs::remove_file(&locked).expect("it can be removed");
        symlink("/proc/self/mem", &locked).expect("a link can be made");
    }
    let refused = output(&mut place.count(&[folder], &[]));
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert_says(&refused, &["cannot read", "d/b", "--skip-unreadable"]);
    assert!(!stderr(&refused).contains("could be read"), "{}", stderr(&refused));
    let counted = output(&mut place.count(&[folder], &["--skip-unreadable"]));
    assert_counts(&counted, "a\t1\n");
    assert_says(&counted, &["note: ", "d/b"]);
}
