//! Errors of the compile service. Each is addressed to the person who can fix it.

use std::path::PathBuf;

/// Why a source did not become a module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The source has errors. The text is clang's, with its ANSI colours and the author's line numbers, at most
    /// [`MAX_DIAGNOSTICS`](crate::limits::MAX_DIAGNOSTICS) bytes long.
    #[error("the job does not compile:\n{0}")]
    Diagnostics(String),
    /// The source is longer than [`MAX_SOURCE`](crate::limits::MAX_SOURCE).
    #[error("the source has {bytes} bytes, more than the limit of {limit}: move tables into an input file")]
    SourceTooLarge {
        /// The source's length in bytes.
        bytes: usize,
        /// The maximum length in bytes.
        limit: usize,
    },
    /// The compile exceeded its limit of processor time.
    #[error(
        "compiling used {seconds} s of processor time and was stopped{}: look for a template or constexpr that recurses \
         without end, or split the source into smaller functions",
        place.as_ref().map_or(String::new(), |place| format!(" {place}"))
    )]
    TooLong {
        /// The limit, in seconds.
        seconds: u64,
        /// What clang was doing, such as "at job.cpp:3:1, instantiating …"; `None` if unknown.
        place: Option<String>,
    },
    /// The compile exceeded its wall-clock limit but not its processor time, so this host is to blame.
    #[error(
        "compiling did not finish within {seconds} s, although it stayed below its limit of processor time: the \
         machine of this compiler is overloaded or was suspended; try again later, or another compiler"
    )]
    Starved {
        /// The wall-clock limit, in seconds.
        seconds: u64,
    },
    /// The compile exceeded its memory limit.
    #[error(
        "compiling needed more than {mib} MiB and was stopped: look for a huge array or a template with exponentially \
         many instantiations"
    )]
    TooMuchMemory {
        /// The memory limit, in MiB.
        mib: u64,
    },
    /// The module, or the object file, exceeds its size limit.
    #[error(
        "the compiled job is larger than {mib} MiB: look for a large initialised array, and compute it when the job \
         starts instead"
    )]
    OutputTooLarge {
        /// The size limit, in MiB.
        mib: usize,
    },
    /// It compiles, but uses imports or features that workers do not provide.
    #[error("WebMesh: the job compiles, but no worker can run it: {0}")]
    Unsupported(String),
    /// The queue is full.
    #[error("the compiler is busy: {0}; try again soon, or another compiler")]
    Busy(BusyReason),
    /// The compiler crashed.
    #[error(
        "the compiler crashed on this source ({0}): look for a complicated expression or function, and simplify it"
    )]
    Crashed(String),
    /// The toolchain or its sandbox does not work on this host; the source is not to blame.
    #[error("the compiler of this peer does not work: {0}; try another compiler")]
    Unavailable(String),
    /// The service stopped while the compile waited or ran.
    #[error("the compiler of this peer was stopped; try another compiler")]
    Stopped,
}

impl CompileError {
    /// Whether another compiler, or this one later, may succeed with the same source.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Starved { .. } | Self::Busy(_) | Self::Unavailable(_) | Self::Stopped)
    }
}

/// The limit of the queue that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusyReason {
    /// The compiles that wait, of all requesters together.
    #[error("{0} compiles are waiting")]
    Queue(usize),
    /// The compiles that wait, of this requester.
    #[error("{0} compiles of this peer are waiting")]
    Requester(usize),
    /// The requests that wait for the same source.
    #[error("{0} requests for the same source are waiting")]
    Waiters(usize),
}

/// Why no usable toolchain was found.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// There is no toolchain at the expected place.
    #[error("no C++ toolchain at {path} (no toolchain.json there): run `make setup`, or set WEBMESH_TOOLCHAIN to one")]
    Missing {
        /// The directory that was searched.
        path: PathBuf,
    },
    /// Neither a path nor a home directory is known.
    #[error(
        "cannot find the C++ toolchain because HOME is not set: set HOME, or set WEBMESH_TOOLCHAIN to the toolchain's directory"
    )]
    NoHome,
    /// `toolchain.json` cannot be read or parsed.
    #[error("the C++ toolchain's {path} cannot be used ({why}): run `make setup` again")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A file that `toolchain.json` names is missing.
    #[error("the C++ toolchain needs {path}, which cannot be used ({why}): run `make setup` again")]
    PartMissing {
        /// The missing file.
        path: PathBuf,
        /// The operating system's error.
        why: std::io::Error,
    },
    /// The toolchain was made for another version of this program.
    #[error("the C++ toolchain at {path} belongs to another version of WebMesh ({why}): run `make setup` again")]
    OtherVersion {
        /// The toolchain's directory.
        path: PathBuf,
        /// The first difference.
        why: String,
    },
}

/// Why the compile service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No sandbox works on this host, with the reason for each.
    #[error("no sandbox works on this host, and C++ from strangers is never compiled without one:\n{0}")]
    NoSandbox(String),
    /// The cache directory cannot be used.
    #[error("the compile cache {path} cannot be used ({why}): make it writable, or choose another data directory")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        why: std::io::Error,
    },
    /// A compile thread cannot be started.
    #[error("cannot start a thread for the compiler: {0}")]
    Thread(std::io::Error),
}
