//! The parent's side: starts a child, waits for its answer, and says how it ended.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal};

use super::follow::{Answer, Stop, follow};
use super::memory::ChildMemory;
use super::{FAILED, FITS, ITSELF, Limits, NAME, NO_MEMORY, REFUSED, quantum};
use crate::exec::CancelToken;
use crate::exec::error::ModuleError;
use crate::exec::limits::{COMPILE_THREADS, MAX_LAST_OUTPUT, PROBE_PROCESSOR_TIME};
use crate::exec::turns::{Lane, Owner, Turn, Turns};

/// What Rust's allocator and stack guard print before they abort.
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// The signals by which a process ends that did something wrong.
const CRASHES: [Signal; 7] =
    [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::ABORT, Signal::FPE, Signal::TRAP, Signal::SYS];

/// A module to compile.
pub(in crate::exec) struct Job<'j> {
    /// The module.
    pub(in crate::exec) wasm: &'j [u8],
    /// Bytes of its functions.
    pub(in crate::exec) code_bytes: u64,
    /// The memory that an instance of it may have here, in bytes.
    pub(in crate::exec) instance: u64,
    /// Counts what the child holds.
    pub(in crate::exec) memory: &'j ChildMemory,
    /// The owner whose turn it takes.
    pub(in crate::exec) owner: Owner,
    /// Kills the child once it is cancelled.
    pub(in crate::exec) cancel: &'j CancelToken,
}

/// Compiles and probes a module when it is its turn. The code is what wasmtime's `Module::serialize` gave.
///
/// # Errors
/// Fails if the module is refused, reaches a limit, or is cancelled.
pub(in crate::exec) fn run(job: &Job<'_>, turns: &Turns) -> Outcome {
    let turn = turns.wait(job.owner, Lane::Quick, job.cancel)?;
    if let Some(outcome) = attempt(job, turn)? {
        return outcome;
    }
    let turn = turns.wait(job.owner, Lane::Slow, job.cancel)?;
    attempt(job, turn)?.unwrap_or(Err(ModuleError::Busy))
}

type Outcome = Result<Vec<u8>, ModuleError>;

/// Runs one child; `None` if it was abandoned to make room for others.
fn attempt(job: &Job<'_>, mut turn: Turn<'_>) -> Result<Option<Outcome>, ModuleError> {
    let limits = Limits::of(job.code_bytes, job.instance);
    let quantum = quantum(job.code_bytes);
    let failed = |why: io::Error| {
        ModuleError::Host(format!("a process of this program cannot be started for it, or be followed: {why}"))
    };
    // Given back after the child has ended.
    let mut held = job.memory.hold();
    let (mut reader, writer) = io::pipe().map_err(failed)?;
    let mut child = start(job, &limits, writer).map_err(failed)?;
    let process = Pid::from_child(&child.0);
    let (answer, stop) = follow(process, &mut reader, &limits, |usage| {
        if job.cancel.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        if usage.time > quantum && !turn.make_room() {
            return Some(Stop::Abandoned);
        }
        if held.becomes(usage.memory, turn.lane()) { None } else { Some(Stop::HostMemory) }
    })
    .map_err(failed)?;
    if stop == Some(Stop::Abandoned) {
        return Ok(None);
    }
    let status = match stop {
        Some(_) => None,
        None => Some(child.0.wait().map_err(failed)?),
    };
    Ok(Some(outcome(answer, stop, status, &limits)))
}

/// A child, which is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(job: &Job<'_>, limits: &Limits, output: io::PipeWriter) -> io::Result<Running> {
    let mut module = File::from(memfd_create("module", MemfdFlags::CLOEXEC)?);
    module.write_all(job.wasm)?;
    module.seek(SeekFrom::Start(0))?;
    let child = Command::new(ITSELF)
        .arg0(NAME)
        .args(
            [u64::from(std::process::id()), limits.memory, limits.instance, limits.time.as_secs()]
                .map(|n| n.to_string()),
        )
        .env_clear()
        .env("RAYON_NUM_THREADS", COMPILE_THREADS.to_string())
        .current_dir("/")
        // Ctrl-C in a terminal is for the parent.
        .process_group(0)
        .stdin(Stdio::from(module))
        .stderr(Stdio::from(output.try_clone()?))
        .stdout(Stdio::from(output))
        .spawn()?;
    Ok(Running(child))
}

