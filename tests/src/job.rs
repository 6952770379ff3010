//! Runs a job with one source file and one document on an embedded mesh.

use std::process::Output;

use crate::process::{assert_success, output, stderr, webmesh};

/// Runs a source over one document.
pub fn run(source: &str, document: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (job, input) = (dir.path().join("job.cpp"), dir.path().join("input.txt"));
    std::fs::write(&job, source).expect("the source can be written");
    std::fs::write(&input, document).expect("the input can be written");
    output(webmesh(dir.path()).arg("run").arg(job).arg(input).args(["--retries", "0", "--data"]).arg(dir.path()))
}

/// The result of a source that succeeds.
pub fn result(source: &str, document: &str) -> String {
    let output = run(source, document);
    assert_success(&output);
    String::from_utf8(output.stdout).expect("a result with escaped values is text")
}

/// Runs a source that fails, over the document "1", and asserts that the error contains all of `parts`.
pub fn assert_fails(source: &str, parts: &[&str]) {
    let output = run(source, "1");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    parts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is missing from:\n{text}"));
}
