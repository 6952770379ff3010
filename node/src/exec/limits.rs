//! The bounds of task execution, each with its reason.

use std::time::Duration;

/// Size limit of a module, in bytes. Cranelift needs about a second of CPU time and some 100 MB of memory for each MB.
pub const MAX_MODULE_BYTES: usize = webmesh_protocol::limits::MODULE_BYTES;

/// Complexity limit of a module's control flow, in cells: the number of locals and operands, summed over all places
/// where it splits or joins. Cranelift's time and memory grow with that, and not with the bytes: 70 KB of loops over a
/// thousand locals are 8 million cells, 4 s and 440 MB. The examples have 30,000 to 330,000, those with iostreams the
/// most.
pub(super) const MAX_CONTROL_CELLS: u64 = 4_000_000;

/// The same where the compilation is a process with limits of its own: those of memory and time decide, and this only
/// spares modules that cannot stay within them.
pub(super) const MAX_SEPARATE_CELLS: u64 = 10 * MAX_CONTROL_CELLS;

/// Additional cells of a live reference of the collected heap (an exception, a host's value): it is in a set at every
/// place, and in a map at every call.
pub(super) const REFERENCE_CELLS: u64 = 4;

/// Maximum memory limit of a task, in bytes: all that a 32-bit guest can address.
pub const MAX_TASK_MEMORY: u64 = 4 << 30;

/// Instance slots beyond one for each thread: for modules being probed while every thread is busy, and tasks run
/// outside the pool.
pub(super) const SPARE_SLOTS: u32 = 4;

/// Stack of a guest's calls, in bytes. Browsers give about as much (1 MB), so a recursion that works here works there;
/// small enough for the 2 MiB threads of std and tokio.
pub(super) const WASM_STACK: usize = 1 << 20;

/// Stack of a pool thread, in bytes: the guest's and as much again for the host's calls beneath it.
pub(super) const THREAD_STACK: usize = 2 * WASM_STACK;

/// Interval at which running guests check the clock and their cancel token. Half of the 20 ms within which a cancelled
/// task must stop; a hundred wake-ups a second, only while tasks run.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Memory of an instance slot that is cleaned in place rather than returned to the system, in bytes: what a task over
/// half a megabyte of text touches. A page of 4 KiB that is returned and faulted in again costs 3.4 µs, one that is
/// cleared in place 0.12 µs. An idle worker keeps this much memory for each slot.
pub(super) const KEEP_RESIDENT: usize = 8 << 20;

/// Size of wasmtime's own record of an instance, in bytes; grows with a module's functions and globals.
pub(super) const MAX_INSTANCE_BYTES: usize = 4 << 20;

/// Bytes kept of a task's output on descriptors 1 and 2: the last lines before it failed.
pub(super) const LOG_TAIL: usize = 4 << 10;

/// Bytes kept of a guest's error text: enough for any `what()`, little enough for a status line.
pub(super) const MAX_ERROR_TEXT: usize = 4 << 10;

/// Vectors accepted in one `fd_write` or `fd_read`: POSIX's usual `IOV_MAX`.
pub(super) const MAX_IOVECS: u32 = 1024;

/// Random bytes generated between two checks of the clock: a guest may ask for gigabytes in one call, and a call into
/// the host is not interrupted.
pub(super) const RANDOM_CHUNK: usize = 1 << 20;

/// Time limit for a module's static constructors and version function when it is loaded: they take microseconds as a
/// rule; a busy machine must not refuse a module permanently.
pub(super) const PROBE_TIME: Duration = Duration::from_secs(10);

/// Processor time, in whole seconds, within [`PROBE_TIME`]. Constructors run again for every task, so a job whose
/// constructors take seconds would be of no use.
pub(super) const PROBE_PROCESSOR_TIME: Duration = Duration::from_secs(4);

