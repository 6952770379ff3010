//! Builds a module from a source: two runs in the sandbox, and the interpretation of how they ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::cache::Entry;
use crate::diagnostics::{self, Source};
use crate::error::CompileError;
use crate::limits::{MAX_DIAGNOSTICS, MAX_MEMORY, MAX_MODULE, MAX_OBJECT};
use crate::module;
use crate::sandbox::{Finished, Run, Sandbox, Stop};
use crate::stack_dump;
use crate::toolchain::{Step, Toolchain};

/// Exit status of clang and wasm-ld for errors in their input.
const REFUSED: i32 = 1;

/// Shells and bubblewrap report a death by signal as an exit status: this plus the signal's number.
const SIGNALLED: i32 = 128;

/// Beginnings of the lines that LLVM's programs write when an allocation fails, in either of their allocators. A source
/// cannot forge one: text that it makes clang print follows a file name or a line number.
const OUT_OF_MEMORY: [&str; 2] =
    ["LLVM ERROR: out of memory", "terminate called after throwing an instance of 'std::bad_alloc'"];

/// Beginning of bubblewrap's messages, which it writes only if it cannot set up the sandbox. It then exits with 1, as
/// clang does for errors; but clang's lines begin with a colour code, and wasm-ld's with its name.
const SANDBOX_FAILED: &str = "bwrap: ";

/// Time limits of a compile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimits {
    /// Processor time of each process.
    pub(crate) processor: Duration,
    /// Wall-clock time of the whole compile.
    pub(crate) wall: Duration,
}

/// Compiles and links a source. `name` is its file name in diagnostics.
///
/// `wasm-opt` is not used: Debian's version (binaryen 108) predates the final form of WebAssembly's exceptions and
/// cannot read modules that use them.
pub(crate) fn build(
    toolchain: &Toolchain,
    sandbox: &Sandbox,
    name: &str,
    source: &[u8],
    time: TimeLimits,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Entry, CompileError> {
    let deadline = Instant::now() + time.wall;
    let private = toolchain.private_paths();
    let run = |step: &Step, input: &[u8], output_limit| {
        let finished = sandbox
            .run(&Run {
                program: &step.program,
                arguments: step.arguments(sandbox.input_path()),
                input,
                output_limit,
                messages_limit: 2 * MAX_DIAGNOSTICS,
                processor_time: time.processor,
                deadline,
                is_cancelled,
            })
            .map_err(|why| {
                // With all paths, for the operator.
                tracing::warn!("{why}");
                CompileError::Unavailable(private.hide(&why.to_string()))
            })?;
        let messages = String::from_utf8_lossy(&finished.messages);
        let messages = match finished.messages_missing {
            0 => private.hide(&messages),
            _ => private.hide_in_cut(&messages),
        };
        // The linker knows the author's file only by its path in the sandbox.
        let messages = messages.replace(sandbox.input_path(), name);
        let messages = diagnostics::tidy(&messages, finished.messages_missing);
        outcome(finished, messages, time, output_limit)
    };
    let author = Source { name, text: source };
    let (object, warnings) = match run(toolchain.compile(), &toolchain.unit(name, source), MAX_OBJECT) {
        Ok((object, warnings)) => (object, diagnostics::for_author(&warnings, author)),
        Err(CompileError::Diagnostics(text)) if diagnostics::is_about_glue(&text) => {
            // Errors of the author's text itself are clearer without the glue after it.
            let alone = match run(toolchain.check(), &toolchain.unit_alone(name, source), MAX_OBJECT) {
                Ok(_) => text,
                Err(CompileError::Diagnostics(alone)) => alone,
                Err(why) => return Err(why),
            };
            return Err(CompileError::Diagnostics(diagnostics::for_author(&alone, author)));
        }
        Err(CompileError::Diagnostics(text)) => {
            return Err(CompileError::Diagnostics(diagnostics::for_author(&text, author)));
        }
        Err(why) => return Err(why),
    };
    let (module, more) = run(toolchain.link(), &object, MAX_MODULE)?;
    module::check(&module)?;
    Ok(Entry { wasm: module.into(), diagnostics: warnings + &more })
}

/// The output and warnings of a successful run, or the error that its end means.
fn outcome(
    finished: Finished,
    messages: String,
    time: TimeLimits,
    output_limit: usize,
) -> Result<(Vec<u8>, String), CompileError> {
    match finished.stop {
        Some(Stop::Deadline) => return Err(CompileError::Starved { seconds: time.wall.as_secs() }),
        Some(Stop::Output) => {
            return Err(CompileError::OutputTooLarge { mib: output_limit >> 20 });
        }
        Some(Stop::Cancelled) => return Err(CompileError::Stopped),
        None => {}
    }
    let ending = Ending::of(finished.status);
    let stopped = stack_dump::place(&messages);
    // At SIGXCPU, LLVM writes its stack dump and continues, until the kernel kills it or a consequence of the dump ends
    // it. A crash, which leaves a dump too, ends it by the crash's own signal.
    let is_too_long = match ending {
        Ending::Signal(libc::SIGXCPU) => true,
        Ending::Signal(libc::SIGKILL) | Ending::Exit(_) => stack_dump::is_in(&messages),
        Ending::Signal(_) => false,
    };
    if is_too_long {
        return Err(CompileError::TooLong { seconds: time.processor.as_secs(), place: stopped });
    }
    let out_of_memory = |line: &str| OUT_OF_MEMORY.iter().any(|start| line.starts_with(start));
    match ending {
        Ending::Exit(0) => Ok((finished.output, messages)),
        // This service kills a process only for the reasons in `finished.stop`.
        Ending::Signal(libc::SIGKILL) => Err(CompileError::Unavailable(
            "the compiler was killed by another process or by the kernel, perhaps because the machine is out of memory"
                .to_owned(),
        )),
        _ if messages.lines().any(out_of_memory) => Err(CompileError::TooMuchMemory { mib: MAX_MEMORY >> 20 }),
        Ending::Exit(REFUSED) if messages.starts_with(SANDBOX_FAILED) => Err(CompileError::Unavailable(messages)),
        Ending::Exit(REFUSED) if !messages.is_empty() => Err(CompileError::Diagnostics(messages)),
        ending => {
            tracing::warn!(?ending, %messages, "a compiler run crashed");
            Err(CompileError::Crashed(ending.to_string()))
        }
    }
}

/// How a process ended, with or without bubblewrap as its parent.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Exit(i32),
    Signal(i32),
}

