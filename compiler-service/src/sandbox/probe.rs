//! Tests a sandbox before it is used: the compiler must run in it, and must not be able to read the host's files.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Run, Sandbox};

/// A file that every host has and that no job may see.
const SECRET: &str = "/etc/passwd";

/// Timeout of a probe, which normally takes a tenth of a second.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Limit on a probe's output, in bytes.
const OUTPUT: usize = 64 << 10;

/// Runs `clang` in `sandbox` twice: on a harmless text, which it must preprocess, and on one that includes a file of
/// the host, which must fail.
///
/// # Errors
/// What went wrong.
pub(super) fn check(sandbox: &Sandbox, clang: &Path) -> Result<(), String> {
    const MARK: &str = "webmesh_probe";
    let harmless = preprocess(sandbox, clang, &format!("#define A {MARK}\nA\n"))?;
    if !harmless.succeeded || !harmless.output.contains(MARK) {
        return Err(format!("clang does not run in it: {}", harmless.messages.trim()));
    }
    let spying = preprocess(sandbox, clang, &format!("#include \"{SECRET}\"\n"))?;
    if spying.succeeded || spying.output.contains("root:") {
        return Err(format!("it let a process read {SECRET}"));
    }
    Ok(())
}

struct Preprocessed {
    succeeded: bool,
    output: String,
    messages: String,
}

fn preprocess(sandbox: &Sandbox, clang: &Path, source: &str) -> Result<Preprocessed, String> {
    let finished = sandbox
        .run(&Run {
            program: clang,
            arguments: ["-E", "-x", "c++", sandbox.input_path()].map(Into::into).to_vec(),
            input: source.as_bytes(),
            output_limit: OUTPUT,
            messages_limit: OUTPUT,
            processor_time: TIMEOUT,
            deadline: Instant::now() + TIMEOUT,
            is_cancelled: &|| false,
        })
        .map_err(|why| why.to_string())?;
    if let Some(stop) = finished.stop {
        return Err(format!("a probe was killed ({stop:?})"));
    }
    Ok(Preprocessed {
        succeeded: finished.status.success(),
        output: String::from_utf8_lossy(&finished.output).into_owned(),
        messages: String::from_utf8_lossy(&finished.messages).into_owned(),
    })
}
