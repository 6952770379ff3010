//! The limits of the compile service, each with its reason.

use std::time::Duration;

/// Maximum length of a source, in bytes. The longest hand-written jobs have a hundredth of it; generated tables belong
/// in an input, not in code.
pub const MAX_SOURCE: usize = 1 << 20;

/// Maximum length of diagnostics, in bytes. Nobody reads more, and a template error can have megabytes.
pub const MAX_DIAGNOSTICS: usize = 64 << 10;

/// Maximum size of a module, in bytes. A word count has 40 KB, one with all of `<regex>` and `<format>` under 1 MB.
/// Each worker fetches and compiles the module, so a large one costs the whole mesh.
pub const MAX_MODULE: usize = 16 << 20;

/// Maximum size of the object file between compiler and linker, in bytes. It has sections that the linker drops and
/// relocations that it resolves, so it is larger than a module.
pub const MAX_OBJECT: usize = 32 << 20;

/// Processor time of one compiler process. A word count takes half a second, a job with `<regex>`, `<format>` and
/// `<chrono>` six seconds, on a machine a fifth as fast thirty; a template that recurses without end never finishes.
/// Processor time, because on a busy machine the same source takes many times as much wall-clock time.
pub const MAX_PROCESSOR_TIME: Duration = Duration::from_secs(30);

/// Wall-clock time of a compile, in addition to [`MAX_PROCESSOR_TIME`]: reached only if a compile gets less than a
/// fifth of a core or was suspended, which is the machine's fault, never the source's.
pub const MAX_WALL_TIME: Duration = Duration::from_secs(150);

/// Processor time beyond the limit after which the kernel kills a compiler process. In between, clang writes its stack
/// dump.
pub const PROCESSOR_TIME_GRACE: Duration = Duration::from_secs(3);

/// Address space of one compiler process, in bytes. A word count needs 350 MiB, most of it for clang's own libraries,
/// and one with `<regex>`, `<format>` and `<filesystem>` 500 MiB. The number of concurrent compiles is bounded by
/// the machine's memory divided by this.
pub const MAX_MEMORY: u64 = 2 << 30;

/// Stack of the compiler's main thread, in bytes: clang's recursion guard assumes 8 MiB.
pub const MAX_STACK: u64 = 8 << 20;

/// Open files of a compiler process. A job with every header of the library opens some hundred, and closes most of
/// them.
pub const MAX_OPEN_FILES: u64 = 1024;

/// Maximum length of a source's file name, in bytes: it precedes every message.
pub const MAX_FILE_NAME: usize = 100;

/// Compiles waiting in the queue, over all requesters. Each holds its source, so this bounds memory at 64 MiB.
pub const MAX_QUEUE: usize = 64;

/// Compiles of one requester waiting in the queue: a user has a few jobs at a time.
pub const MAX_QUEUE_PER_REQUESTER: usize = 8;

/// Requests waiting for one compile. All peers of a large mesh may request the same source at once; each request takes
/// a few dozen bytes.
pub const MAX_WAITERS: usize = 4096;

/// Bytes of the module cache on disk: thousands of ordinary modules, or 32 of the largest.
pub const MAX_CACHE: u64 = 512 << 20;

/// How long a failed compile is remembered and not repeated. Long enough that repeated requests for a hostile source
/// cost one compile a minute, short enough that a mistaken verdict does not last.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(60);

/// Failures remembered at once. Each holds at most [`MAX_DIAGNOSTICS`], so this bounds memory at 8 MiB.
pub const MAX_FAILURES: usize = 128;

/// Grace period for a killed sandbox to end before its thread continues. The kernel takes milliseconds, unless a disk
/// hangs.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// Poll interval of a running compile for requests that still wait for it.
pub const STOP_POLL: Duration = Duration::from_millis(50);