impl Ending {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) if code > SIGNALLED => Self::Signal(code - SIGNALLED),
            (Some(code), _) => Self::Exit(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: TimeLimits = TimeLimits { processor: Duration::from_secs(9), wall: Duration::from_secs(99) };

    fn finished(status: i32, stop: Option<Stop>) -> Finished {
        let status = ExitStatus::from_raw(status);
        Finished { status, output: Vec::new(), messages: Vec::new(), messages_missing: 0, stop }
    }

    fn judged(messages: &str) -> CompileError {
        let finished = finished(REFUSED << 8, None);
        outcome(finished, messages.to_owned(), TIME, MAX_OBJECT).expect_err("it exited with 1")
    }

    #[test]
    fn a_failure_of_the_sandbox_is_not_blamed_on_the_source() {
        let sandbox = judged("bwrap: Creating new namespace failed: Resource temporarily unavailable");
        assert!(matches!(&sandbox, CompileError::Unavailable(why) if why.contains("Creating new namespace")));
        assert!(sandbox.is_transient());
        let clang = judged("job.cpp:1:1: error: unknown type name 'bwrap: '");
        assert!(matches!(clang, CompileError::Diagnostics(_)));
    }

    #[test]
    fn a_wall_clock_timeout_is_blamed_on_the_machine_and_a_processor_timeout_on_the_source() {
        const DUMP: &str = "Stack dump:\n0.\tProgram arguments: clang\n1.\tjob.cpp:1:2: current parser token ';'\n";
        let judged = |messages: &str, status, stop| {
            outcome(finished(status, stop), messages.to_owned(), TIME, MAX_OBJECT).expect_err("it did not succeed")
        };
        let starved = judged("", libc::SIGKILL, Some(Stop::Deadline));
        assert_eq!(starved, CompileError::Starved { seconds: 99 });
        assert!(starved.is_transient());
        assert_eq!(judged("", libc::SIGXCPU, None), CompileError::TooLong { seconds: 9, place: None });
        for status in [libc::SIGXCPU, libc::SIGKILL, (SIGNALLED + libc::SIGXCPU) << 8, REFUSED << 8, 0] {
            let greedy = judged(DUMP, status, None);
            let place = Some("at job.cpp:1:2".to_owned());
            assert_eq!(greedy, CompileError::TooLong { seconds: 9, place }, "{status}");
            assert!(!greedy.is_transient());
        }
        let placeless = "Stack dump:\n0.\tProgram arguments: clang\n1.\t<unknown> parser at unknown location\n";
        assert_eq!(judged(placeless, REFUSED << 8, None), CompileError::TooLong { seconds: 9, place: None });
        assert!(matches!(judged(DUMP, libc::SIGSEGV, None), CompileError::Crashed(_)));
        let killed = judged("", libc::SIGKILL, None);
        assert!(killed.is_transient(), "by the kernel, for lack of memory: {killed}");
    }
}
