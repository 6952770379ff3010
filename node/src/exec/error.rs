//! The errors of task execution, with advice on what to do about them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::module_shape::ShapeError;

/// Why a [`Runtime`](super::Runtime) could not be created. Fatal for the worker role.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// wasmtime refused its settings or could not reserve address space.
    #[error(
        "cannot set up WebAssembly for {threads} threads: {reason}. If address space ran out, give fewer \
         threads or raise `ulimit -v`"
    )]
    Engine {
        /// Threads asked for.
        threads: usize,
        /// wasmtime's message.
        reason: String,
    },
    /// The folder for compiled modules cannot be used.
    #[error("cannot use {path} for compiled modules: {source}. Give a folder that this user owns and can write to")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}. The system's limit of threads may be reached (`ulimit -u`)")]
    Thread(#[source] io::Error),
}

/// Why a module was refused. [`is_repeatable`](Self::is_repeatable) says whether it always will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Larger than [`MAX_MODULE_BYTES`](super::MAX_MODULE_BYTES).
    #[error("the module has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The bytes do not have the expected hash.
    #[error("the module's bytes do not match its hash; fetch it again")]
    WrongHash,
    /// Not WebAssembly that this host accepts.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// It declares what no host allows.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Its compilation would cost too much.
    #[error("the module would take too long to compile: it has {found} {what}, more than the {limit} allowed")]
    TooCostly {
        /// What exceeds the limit.
        what: &'static str,
        /// The amount found; counting stops soon after the limit.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// The compiler failed on it.
    #[error("the module cannot be compiled: the compiler itself failed on it")]
    Panicked,
    /// Its compilation was ended at its limit of memory.
    #[error("the module's compilation was ended at its limit of {} of memory; smaller functions need less", Size(*.0))]
    CompileMemory(u64),
    /// Its compilation was ended at its limit of processor time.
    #[error(
        "the module's compilation was ended at its limit of {} s of processor time; smaller functions need less",
        .0.as_secs()
    )]
    CompileTime(Duration),
    /// Its static constructors were ended at their limit of processor time.
    #[error("the module's static constructors were ended at their limit of {} s of processor time", .0.as_secs())]
    ConstructorTime(Duration),
    /// Its static constructors were ended at their limit of memory.
    #[error("the module's static constructors were ended at their limit of {} of memory", Size(*.0))]
    ConstructorMemory(u64),
    /// Refused by the compiling process.
    #[error("{why}")]
    Refused {
        /// The error there.
        why: String,
        /// Whether the same module is always refused.
        repeatable: bool,
    },
    /// This host could not compile it; another one may.
    #[error("the module could not be compiled here: {0}")]
    Host(String),
    /// Too many others wait.
    #[error("too many other modules wait to be compiled here")]
    Busy,
    /// Nobody waits for it any more.
    #[error("the compilation was cancelled")]
    Cancelled,
    /// An import that no host provides.
    #[error(
        "the module imports `{module}::{name}`, which jobs cannot use: there are no files, no network and no \
         threads in a task"
    )]
    Import {
        /// The module imported from.
        module: String,
        /// The item's name.
        name: String,
    },
    /// An import of a known name with another type.
    #[error("the module imports `{name}` with an unknown type; it must be compiled for WASI preview 1")]
    ImportType {
        /// The item's name.
        name: String,
    },
    /// An export of the interface is missing.
    #[error("the module does not export `{0}`; compile the job with the WebMesh SDK's header")]
    Missing(&'static str),
    /// An export of the interface has another type.
    #[error("the module's export `{0}` does not have the type `{1}`; compile the job with this version's SDK")]
    ExportType(&'static str, &'static str),
    /// The module speaks another version of the interface.
    #[error("the module speaks version {found} of the guest interface, this node version {expected}")]
    Version {
        /// The version that the module reports.
        found: i32,
        /// The version that this node implements.
        expected: i32,
    },
    /// The module's version could not be read.
    #[error("cannot read the version of the module: {0}")]
    Probe(TaskErrorKind),
}

impl ModuleError {
    /// Whether the same module is refused again, here and on every worker of this version. A limit of processor time
    /// counts, though a faster machine may stay within it: others would spend as much to find out, and a job ends only
    /// after its home has tried.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::WrongHash | Self::Host(_) | Self::Busy | Self::Cancelled => false,
            Self::Refused { repeatable, .. } => *repeatable,
            Self::Probe(kind) => kind.is_repeatable(),
            _ => true,
        }
    }
}

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskError {
    /// The document that was being mapped, counted from 0 within the task. `None` outside `webmesh_map`.
    pub document: Option<u32>,
    /// The number of the task's documents, counted from the first, that were mapped separately, each without an error.
    pub apart: u32,
    /// The kind of failure.
    pub kind: TaskErrorKind,
    /// The end of what the task wrote to its descriptors 1 and 2, safe to print; often empty.
    pub log_tail: String,
}

/// The kind of a task's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskErrorKind {
    /// WebAssembly trapped; wasmtime's message.
    Trap(String),
    /// The job threw; the exception's `what()`.
    Exception(String),
    /// The job called `exit` with this status.
    Exit(u32),
    /// The task ran longer than its limit. Another worker may be faster.
    TimeLimit(Duration),
    /// The task asked for more memory than its limit, in bytes, and then failed.
    MemoryLimit(u64),
    /// The task's output is larger than its limit, in bytes.
    OutputLimit(u64),
    /// The module violates the guest interface.
    BadModule(String),
    /// The task's input could not be read.
    Input(String),
    /// This host could not run the task; another one may.
    Host(String),
    /// The job was cancelled.
    Cancelled,
}

impl TaskErrorKind {
    /// Whether the same task fails in the same way on every worker, so that a retry is pointless.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Trap(_)
            | Self::Exception(_)
            | Self::Exit(_)
            | Self::MemoryLimit(_)
            | Self::OutputLimit(_)
            | Self::BadModule(_) => true,
            Self::TimeLimit(_) | Self::Input(_) | Self::Host(_) | Self::Cancelled => false,
        }
    }
}

impl fmt::Display for TaskErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap(text) => write!(f, "trapped: {text}"),
            Self::Exception(text) => write!(f, "threw: {text}"),
            Self::Exit(status) => write!(f, "called exit({status})"),
            Self::TimeLimit(limit) => write!(f, "ran longer than {} s", limit.as_secs_f64()),
            Self::MemoryLimit(bytes) => write!(f, "needed more than {} of memory", Size(*bytes)),
            Self::OutputLimit(bytes) => write!(f, "gave more than {} of output", Size(*bytes)),
            Self::BadModule(text) => write!(f, "broke the guest interface: {text}"),
            Self::Input(text) => write!(f, "could not read its input: {text}"),
            Self::Host(text) => write!(f, "could not run here: {text}"),
            Self::Cancelled => f.write_str("was cancelled"),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match self.apart {
            0 => Ok(()),
            apart => write!(f, " (the first {apart} documents of the task were mapped one by one without an error)"),
        }
    }
}

impl std::error::Error for TaskError {}
impl std::error::Error for TaskErrorKind {}

/// A number of bytes in the largest unit that divides it.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}
