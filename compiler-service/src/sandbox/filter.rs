//! The system calls that a compiler may make.
//!
//! An allow list, made from traces of clang and wasm-ld, with the alternatives that various C libraries use. All other
//! calls fail with `ENOSYS`, upon which libraries assume an old kernel and use a fallback. No allowed call creates a
//! process, a socket or a namespace, so the resource limits apply to a single process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

const ALLOWED: &[i64] = &[
    // Files: nothing in the sandbox is writable, so the arguments of opening need no check.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
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
    // For bubblewrap, which starts the compiler and waits for its end with the filter in force.
    libc::SYS_execve,
    libc::SYS_wait4,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls that only some architectures have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_arch_prctl,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_time,
    libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// The filter as a program for the kernel.
pub(super) fn program() -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    // Threads, which clang uses to get a new stack for deep recursion, but no processes. `clone3` is not allowed
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

/// The filter in bubblewrap's format: an array of the kernel's `struct sock_filter`.
pub(super) fn bytes() -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for step in program()? {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    Ok(bytes)
}
