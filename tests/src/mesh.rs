//! A mesh of real processes, and jobs to submit to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::corpus;
use crate::process::{Server, example, webmesh};

/// A bootstrap node and some worker nodes, each with a folder of its own.
pub struct Mesh {
    /// The folder with everybody's folders and the test's own files.
    pub dir: TempDir,
    /// The bootstrap node, which has the compiler.
    pub bootstrap: Server,
    /// The nodes, with one thread each.
    pub nodes: Vec<Server>,
}

impl Mesh {
    /// Starts a mesh whose nodes get the arguments `more`.
    pub fn start(nodes: usize, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let bootstrap = Server::bootstrap(&dir.path().join("bootstrap"));
        let nodes = (0..nodes)
            .map(|i| Server::node(&dir.path().join(format!("node{i}")), &[&bootstrap.address], more))
            .collect();
        Self { dir, bootstrap, nodes }
    }

    /// A path in the mesh's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the mesh's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// A command that queries or controls the mesh, run as `user`.
    pub fn ask(&self, user: &str, words: &[&str]) -> Command {
        let data = self.path(user);
        let mut command = webmesh(&data);
        command.args(words).args(["--bootstrap", &self.bootstrap.address, "--data"]).arg(data);
        command
    }

    /// A submission of the word count that reads `input` and writes `result`, as its own user.
    pub fn submit(&self, user: &str, input: &Path, result: &Path) -> Command {
        self.submit_job(user, &example("wordcount/wordcount.cpp"), input, result)
    }

    /// A submission of a job that never ends by itself, over an input of one document.
    pub fn submit_endless(&self, user: &str, result: &Path) -> Command {
        let (job, input) = endless(self.dir.path());
        let mut command = self.submit_job(user, &job, &input, result);
        command.args(["--task-timeout", "3000"]);
        command
    }

    /// A submission of a job that reads `input` and writes `result`, as `user`.
    pub fn submit_job(&self, user: &str, job: &Path, input: &Path, result: &Path) -> Command {
        let mut command = self.ask(user, &["submit"]);
        command.arg(job).arg(input).arg("-o").arg(result);
        command
    }
}

/// Writes a job that never ends by itself into `dir`, and an input of one document; returns their paths.
pub fn endless(dir: &Path) -> (PathBuf, PathBuf) {
    let (job, input) = (dir.join("endless.cpp"), dir.join("input.txt"));
    let source = "void map(string_view, webmesh::Emitter<int>&) { for (volatile int i = 0;; i = i + 1) {} }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, 1}; }\n";
    std::fs::write(&job, source).expect("the source can be written");
    std::fs::write(&input, "one document\n").expect("the input can be written");
    (job, input)
}

/// The source of a word count with some tens of milliseconds of additional work for each document: long enough to act
/// on the mesh while it runs.
pub fn slow_word_count() -> String {
    let source = std::fs::read_to_string(example("wordcount/wordcount.cpp")).expect("the example is there");
    let begin = "vector<pair<string, int>> words;\n";
    assert!(source.contains(begin), "the word count has changed: adapt this");
    source.replace(begin, &format!("{begin}  for (volatile int i = 0; i < 50'000'000; i = i + 1) {{}}\n"))
}

/// Writes a corpus of files of 100 KB; returns its independent word count.
pub fn corpus_of(dir: &Path, files: u32, seed: u64) -> Vec<u8> {
    println!("corpus seed {seed}");
    corpus::reviews(dir, files, 100_000, 20_000, seed).expect("the corpus can be written");
    corpus::count_words(&[dir]).expect("the corpus can be counted")
}

/// Asserts that a result equals the independent one byte for byte.
pub fn assert_same(result: &Path, expected: &[u8]) {
    let result = std::fs::read(result).expect("there is a result");
    assert!(
        result == expected,
        "the result of {} bytes is not the independent count of {}",
        result.len(),
        expected.len()
    );
}
