//! What is done to a child between `fork` and `exec`: the crate's one place that needs `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::landlock::Lock;
use crate::limits::{MAX_MEMORY, MAX_OBJECT, MAX_OPEN_FILES, MAX_STACK, PROCESSOR_TIME_GRACE};

/// What the child takes over from this process beside its three standard descriptors.
pub(super) enum Hold {
    /// A descriptor that the started program reads and closes.
    Inherit(OwnedFd),
    /// Restrictions that the child lays on itself.
    Lock(Lock),
}

/// Resource limits of a run, soft and hard. They hold for each process; the filter of system calls sees to it that there
/// is one.
fn limits(processor_time: Duration) -> [(Resource, u64, u64); 6] {
    let seconds = |time: Duration| time.as_millis().div_ceil(1000) as u64;
    let same = |resource, limit| (resource, limit, limit);
    [
        // At the soft limit the process gets SIGXCPU, at which LLVM writes its stack dump.
        (Resource::Cpu, seconds(processor_time), seconds(processor_time + PROCESSOR_TIME_GRACE)),
        same(Resource::As, MAX_MEMORY),
        same(Resource::Stack, MAX_STACK),
        // bubblewrap itself copies the input; nothing else can be written.
        same(Resource::Fsize, MAX_OBJECT as u64),
        same(Resource::Nofile, MAX_OPEN_FILES),
        same(Resource::Core, 0),
    ]
}

/// Makes `command` start under the limits, with no descriptor of this process but its own.
pub(super) fn confine(command: &mut Command, processor_time: Duration, hold: Hold) {
    // A limit that is lower already stays: only root may raise one.
    let limits = limits(processor_time).map(|(resource, soft, hard)| {
        let ceiling = getrlimit(resource).maximum.map_or(hard, |ceiling| ceiling.min(hard));
        (resource, Rlimit { current: Some(soft.min(ceiling)), maximum: Some(ceiling) })
    });
    let before_exec = move || -> io::Result<()> {
        for (resource, limit) in &limits {
            setrlimit(*resource, *limit)?;
        }
        close_others_on_exec();
        match &hold {
            Hold::Inherit(descriptor) => rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?,
            Hold::Lock(lock) => lock_in(lock)?,
        }
        Ok(())
    };
    // SAFETY: between `fork` and `exec` only async-signal-safe work is allowed, as other threads of the parent may
    // have held locks. The closure makes system calls (setrlimit, close_range, fcntl, prctl, landlock_restrict_self,
    // seccomp) on values prepared before the fork; it takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Marks every descriptor but the standard ones to be closed on `exec`, as some library in this process may have
/// opened one without that mark.
fn close_others_on_exec() {
    // Kernels before 5.11 do not know it. Then the mark that Rust's own library sets on all it opens has to do.
    // SAFETY: a plain system call on numbers; marking a descriptor ends no use of it in this process.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Lays the access rules and the filter of system calls on this process, for good.
fn lock_in(lock: &Lock) -> io::Result<()> {
    // Not to outlive the service: there is no process namespace that would end it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the descriptor is open, as `lock` owns it; 0 is "no flags".
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, lock.rules(), 0_u32) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Last, as it allows less than the lines above need.
    seccompiler::apply_filter(lock.filter()).map_err(|why| match why {
        seccompiler::Error::Prctl(why) | seccompiler::Error::Seccomp(why) => why,
        _ => io::ErrorKind::Unsupported.into(),
    })
}
