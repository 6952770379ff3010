//! System call filters (seccomp) of processes that handle what strangers send.
//!
//! A filter is an allow list. All other calls fail with `ENOSYS`, upon which libraries assume an old kernel and use a
//! fallback. No allowed call creates a process, a socket or a namespace, so the resource limits apply to a single
//! process. Linux only; elsewhere this crate is empty.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io;

use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};

pub use seccompiler::BpfProgram;

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Compute: use its memory, its threads and the descriptors that it has. It cannot open a file.
    Compute,
    /// Run a C++ compiler: also open files, and start a program in its own place. Which files is for another sandbox
    /// to say. Made from traces of clang and wasm-ld, with the alternatives that various C libraries use.
    Compiler,
}

const COMPUTE: &[i64] = &[
    // Descriptors that it has.
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Signals can be received but not sent; `abort` then ends by its trap instruction.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Threads, clocks, and properties of the process.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

const COMPILER: &[i64] = &[
    // Nothing in the compiler's sandbox is writable, so the arguments of opening need no check.
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_dup,
    libc::SYS_dup3,
    // For bubblewrap, which starts the compiler and waits for its end with the filter in force.
    libc::SYS_execve,
    libc::SYS_wait4,
];

/// Calls that only some architectures have.
#[cfg(target_arch = "x86_64")]
const COMPUTE_HERE: &[i64] = &[libc::SYS_arch_prctl, libc::SYS_poll, libc::SYS_time, libc::SYS_getrlimit];
#[cfg(not(target_arch = "x86_64"))]
const COMPUTE_HERE: &[i64] = &[];

#[cfg(target_arch = "x86_64")]
const COMPILER_HERE: &[i64] =
    &[libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_dup2];
#[cfg(not(target_arch = "x86_64"))]
const COMPILER_HERE: &[i64] = &[];

/// The filter for `purpose` as a program for the kernel.
///
/// # Errors
/// Fails if there is no filter for this processor.
pub fn program(purpose: Purpose) -> Result<BpfProgram, String> {
    let more: &[&[i64]] = match purpose {
        Purpose::Compute => &[],
        Purpose::Compiler => &[COMPILER, COMPILER_HERE],
    };
    let allowed = [COMPUTE, COMPUTE_HERE].into_iter().chain(more.iter().copied()).flatten();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = allowed.map(|call| (*call, Vec::new())).collect();
    // Threads, but no processes: clang uses one to get a new stack for deep recursion. `clone3` is not allowed
    // because filters cannot see its flags; the C library falls back to `clone`.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![argument(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // The process's own limits (0), not those of another process of this user.
    rules.insert(libc::SYS_prlimit64, vec![argument(0, SeccompCmpOp::Eq, 0)?]);
    // Copies and flags of descriptors, but not F_SETOWN and F_SETSIG, which can be used to send signals.
    let harmless = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    let harmless = harmless.map(|what| argument(1, SeccompCmpOp::Eq, what as u64));
    rules.insert(libc::SYS_fcntl, harmless.into_iter().collect::<Result<_, _>>()?);
    let architecture = std::env::consts::ARCH
        .try_into()
        .map_err(|why| format!("there is no system call filter for this processor: {why}"))?;
    SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        architecture,
    )
    .and_then(TryInto::try_into)
    .map_err(|why| format!("cannot build the system call filter: {why}"))
}

/// The rule that argument `index` compares to `value` as given. Compares 32 bits, which suffice for the flags used
/// here.
fn argument(index: u8, comparison: SeccompCmpOp, value: u64) -> Result<SeccompRule, String> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, comparison, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|why| format!("cannot build a rule of the system call filter: {why}"))
}

/// Restricts this thread, and all threads that it starts, to `program`, irrevocably. The process must have given up
/// gaining privileges (`no_new_privs`), or this does so.
///
/// # Errors
/// Fails if the kernel has no filters.
pub fn apply(program: &BpfProgram) -> io::Result<()> {
    seccompiler::apply_filter(program.as_slice()).map_err(|why| match why {
        seccompiler::Error::Prctl(why) | seccompiler::Error::Seccomp(why) => why,
        _ => io::ErrorKind::Unsupported.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Applies the filter for computing to a new thread, and runs `f` there.
    fn computing<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        let program = program(Purpose::Compute).unwrap();
        let f = move || {
            apply(&program).unwrap();
            f()
        };
        thread::scope(|scope| scope.spawn(f).join().unwrap())
    }

    #[test]
    fn who_may_only_compute_can_open_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let outcomes = computing(|| {
            [
                ("opens a file", File::open("/proc/self/status").map(drop)),
                ("writes a file", File::create("/dev/null").map(drop)),
                ("lists a folder", std::fs::read_dir("/").map(drop)),
                ("renames a file", std::fs::rename("/nothing", "/nothing else")),
                ("listens", TcpListener::bind("127.0.0.1:0").map(drop)),
                ("connects", TcpStream::connect(address).map(drop)),
                ("sends datagrams", UdpSocket::bind("127.0.0.1:0").map(drop)),
                ("connects locally", UnixStream::pair().map(drop)),
                ("starts a process", Command::new("/bin/true").spawn().map(drop)),
                ("makes a pipe", io::pipe().map(drop)),
            ]
        });
        for (what, outcome) in outcomes {
            // The error of a kernel without the call, rather than of one that rejects its arguments.
            assert_eq!(outcome.map_err(|why| why.raw_os_error()), Err(Some(libc::ENOSYS)), "{what}");
        }
    }

    #[test]
    fn who_may_only_compute_has_memory_and_threads() {
        let (sum, len) = computing(|| {
            let many = vec![1u8; 64 << 20];
            let sum = thread::scope(|scope| scope.spawn(|| many.iter().map(|&n| usize::from(n)).sum::<usize>()).join());
            (sum.unwrap(), many.len())
        });
        assert_eq!(sum, len);
    }
}
