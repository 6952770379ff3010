//! Every bound of the compile service, with its reason.

use std::time::Duration;

/// Longest source accepted, in bytes. The longest job anybody wrote by hand is a hundredth of it; generated tables
/// belong in an input, not in code.
pub const MAX_SOURCE: usize = 1 << 20;

/// Longest diagnostics handed back, in bytes. Nobody reads more, and a template error can repeat itself for megabytes.
pub const MAX_DIAGNOSTICS: usize = 64 << 10;

/// Largest module, in bytes. A word count has 40 KB, one with all of `<regex>` and `<format>` under 1 MB; each worker
/// fetches and compiles the module, so that a large one costs the whole mesh.
pub const MAX_MODULE: usize = 16 << 20;

/// Largest object file between compiler and linker, in bytes. An object holds sections that the linker drops and
/// relocations that it resolves, hence more than a module.
pub const MAX_OBJECT: usize = 32 << 20;

/// Processor time of one compiler process. A word count takes half a second, a job with `<regex>`, `<format>` and
/// `<chrono>` six seconds, on a machine a fifth as fast thirty; a template that recurses without end takes for ever.
/// Processor time, because on a busy machine the same source takes many times as long by the clock.
pub const MAX_PROCESSOR_TIME: Duration = Duration::from_secs(30);

/// Wall-clock time of a compile, the backstop behind [`MAX_PROCESSOR_TIME`]: reached only where a compile gets less than
/// a fifth of a core, or was suspended. That is the machine's fault, never the source's.
pub const MAX_WALL_TIME: Duration = Duration::from_secs(150);

/// Processor time beyond the limit until the kernel kills a compiler process outright. Between the two, clang writes
/// what it was doing.
pub const PROCESSOR_TIME_GRACE: Duration = Duration::from_secs(3);

/// Address space of one compiler process, in bytes. A word count needs 350 MiB, most of it for clang's own libraries,
/// and one with `<regex>`, `<format>` and `<filesystem>` 500 MiB. So many compiles run at once as the machine has memory
/// for, if each took all that it may.
pub const MAX_MEMORY: u64 = 2 << 30;

/// Stack of the compiler's main thread, in bytes: clang's own recursion guard is made for 8 MiB.
pub const MAX_STACK: u64 = 8 << 20;

/// Open files of a compiler process. A job with every header of the library has some hundred, most of them closed.
pub const MAX_OPEN_FILES: u64 = 1024;

/// Longest file name kept for diagnostics, in bytes: a name is shown in front of every message.
pub const MAX_FILE_NAME: usize = 100;

/// Compiles waiting in the queue, over all requesters. Each holds its source, so that this bounds memory at 64 MiB.
pub const MAX_QUEUE: usize = 64;

/// Compiles of one requester waiting in the queue: a session has a few jobs, a flood has many.
pub const MAX_QUEUE_PER_REQUESTER: usize = 8;

/// Callers waiting for one compile. All of a large mesh may ask for the same popular source at once; each waits with
/// a few dozen bytes.
pub const MAX_WAITERS: usize = 4096;

/// Bytes of the module cache on disk: thousands of ordinary modules, or 32 of the largest.
pub const MAX_CACHE: u64 = 512 << 20;

/// How long a failed compile answers the same source again without running. Long enough that a flood of one bomb
/// costs one compile a minute, short enough that a passing trouble of the host is soon tried again.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(60);

/// Failures remembered at once; each holds at most [`MAX_DIAGNOSTICS`], so that this bounds memory at 8 MiB.
pub const MAX_FAILURES: usize = 128;

/// How long a killed sandbox may take to vanish before its thread goes on without it. The kernel does it in
/// milliseconds unless a disk hangs.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// How often a running compile looks whether anybody still waits for it.
pub const STOP_POLL: Duration = Duration::from_millis(50);
