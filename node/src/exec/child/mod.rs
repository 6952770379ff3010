//! Compiles modules in processes of their own, which can be stopped.
//!
//! Cranelift cannot be interrupted, and how much time and memory it needs does not follow from the size of a module. So
//! the program starts itself again as a *child* for each module. The child limits its own memory and processor time,
//! gives up every system call but those of computing, and only then looks at the module: it compiles it, writes the
//! code to the pipe, and then runs the static constructors and asks for the version, the *probe*. The parent loads the
//! code. It kills the child when nobody waits for the module any more; the kernel kills it when the parent ends.
//!
//! # What is trusted
//! Loading code means running it, so the parent trusts the child to have written what Cranelift made of the module. The
//! child is the same program, and Cranelift was trusted as much when it ran in the parent. A guest that gains control
//! of Cranelift can make the parent run code of its choice, here as there: the child bounds what a compilation costs,
//! and a crash, an overflow of the stack or an exhausted memory of the compiler ends the child and not the node. The
//! probe adds nothing to that, since the code has left the child before any of it runs.

mod confine;
mod entry;
mod follow;
mod memory;
mod process;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) use memory::ChildMemory;
pub(super) use process::{Job, run};

use super::limits::{
    COMPILE_MEMORY, COMPILE_MEMORY_PER_BYTE, COMPILE_QUANTUM, COMPILE_QUANTUM_PER_BYTE, COMPILE_TIME,
    COMPILE_TIME_PER_BYTE, MAX_COMPILE_MEMORY, MAX_COMPILE_QUANTUM, MAX_COMPILE_TIME,
};

/// The name under which the program starts itself, its first argument. Shown by `ps`.
const NAME: &str = "webmesh-module-compiler";

/// First byte of a child's output: the length of the code follows, in eight bytes, then the code, then a verdict.
const CODE: u8 = b'C';
/// The verdict of the probe: the module may run.
const FITS: u8 = b'F';
/// The verdict that the module is always refused, here or elsewhere; the reason follows.
const REFUSED: u8 = b'R';
/// The verdict that it could not be compiled this time; the reason follows.
const FAILED: u8 = b'T';
/// The verdict that the memory did not suffice.
const NO_MEMORY: u8 = b'M';

/// The program itself, even if its file was replaced or removed since it started.
const ITSELF: &str = "/proc/self/exe";

static CAN_START: AtomicBool = AtomicBool::new(false);

/// Serves as a compiling process if the program was started as one, and then does not return. Otherwise allows this
/// process to start such ones.
///
/// To be called first in `main`, before any thread is started. A program that does not call it compiles modules in its
/// own process, where a compilation cannot be stopped, and only the estimate of its cost bounds it.
pub fn run_if_asked() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        entry::serve();
    }
    // Without `/proc`, it could neither start itself nor watch what children use.
    CAN_START.store(Path::new(ITSELF).exists(), Ordering::Relaxed);
}

/// Whether this process can start compiling processes.
pub(super) fn can_start() -> bool {
    CAN_START.load(Ordering::Relaxed)
}

/// What a child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// Memory of the compilation, and what the probe may touch, in bytes.
    memory: u64,
    /// Memory that the probed instance may have, touched or not, in bytes.
    instance: u64,
    /// Processor time of the compilation, in whole seconds.
    time: Duration,
}

impl Limits {
    /// For a module with `code` bytes of functions, on a host with `instance` bytes for guests.
    fn of(code: u64, instance: u64) -> Self {
        // Whole megabytes and seconds, since they are named in errors.
        let memory = COMPILE_MEMORY.saturating_add(code.saturating_mul(COMPILE_MEMORY_PER_BYTE)) >> 20 << 20;
        let time = COMPILE_TIME.saturating_add(times(COMPILE_TIME_PER_BYTE, code));
        let time = Duration::from_secs(time.as_secs());
        Self { memory: memory.min(MAX_COMPILE_MEMORY), instance, time: time.min(MAX_COMPILE_TIME) }
    }
}

/// The quantum of a module with `code` bytes of functions.
fn quantum(code: u64) -> Duration {
    COMPILE_QUANTUM.saturating_add(times(COMPILE_QUANTUM_PER_BYTE, code)).min(MAX_COMPILE_QUANTUM)
}

fn times(each: Duration, count: u64) -> Duration {
    each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}
