//! What can go wrong, told to the one who can do something about it.

use std::path::PathBuf;

/// Why a source did not become a module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// clang refused the source. The text is clang's own, with its colours (ANSI) and the author's line numbers, cut
    /// at [`MAX_DIAGNOSTICS`](crate::limits::MAX_DIAGNOSTICS).
    #[error("the job does not compile:\n{0}")]
    Diagnostics(String),
    /// The source is longer than [`MAX_SOURCE`](crate::limits::MAX_SOURCE).
    #[error("the source has {bytes} bytes, more than the {limit} a compiler takes: move tables into an input file")]
    SourceTooLarge {
        /// The source's length in bytes.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The compile used all the processor time that one gets.
    #[error(
        "compiling used {seconds} s of processor time and was stopped{}: look for a template or constexpr that recurses \
         without end, or split the source into smaller functions",
        place.as_ref().map_or(String::new(), |place| format!(" {place}"))
    )]
    TooLong {
        /// The processor time it was given.
        seconds: u64,
        /// What clang was doing, such as "at job.cpp:3:1, instantiating …"; `None` where it did not say.
        place: Option<String>,
    },
    /// The compile did not end in time by the clock, though it had processor time left: this host is to blame.
    #[error(
        "compiling did not end within {seconds} s, though it used less processor time than it may: the machine of this \
         compiler is overloaded or was suspended; try again later, or another compiler"
    )]
    Starved {
        /// The wall-clock time it was given.
        seconds: u64,
    },
    /// clang asked for more memory than it is given.
    #[error(
        "compiling needed more than {mib} MiB and was stopped: look for a huge array or a template that multiplies itself"
    )]
    TooMuchMemory {
        /// The memory it was given, in MiB.
        mib: u64,
    },
    /// The module, or the object before it, is too large.
    #[error(
        "the compiled job is larger than {mib} MiB: look for a large initialised array, and make it when the job starts instead"
    )]
    OutputTooLarge {
        /// The most that is taken, in MiB.
        mib: usize,
    },
    /// It compiles, but uses what no worker gives it.
    #[error("WebMesh: the job compiles, but no worker can run it: {0}")]
    Unsupported(String),
    /// The queue is full.
    #[error("the compiler is busy: {0}; try again soon, or another compiler")]
    Busy(BusyReason),
    /// clang itself fell over.
    #[error("the compiler crashed on this source ({0}): make the expression or function it stands in simpler")]
    Crashed(String),
    /// The toolchain or its sandbox stopped working on this host; the source is not to blame.
    #[error("the compiler of this peer does not work: {0}; try another compiler")]
    Unavailable(String),
    /// The service ended while the compile waited or ran.
    #[error("the compiler of this peer was stopped; try another compiler")]
    Stopped,
}

impl CompileError {
    /// Whether another compiler, or this one later, may do better with the same source.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Starved { .. } | Self::Busy(_) | Self::Unavailable(_) | Self::Stopped)
    }
}

/// Which bound of the queue was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusyReason {
    /// All requesters together.
    #[error("{0} compiles are waiting")]
    Queue(usize),
    /// One requester alone.
    #[error("{0} compiles of this peer are waiting")]
    Requester(usize),
    /// Too many callers wait for one source.
    #[error("{0} callers wait for this very source")]
    Waiters(usize),
}

/// Why no usable toolchain was found.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// There is nothing where a toolchain should be.
    #[error("no C++ toolchain at {path} (no toolchain.json there): run `make setup`, or set WEBMESH_TOOLCHAIN to one")]
    Missing {
        /// The directory looked at.
        path: PathBuf,
    },
    /// Neither a path nor a home directory is known.
    #[error(
        "cannot find the C++ toolchain because HOME is not set: set HOME, or set WEBMESH_TOOLCHAIN to the toolchain's directory"
    )]
    NoHome,
    /// `toolchain.json` cannot be read or understood.
    #[error("the C++ toolchain's {path} cannot be used ({why}): run `make setup` again")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A part that `toolchain.json` names has vanished.
    #[error("the C++ toolchain needs {path}, which cannot be used ({why}): run `make setup` again")]
    PartMissing {
        /// The part.
        path: PathBuf,
        /// The operating system's words.
        why: std::io::Error,
    },
    /// The toolchain was made for another version of this program.
    #[error("the C++ toolchain at {path} belongs to another version of WebMesh ({why}): run `make setup` again")]
    OtherVersion {
        /// The toolchain's directory.
        path: PathBuf,
        /// Where the two differ.
        why: String,
    },
}

/// Why the compile service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No sandbox works here, and without one nothing is compiled.
    #[error("no sandbox works here, and C++ from strangers is never compiled without one:\n{0}")]
    NoSandbox(String),
    /// The cache directory cannot be used.
    #[error("the compile cache {path} cannot be used ({why}): make it writable, or choose another data directory")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The operating system's words.
        why: std::io::Error,
    },
    /// No thread can be started.
    #[error("no thread for the compiler can be started: {0}")]
    Thread(std::io::Error),
}
