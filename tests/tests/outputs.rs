//! Destinations of a result: files, links, pipes, devices, and ones that cannot be written.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;
use webmesh_tests::process::{Submission, assert_success, confine, example, output, stderr, webmesh};

const COUNTS: &str = "a\t2\nb\t1\n";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        fs::write(place.path("in.txt"), "a b a\n").expect("a file can be written");
        fs::create_dir(place.path("out")).expect("a folder can be made");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Path of a result with this name.
    fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    /// A word count of the input.
    fn count(&self) -> Command {
        let mut command = webmesh(self.0.path());
        command.arg("run").arg(example("wordcount/wordcount_fast.cpp")).arg(self.path("in.txt"));
        command.arg("--data").arg(self.path("data"));
        command
    }

    fn count_to(&self, place: impl AsRef<Path>) -> Output {
        output(self.count().arg("-o").arg(place.as_ref()))
    }

    /// Runs a command through a shell in the folder of the results, which executes `line` with the command as `"$@"`.
    fn shell(&self, line: &str, command: &Command) -> Output {
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(line).arg("bash").arg(command.get_program()).args(command.get_args());
        shell.current_dir(self.path("out"));
        output(&mut confine(shell, self.0.path()))
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("out")).expect("a folder");
        let mut names: Vec<_> =
            names.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("it can be read")
}

fn assert_refused(output: &Output, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing from:\n{text}");
    }
}

#[test]
fn standard_output_can_be_named() {
    let place = Place::new();
    for name in ["-", "/dev/stdout", "/proc/self/fd/1"] {
        let counted = place.count_to(name);
        assert_success(&counted);
        assert_eq!(String::from_utf8_lossy(&counted.stdout), COUNTS, "{name}");
        // A file that a shell appends to is not replaced.
        fs::write(place.out("log"), "before\n").expect("a file can be written");
        assert_success(&place.shell(&format!("\"$@\" -o {name} >>log"), &place.count()));
        assert_eq!(read(place.out("log")), format!("before\n{COUNTS}"), "{name}");
    }
    assert_success(&place.shell("\"$@\" -o /dev/fd/7 7>>log", &place.count()));
    assert_eq!(read(place.out("log")), format!("before\n{COUNTS}{COUNTS}"));
    // A process that reads, through a name given by the shell.
    assert_success(&place.shell("\"$@\" -o >(cat >read); while [ ! -s read ]; do :; done", &place.count()));
    assert_eq!(read(place.out("read")), COUNTS);
    assert_eq!(place.names(), ["log", "read"]);
}

#[test]
fn a_missing_folder_is_reported_before_anything_is_done() {
    let place = Place::new();
    fs::write(place.path("broken.cpp"), "no job\n").expect("a file can be written");
    let mut command = webmesh(place.0.path());
    command
        .arg("run")
        .arg(place.path("broken.cpp"))
        .arg(place.path("in.txt"))
        .arg("-o")
        .arg(place.out("no/such/r.tsv"));
    let refused = output(command.arg("--data").arg(place.path("data")));
    assert_refused(&refused, &["no folder", "out/no/such", "mkdir -p", "-o"]);
    let text = stderr(&refused);
    assert!(!text.contains("free some space") && !text.contains("broken.cpp"), "{text}");
    // The same for a mesh that would have to be joined first.
    let mut command = webmesh(place.0.path());
    command
        .arg("submit")
        .arg(example("wordcount/wordcount.cpp"))
        .arg(place.path("in.txt"))
        .arg("-o")
        .arg(place.out("no/r.tsv"));
    let refused = output(command.args(["--bootstrap", "/ip4/127.0.0.1/tcp/9", "--data"]).arg(place.path("data")));
    assert_refused(&refused, &["no folder"]);
    assert!(!stderr(&refused).contains("/tcp/9"), "{}", stderr(&refused));
}

#[test]
fn a_link_is_kept_and_its_target_is_written() {
    let place = Place::new();
    fs::write(place.out("old"), "old\n").expect("a file can be written");
    fs::set_permissions(place.out("old"), fs::Permissions::from_mode(0o606)).expect("it is ours");
    let links = [("to-old", "old", "old"), ("to-nothing", "new", "new"), ("twice", "to-other", "other")];
    symlink("other", place.out("to-other")).expect("a link can be made");
    for (link, leads_to, file) in links {
        symlink(leads_to, place.out(link)).expect("a link can be made");
        assert_success(&place.count_to(place.out(link)));
        assert!(fs::symlink_metadata(place.out(link)).expect("it is there").is_symlink(), "{link}");
        assert_eq!(read(place.out(file)), COUNTS, "{link}");
    }
    assert_eq!(fs::metadata(place.out("old")).expect("it is there").permissions().mode() & 0o777, 0o606);
    assert_eq!(place.names(), ["new", "old", "other", "to-nothing", "to-old", "to-other", "twice"]);
    symlink("no/such/folder/file", place.out("lost")).expect("a link can be made");
    assert_refused(&place.count_to(place.out("lost")), &["out/lost", "no folder", "no/such/folder"]);
    symlink("round", place.out("round")).expect("a link can be made");
    assert_refused(&place.count_to(place.out("round")), &["out/round", "symbolic links"]);
}