/// Memory and processor time of a compiling process: those of a module without code, and what each byte of code adds.
/// Twice to five times what compilers' output needs, so that only modules made to be expensive reach it.
pub(super) const COMPILE_MEMORY: u64 = 256 << 20;
/// See [`COMPILE_MEMORY`].
pub(super) const COMPILE_MEMORY_PER_BYTE: u64 = 256;
/// The most, whatever the size: the examples with `<regex>` and `<format>` need a third of it. What all such processes
/// hold together is counted against the memory for guests.
pub(super) const MAX_COMPILE_MEMORY: u64 = 1 << 30;
/// See [`COMPILE_MEMORY`].
pub(super) const COMPILE_TIME: Duration = Duration::from_secs(5);
/// See [`COMPILE_MEMORY`].
pub(super) const COMPILE_TIME_PER_BYTE: Duration = Duration::from_micros(5);
/// See [`MAX_COMPILE_MEMORY`].
pub(super) const MAX_COMPILE_TIME: Duration = Duration::from_secs(60);

/// Elapsed time of a compiling process for each second that it may take, at which it is given up: reached only if
/// it gets less than that share of a core or was suspended, which is the machine's fault, never the module's.
pub(super) const COMPILE_WALL_FACTOR: u32 = 5;

/// Processor time after which a compilation makes room for others that wait: that of a module without code, and what
/// each byte of code adds. Ordinary modules are done by then.
pub(super) const COMPILE_QUANTUM: Duration = Duration::from_millis(100);
/// See [`COMPILE_QUANTUM`].
pub(super) const COMPILE_QUANTUM_PER_BYTE: Duration = Duration::from_nanos(1000);
/// The most, whatever the size: when all quick places are taken by expensive modules, others wait for this long.
pub(super) const MAX_COMPILE_QUANTUM: Duration = Duration::from_millis(500);

/// Compilations that run at the same time and have not used up their quantum.
pub(super) const QUICK_COMPILES: usize = 2;

/// Threads of a host for each compilation that runs although it has used up its quantum; one of these is always
/// possible.
pub(super) const THREADS_PER_SLOW_COMPILE: usize = 4;

/// The most of these, for the sake of memory.
pub(super) const MAX_SLOW_COMPILES: usize = 4;

/// Threads of a compiling process.
pub(super) const COMPILE_THREADS: usize = 4;

/// One part in this many of the memory for guests is left to tasks by compilations in the quick lane.
pub(super) const QUICK_LEAVES: u64 = 8;

/// One part in this many is left to tasks and to the quick lane by those in the slow one. On a host with the default
/// `--memory`, the rest is one and a half times what the examples with `<regex>` and `<format>` need.
pub(super) const SLOW_LEAVES: u64 = 4;

/// Compilations that wait for their turn. Each holds a thread and its module.
pub(super) const MAX_WAITING_COMPILES: usize = 64;

/// Poll interval of a compilation that waits or runs, for a cancelled job, for its processor time and for others that
/// wait.
pub(super) const COMPILE_POLL: Duration = Duration::from_millis(10);

/// Size limit of compiled code, in bytes: some thirty times the largest module's.
pub(super) const MAX_COMPILED_BYTES: usize = 512 << 20;

/// Bytes kept of what a compiling process writes before it dies.
pub(super) const MAX_LAST_OUTPUT: usize = 4 << 10;

/// Refused modules that are remembered, so that a job with one does not have it compiled again and again.
pub(super) const REFUSED_MODULES: usize = 256;

/// Entries in the table of loaded modules, dropped ones included, at which the dropped ones are removed.
pub(super) const LOADED_MODULES: usize = 64;

/// Size limit of the compiled code on disk, in bytes: some 2,000 jobs of the usual size.
pub(super) const DEFAULT_CACHE_BYTES: u64 = 512 << 20;

/// Units queued in the pool for each thread: the next one starts at once, the rest stay with the caller, who knows
/// which job should come first.
pub(super) const QUEUED_UNITS_PER_THREAD: usize = 2;

/// Maximum number of finished tasks in a delivery: its cost (a channel, a wake-up) is then below 1 % of the tasks'.
pub(super) const DELIVERY_TASKS: usize = 256;

/// Bytes of output at which a delivery is due: the size of a flush to a shuffler.
pub(super) const DELIVERY_BYTES: usize = 1 << 20;

/// Maximum delay of a finished task's delivery, while the next tasks run: the flush interval of acknowledgements.
pub(super) const DELIVERY_DELAY: Duration = Duration::from_millis(50);
