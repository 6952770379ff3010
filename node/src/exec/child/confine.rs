//! The limits that a child puts on itself.

use std::io;

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use webmesh_syscalls::Purpose;

use super::Limits;
use crate::exec::limits::PROBE_PROCESSOR_TIME;

/// Ends with `parent`, which started this process.
pub(super) fn end_with(parent: i32) -> io::Result<()> {
    // Otherwise `top` would show it as `exe`.
    rustix::thread::set_name(c"webmesh-compile")?;
    // The kernel sends the signal when the thread ends that started this process. That one waits for it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// Limits memory and processor time to those of the compilation.
///
/// The memory is that which can be written (`RLIMIT_DATA`), not the address space: wasmtime reserves gigabytes of
/// that, which it never touches.
pub(super) fn limit(limits: &Limits) -> io::Result<()> {
    let seconds = limits.time.as_secs();
    set(Resource::Cpu, seconds, seconds + PROBE_PROCESSOR_TIME.as_secs() + 1)?;
    set(Resource::Data, limits.memory, limits.memory.saturating_add(limits.instance))?;
    set(Resource::Core, 0, 0)?;
    // If the machine runs out of memory, this process goes before the node.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// Lifts the limits of the compilation from the probe. How much memory and processor time that uses, the parent
/// watches.
pub(super) fn limit_probe() -> io::Result<()> {
    [Resource::Cpu, Resource::Data].into_iter().try_for_each(|resource| set(resource, u64::MAX, u64::MAX))
}

/// Gives up every system call but those of computing. Kernels and processors without filters are left without: the
/// module is a guest of this host anyway, as its tasks are.
pub(super) fn give_up_system_calls() {
    let _ = rustix::thread::set_no_new_privs(true);
    if let Ok(program) = webmesh_syscalls::program(Purpose::Compute) {
        let _ = webmesh_syscalls::apply(&program);
    }
}

/// Sets a soft and a hard limit, both at most the present hard one.
fn set(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let ceiling = getrlimit(resource).maximum.map_or(hard, |ceiling| ceiling.min(hard));
    Ok(setrlimit(resource, Rlimit { current: Some(soft.min(ceiling)), maximum: Some(ceiling) })?)
}
