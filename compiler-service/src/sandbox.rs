//! Runs a program of the toolchain in a sandbox.
//!
//! A run has the toolchain's own files, read-only; one input file; and two pipes for its output. It has no other file,
//! no place to write, no network and no second process, and its memory, time and output are limited. It writes nothing
//! to the host's disk, so nothing is left there however it ends.
//!
//! There are two backends: [`bubblewrap`] where user namespaces are available, else [`landlock`]. Both add the system
//! call filter of [`filter`] and the resource limits of [`confine`]. If neither works, nothing is compiled.

mod bubblewrap;
mod confine;
mod filter;
mod landlock;
mod output;
mod probe;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

pub(crate) use output::{Finished, Stop};

/// The path of the toolchain's folder in a sandbox. Its path on the host would tell the user's name to a source that
/// guesses it; this is one by which the system itself names the working directory, wherever that is.
pub(crate) const FOLDER: &str = "/proc/self/cwd";

/// The host's files that are visible in a sandbox, read-only and, except for [`View::folder`], at their own paths.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Files and folders.
    pub(crate) read_only: Vec<PathBuf>,
    /// A folder that is seen as [`FOLDER`], not at its own path.
    pub(crate) folder: Option<PathBuf>,
    /// Folders that the dynamic linker searches first: without `/proc`, programs cannot find their libraries relative
    /// to themselves.
    pub(crate) library_path: Vec<PathBuf>,
}

/// One run of a program.
pub(crate) struct Run<'a> {
    /// The program, one of the view's files.
    pub(crate) program: &'a Path,
    /// Its arguments. The input's path is [`Sandbox::input_path`].
    pub(crate) arguments: Vec<OsString>,
    /// The input file's bytes.
    pub(crate) input: &'a [u8],
    /// Limit on standard output, in bytes.
    pub(crate) output_limit: usize,
    /// Limit on what is kept of standard error, in bytes; the rest is counted.
    pub(crate) messages_limit: usize,
    /// Limit on the processor time of each of its processes; rounded up to whole seconds.
    pub(crate) processor_time: Duration,
    /// Time at which the run is killed.
    pub(crate) deadline: Instant,
    /// Polled during the run, which is killed once this returns true.
    pub(crate) is_cancelled: &'a dyn Fn() -> bool,
}

/// A way to confine a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxKind {
    /// Namespaces, by bubblewrap: the host's files do not exist in it. Needs user namespaces.
    Bubblewrap,
    /// Landlock, access rules of the kernel: the host's files cannot be opened, but a source can learn whether one
    /// exists. Needs Linux 5.13.
    Landlock,
}

impl SandboxKind {
    /// All kinds, in order of preference.
    pub const ALL: [Self; 2] = [Self::Bubblewrap, Self::Landlock];
}

impl std::fmt::Display for SandboxKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Landlock => "landlock",
        })
    }
}

/// A sandbox that was tested on this host.
#[derive(Debug)]
pub(crate) enum Sandbox {
    Bubblewrap(bubblewrap::Bubblewrap),
    Landlock(landlock::Landlock),
}

/// A sandbox failed to start a run, which is a fault of this host, not of the program.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot run {program}: {why}")]
pub(crate) struct RunError {
    program: String,
    why: std::io::Error,
}

impl Sandbox {
    /// The first of `kinds` in which `probe` (the toolchain's compiler) runs and cannot read the host's files.
    ///
    /// # Errors
    /// For each kind, why it does not work.
    pub(crate) fn find(kinds: &[SandboxKind], view: &View, probe: &Path) -> Result<Self, String> {
        let mut reasons = String::new();
        for kind in kinds {
            let made = match kind {
                SandboxKind::Bubblewrap => bubblewrap::Bubblewrap::new(view).map(Self::Bubblewrap),
                SandboxKind::Landlock => landlock::Landlock::new(view).map(Self::Landlock),
            };
            match made.and_then(|sandbox| probe::check(&sandbox, probe).map(|()| sandbox)) {
                Ok(sandbox) => return Ok(sandbox),
                Err(why) => {
                    tracing::warn!(%kind, %why, "a sandbox does not work on this host");
                    reasons.push_str(&format!("- {kind}: {why}\n"));
                }
            }
        }
        Err(reasons)
    }

    /// The kind of this sandbox.
    pub(crate) fn kind(&self) -> SandboxKind {
        match self {
            Self::Bubblewrap(_) => SandboxKind::Bubblewrap,
            Self::Landlock(_) => SandboxKind::Landlock,
        }
    }

    /// The path of a run's input in the sandbox.
    pub(crate) fn input_path(&self) -> &'static str {
        match self {
            Self::Bubblewrap(_) => bubblewrap::INPUT,
            Self::Landlock(_) => landlock::INPUT,
        }
    }

    /// Runs the program until it ends or reaches one of the run's limits, at which it is killed.
    pub(crate) fn run(&self, run: &Run<'_>) -> Result<Finished, RunError> {
        let failed = |why| RunError { program: run.program.display().to_string(), why };
        let mut command = match self {
            Self::Bubblewrap(backend) => backend.command(run),
            Self::Landlock(backend) => backend.command(run),
        }
        .map_err(failed)?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        output::collect(&mut child, run).map_err(failed)
    }
}

/// A file in memory with `bytes`, positioned at its start.
fn memory_file(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// A command without this process's environment, in `folder` instead of its working directory.
fn bare_command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder);
    command
}

/// The environment variables of every run.
fn environment(view: &View) -> [(&'static str, OsString); 3] {
    let mut libraries = OsString::new();
    for folder in &view.library_path {
        if !libraries.is_empty() {
            libraries.push(":");
        }
        libraries.push(folder);
    }
    [
        ("LD_LIBRARY_PATH", libraries),
        // The time of `__DATE__`, `__TIME__` and `__TIMESTAMP__`, so that equal sources give equal modules.
        ("SOURCE_DATE_EPOCH", "0".into()),
        ("LC_ALL", "C.UTF-8".into()),
    ]
}