#[test]
fn a_special_file_is_written_to_or_refused_and_never_replaced() {
    let place = Place::new();
    assert_success(&place.count_to("/dev/null"));
    assert!(fs::metadata("/dev/null").expect("it is there").file_type().is_char_device());
    for folder in [place.path("out"), place.path("new/")] {
        assert_refused(&place.count_to(&folder), &["that is a folder", "result.tsv"]);
    }
    assert_refused(&place.count_to("/dev/full"), &["/dev/full", "free some space"]);
    let pipe = place.out("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo").success());
    let writer = place.count().arg("-o").arg(&pipe).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut counted = String::new();
    File::open(&pipe).and_then(|mut pipe| pipe.read_to_string(&mut counted)).expect("it can be read");
    assert_success(&writer.wait_with_output().expect("it ends"));
    assert_eq!(counted, COUNTS);
    // A reader that stops early is not an error here either.
    let writer = place.count().arg("-o").arg(&pipe).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(File::open(&pipe).expect("it can be read"));
    assert_success(&writer.wait_with_output().expect("it ends"));
    assert_eq!(place.names(), ["pipe"]);
}

#[test]
fn unwritable_standard_output_is_an_error() {
    let place = Place::new();
    assert_refused(&place.shell("\"$@\" >&-", &place.count()), &["standard output is closed", "-o FILE"]);
    assert_refused(
        &place.shell("\"$@\" >/dev/full", &place.count()),
        &["standard output cannot be written", "No space"],
    );
    assert_refused(&place.shell("\"$@\" 1<../in.txt", &place.count()), &["standard output is open for reading only"]);
    // Output to /dev/null is accepted, whoever opened it and how.
    assert_success(&place.shell("\"$@\" >/dev/null", &place.count()));
    assert_success(&place.shell("\"$@\" 1<>/dev/null", &place.count()));
    assert_success(&place.shell("\"$@\" >&- -o result", &place.count()));
    assert_eq!(read(place.out("result")), COUNTS);
}

/// A job whose result is larger than anything else that its run writes, and its arguments.
fn large(place: &Place, more: &[&str]) -> Command {
    let source = "void map(string_view doc, webmesh::Emitter<string>& out) {\n\
        for (int i = 0; i < 64; ++i) out.emit(string(doc) + ' ' + to_string(i), string(1 << 16, 'x'));\n}\n\
        pair<string, string> reduce(const string key, vector<string> vals) { return {key, vals[0]}; }\n";
    fs::write(place.path("large.cpp"), source).expect("a file can be written");
    let mut command = webmesh(place.0.path());
    command.arg("run").arg(place.path("large.cpp")).args(["--tasks", "4"]).args(more);
    command.arg("--data").arg(place.path("data"));
    command
}

#[test]
fn a_limit_on_the_size_of_files_is_named_and_leaves_nothing_behind() {
    let place = Place::new();
    // 16 MiB of result with a limit of 8: not even the tasks' outputs can be stored.
    let refused = place.shell("ulimit -f 8192; \"$@\" -o result", &large(&place, &[]));
    assert_refused(&refused, &["cannot store results", "File too large", "ulimit -f"]);
    assert_eq!(place.names(), [""; 0]);
    let refused = place.shell("ulimit -f 8192; \"$@\" >result", &large(&place, &[]));
    assert_refused(&refused, &["cannot store results", "File too large"]);
}

#[test]
fn no_signal_leaves_a_partial_result_behind() {
    let place = Place::new();
    if rustix::fs::open(place.path("out"), rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR, 0o600.into())
        .is_err()
    {
        eprintln!("the file system of {} has no files without a name: not tested here", place.path("out").display());
        return;
    }
    let source = "void map(string_view, webmesh::Emitter<int>&) { for (volatile int i = 0;; i = i + 1) {} }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n";
    fs::write(place.path("endless.cpp"), source).expect("a file can be written");
    for signal in [Signal::KILL, Signal::QUIT, Signal::ALARM] {
        let mut command = webmesh(place.0.path());
        command.arg("run").arg(place.path("endless.cpp")).arg(place.path("in.txt")).args(["--task-timeout", "3000"]);
        command.arg("-o").arg(place.out("result")).arg("--data").arg(place.path("data"));
        let mut run = Submission::start(&mut command);
        run.wait_for(|event| event["event"] == "progress");
        run.signal(signal);
        let (code, said) = run.finish();
        assert_eq!(code, None, "{signal:?} ends it: {said}");
        assert_eq!(place.names(), [""; 0], "{signal:?}");
    }
}

#[test]
fn a_key_of_any_bytes_is_one_field_that_printf_can_decode() {
    let place = Place::new();
    let key = b"tab\t\\t line\nreturn\r back\\slash \\\\n caf\xe9 \xff%s";
    fs::write(place.path("in.txt"), key).expect("a file can be written");
    let source = "void map(string_view doc, webmesh::Emitter<int>& out) { out.emit(doc, 1); }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, vals[0]}; }\n";
    fs::write(place.path("key.cpp"), source).expect("a file can be written");
    let mut command = webmesh(place.0.path());
    command.arg("run").arg(place.path("key.cpp")).arg(place.path("in.txt")).arg("--data").arg(place.path("data"));
    let printed = place.shell(r#""$@" | while IFS=$'\t' read -r key value; do printf %b "$key"; done"#, &command);
    assert_success(&printed);
    assert_eq!(printed.stdout, key);
}
