//! Tries a sandbox before it is trusted: what must run runs in it, and what must not be read is not.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Run, Sandbox};

/// A file that every host has and that no job may see.
const SECRET: &str = "/etc/passwd";

/// A probe takes a tenth of a second; a host that needs longer than this is in no state to compile.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than a probe prints.
const OUTPUT: usize = 64 << 10;

/// Runs `clang` in `sandbox` twice: on a harmless text, which must come out preprocessed, and on one that embeds a file
/// of the host, which must fail. Says what went wrong.
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
            processor_time: PATIENCE,
            deadline: Instant::now() + PATIENCE,
            is_pointless: &|| false,
        })
        .map_err(|why| why.to_string())?;
    if let Some(stop) = finished.stop {
        return Err(format!("a probe had to be stopped ({stop:?})"));
    }
    Ok(Preprocessed {
        succeeded: finished.status.success(),
        output: String::from_utf8_lossy(&finished.output).into_owned(),
        messages: String::from_utf8_lossy(&finished.messages).into_owned(),
    })
}