/// What the answer means, and the way in which the child ended.
fn outcome(answer: Answer, stop: Option<Stop>, status: Option<ExitStatus>, limits: &Limits) -> Outcome {
    match stop {
        Some(Stop::Cancelled) => return Err(ModuleError::Cancelled),
        Some(Stop::Abandoned) => return Err(ModuleError::Busy),
        Some(Stop::HostMemory) => {
            return Err(ModuleError::Host("this host has no more memory for it; `--memory` gives more".into()));
        }
        Some(Stop::ProbeMemory) => return Err(ModuleError::ConstructorMemory(limits.memory)),
        Some(Stop::ProbeTime) => return Err(ModuleError::ConstructorTime(PROBE_PROCESSOR_TIME)),
        Some(Stop::Deadline) => {
            return Err(ModuleError::Host("this machine is too busy, or the process was suspended".into()));
        }
        Some(Stop::Output) => return Err(ModuleError::CompileMemory(limits.memory)),
        None => {}
    }
    let probed = answer.code().is_some();
    let words = answer.code().map_or(answer.text(), |(_, verdict)| verdict);
    let text = || String::from_utf8_lossy(words.get(1..).unwrap_or_default()).into_owned();
    if status.is_some_and(|status| status.success()) {
        match (words.first(), answer.code()) {
            (Some(&FITS), Some((code, [FITS]))) => return Ok(code.to_vec()),
            (Some(&REFUSED), _) => return Err(ModuleError::Refused { why: text(), repeatable: true }),
            (Some(&FAILED), _) => return Err(ModuleError::Refused { why: text(), repeatable: false }),
            (Some(&NO_MEMORY), _) if !probed => return Err(ModuleError::CompileMemory(limits.memory)),
            _ => {}
        }
    }
    let words = String::from_utf8_lossy(&words[..words.len().min(MAX_LAST_OUTPUT)]);
    let signal = status.and_then(|status| status.signal());
    let starved = OUT_OF_MEMORY.iter().any(|text| words.contains(text));
    Err(match (signal, probed) {
        (Some(signal), false) if signal == Signal::XCPU.as_raw() => ModuleError::CompileTime(limits.time),
        (Some(signal), true) if signal == Signal::XCPU.as_raw() => ModuleError::ConstructorTime(PROBE_PROCESSOR_TIME),
        (_, false) if starved => ModuleError::CompileMemory(limits.memory),
        (_, true) if starved => ModuleError::ConstructorMemory(limits.memory),
        (Some(signal), _) if CRASHES.iter().any(|crash| crash.as_raw() == signal) => ModuleError::Panicked,
        // Sent by somebody else; by the system, when it runs out of memory.
        (Some(_), _) => {
            ModuleError::Host("the process that compiled it was killed; this machine may be out of memory".into())
        }
        (None, _) => ModuleError::Host(format!("the process that compiled it failed: {}", words.trim())),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_crash_of_the_compiler_is_an_error_of_its_module() {
        let limits = Limits::of(0, 0);
        let ended_by = |signal: Signal| {
            outcome(Answer::default(), None, Some(ExitStatus::from_raw(signal.as_raw())), &limits).unwrap_err()
        };
        assert_eq!(ended_by(Signal::SEGV), ModuleError::Panicked);
        assert_eq!(ended_by(Signal::ABORT), ModuleError::Panicked);
        assert_eq!(ended_by(Signal::XCPU), ModuleError::CompileTime(limits.time));
        for from_elsewhere in [Signal::KILL, Signal::INT, Signal::TERM] {
            let error = ended_by(from_elsewhere);
            assert!(matches!(error, ModuleError::Host(_)) && !error.is_repeatable(), "{error:?}");
        }
    }

    #[test]
    fn limits_grow_with_the_code_up_to_a_bound() {
        let small = Limits::of(0, 7);
        assert_eq!((small.memory, small.instance, small.time), (256 << 20, 7, Duration::from_secs(5)));
        let megabyte = Limits::of(1 << 20, 0);
        assert!(megabyte.memory == 512 << 20 && megabyte.time == Duration::from_secs(10), "{megabyte:?}");
        let most = Limits::of(u64::MAX, 0);
        assert_eq!((most.memory, most.time), (1 << 30, Duration::from_secs(60)));
        assert!(quantum(0) < quantum(100 << 10) && quantum(u64::MAX) < Duration::from_secs(1));
    }
}
