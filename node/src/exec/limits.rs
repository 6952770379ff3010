//! The bounds of task execution, each with its reason.

use std::time::Duration;

/// Largest module taken, in bytes. Cranelift needs about a second of CPU and some 100 MB of memory for each MB, and a
/// compilation cannot be interrupted.
pub const MAX_MODULE_BYTES: usize = webmesh_protocol::limits::MODULE_BYTES;

/// Most that a module's control flow may come to, in cells: at each place where it parts or meets, the locals and the
/// operands there. Cranelift's time and memory grow with them, and not with the bytes: 70 KB of loops over a thousand
/// locals are 8 million cells, 4 s and 440 MB. The
/// examples have 30,000 to 330,000, those with iostreams the most.
pub(super) const MAX_CONTROL_CELLS: u64 = 4_000_000;

/// Locals of one function, and parameters with results of one type. None in the examples has over 300.
pub(super) const MAX_LOCALS: u32 = 10_000;

/// Bytes of one function's body: functions are compiled side by side, but each by one thread and as a whole.
pub(super) const MAX_BODY_BYTES: usize = 1 << 20;

/// Largest memory limit a task can be given, in bytes: all that a 32-bit guest can address.
pub const MAX_TASK_MEMORY: u64 = 4 << 30;

/// Instance slots beyond one a thread: modules being probed while every thread is at work, and tasks run
/// outside the pool.
pub(super) const SPARE_SLOTS: u32 = 4;

/// Stack of a guest's calls, in bytes. What browsers give (about 1 MB), so that a recursion that passes here
/// passes there; small enough for the 2 MiB threads of std and tokio.
pub(super) const WASM_STACK: usize = 1 << 20;

/// Stack of a pool thread, in bytes: the guest's and as much again for the host's calls beneath it.
pub(super) const THREAD_STACK: usize = 2 * WASM_STACK;

/// How often running guests look at the clock and at their cancel token. Half of the 20 ms within which a
/// cancelled task must be gone; a hundred wake-ups a second, only while tasks run.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Memory of an instance slot that is cleaned in place rather than handed back to the system, in bytes: what a task
/// over half a megabyte of text touches. A page of 4 KiB that is handed back and faulted in again costs 3.4 µs, one
/// that is written over in place 0.12 µs. So many bytes a slot stay taken while a worker idles.
pub(super) const KEEP_RESIDENT: usize = 8 << 20;

/// Entries of a module's table of indirect functions. A large C++ job has a few thousand.
pub(super) const MAX_TABLE_ELEMENTS: usize = 65_536;

/// Tables of a module. C++ uses one; a second may hold exception references.
pub(super) const MAX_TABLES: u32 = 4;

/// Size of wasmtime's own record of an instance, in bytes; grows with a module's functions and globals.
pub(super) const MAX_INSTANCE_BYTES: usize = 4 << 20;

/// What is kept of a task's output on descriptors 1 and 2, in bytes: the last lines before it failed.
pub(super) const LOG_TAIL: usize = 4 << 10;

/// What is kept of a guest's error text, in bytes: enough for any `what()`, little enough for a status line.
pub(super) const MAX_ERROR_TEXT: usize = 4 << 10;

/// Vectors taken in one `fd_write` or `fd_read`: POSIX's usual `IOV_MAX`.
pub(super) const MAX_IOVECS: u32 = 1024;

/// Random bytes made between two looks at the clock: a guest may ask for gigabytes in one call, and a call into
/// the host is not interrupted.
pub(super) const RANDOM_CHUNK: usize = 1 << 20;

/// Time that a module has to run its static constructors and tell its version when it is loaded: microseconds,
/// as a rule; a busy machine must not refuse a module for ever.
pub(super) const PROBE_TIME: Duration = Duration::from_secs(10);

/// Modules remembered as loaded, dead ones included, before the dead are forgotten.
pub(super) const LOADED_MODULES: usize = 64;

/// Compiled code kept on disk, in bytes: some 2,000 jobs of the usual size.
pub(super) const DEFAULT_CACHE_BYTES: u64 = 512 << 20;

/// Units that wait in the pool for each thread: the next one starts at once, the rest stay with the caller, who
/// knows which job should come first.
pub(super) const QUEUED_UNITS_PER_THREAD: usize = 2;

/// Finished tasks delivered at once: a delivery's cost (a channel, a wake-up) is then below 1 % of the tasks'.
pub(super) const DELIVERY_TASKS: usize = 256;

/// Output that waits for delivery, in bytes: what a flush to a shuffler carries.
pub(super) const DELIVERY_BYTES: usize = 1 << 20;

/// The longest that a finished task waits for delivery, while the next ones run: the flush interval of
/// acknowledgements.
pub(super) const DELIVERY_DELAY: Duration = Duration::from_millis(50);
