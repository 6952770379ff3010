//! Confines a child process between `fork` and `exec`. The only module of the crate with `unsafe` code.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use webmesh_syscalls::BpfProgram;

use crate::limits::{MAX_MEMORY, MAX_OBJECT, MAX_OPEN_FILES, MAX_STACK, PROCESSOR_TIME_GRACE};

/// Restrictions that a child applies to itself.
pub(super) struct Lock {
    /// Access rules of the kernel (Landlock).
    pub(super) rules: OwnedFd,
    /// The system call filter.
    pub(super) filter: BpfProgram,
}

/// What the child inherits from this process besides its three standard descriptors.
pub(super) enum Hold {
    /// A descriptor that the started program reads and closes.
    Inherit(OwnedFd),
    /// Restrictions that the child applies to itself.
    Lock(Lock),
}

/// Resource limits of a run, soft and hard. They apply to each process; the system call filter permits only one.
fn limits(processor_time: Duration) -> [(Resource, u64, u64); 6] {
    let seconds = |time: Duration| time.as_millis().div_ceil(1000) as u64;
    let same = |resource, limit| (resource, limit, limit);
    [
        // At the soft limit the process gets SIGXCPU, upon which LLVM writes its stack dump.
        (Resource::Cpu, seconds(processor_time), seconds(processor_time + PROCESSOR_TIME_GRACE)),
        same(Resource::As, MAX_MEMORY),
        same(Resource::Stack, MAX_STACK),
        // For bubblewrap, which copies the input; nothing else can be written.
        same(Resource::Fsize, MAX_OBJECT as u64),
        same(Resource::Nofile, MAX_OPEN_FILES),
        same(Resource::Core, 0),
    ]
}

/// Makes `command` start with the limits, and without this process's other descriptors.
pub(super) fn confine(command: &mut Command, processor_time: Duration, hold: Hold) {
    // A lower limit is kept, since only root may raise one.
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
    // SAFETY: between `fork` and `exec` only async-signal-safe work is allowed, since other threads of the parent may
    // have held locks. The closure makes system calls (setrlimit, close_range, fcntl, prctl, landlock_restrict_self,
    // seccomp) on values prepared before the fork; it takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Sets close-on-exec on every descriptor but the standard ones, since a library in this process may have opened one
/// without it.
fn close_others_on_exec() {
    // Fails on kernels before 5.11. There, only the descriptors opened by Rust's standard library have the flag.
    // SAFETY: a system call on numbers; the flag does not affect the use of a descriptor in this process.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Applies the access rules and the system call filter to this process, irrevocably.
fn lock_in(lock: &Lock) -> io::Result<()> {
    // The process must not outlive the service, and there is no process namespace that would end it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the descriptor is open, since `lock` owns it; 0 means no flags.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, lock.rules.as_raw_fd(), 0_u32) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Last, since it forbids calls that the lines above need.
    webmesh_syscalls::apply(&lock.filter)
}
