//! Runs one program of the toolchain where it can do no harm.
//!
//! What a run gets: the toolchain's own files, read-only; one input file; two pipes for its output. What it does not
//! get: any other file, a place to write, a network, a second process, more memory, time or output than it is given.
//! Nothing of it is ever on the host's disk, so that nothing is left there however it ends.
//!
//! Two backends stand behind one face: [`bubblewrap`] where user namespaces can be had, else [`landlock`]. Both add
//! the system call filter of [`filter`] and the resource limits of [`confine`]. With neither there is no sandbox, and
//! then nothing is compiled.

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

/// What of the host a sandbox shows, all of it read-only and at its own path.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Files and folders.
    pub(crate) read_only: Vec<PathBuf>,
    /// Folders in which the dynamic linker looks first: programs that find their libraries relative to themselves
    /// cannot do so without `/proc`.
    pub(crate) library_path: Vec<PathBuf>,
}

/// One run of a program.
pub(crate) struct Run<'a> {
    /// The program, one of the view's files.
    pub(crate) program: &'a Path,
    /// Its arguments; the sandbox puts [`Sandbox::input_path`] where the input is to be named.
    pub(crate) arguments: Vec<OsString>,
    /// The input file's bytes.
    pub(crate) input: &'a [u8],
    /// The most that may be written to standard output, in bytes.
    pub(crate) output_limit: usize,
    /// The most that is kept of standard error, in bytes; what goes beyond is counted.
    pub(crate) messages_limit: usize,
    /// Processor time after which each of its processes is stopped, in whole seconds, rounded up.
    pub(crate) processor_time: Duration,
    /// When the run is killed.
    pub(crate) deadline: Instant,
    /// Once it says yes the run is killed.
    pub(crate) is_pointless: &'a dyn Fn() -> bool,
}

/// A way to confine a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxKind {
    /// Namespaces, by bubblewrap: the files of the host are not there at all. Needs user namespaces.
    Bubblewrap,
    /// Landlock, access rules of the kernel: the files of the host cannot be opened, though a source can learn that one
    /// exists. Needs Linux 5.13.
    Landlock,
}

impl SandboxKind {
    /// All of them, the better first.
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

/// A way to confine a process that was seen to work on this host.
#[derive(Debug)]
pub(crate) enum Sandbox {
    Bubblewrap(bubblewrap::Bubblewrap),
    Landlock(landlock::Landlock),
}

/// A sandbox failed to start a run: trouble of this host, not of what was to run.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot run {program}: {why}")]
pub(crate) struct RunError {
    program: String,
    why: std::io::Error,
}

impl Sandbox {
    /// The first of `kinds` in which `probe` (the toolchain's compiler) runs and cannot read the host's files, or the
    /// reasons why none is.
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

    /// Which backend it is.
    pub(crate) fn kind(&self) -> SandboxKind {
        match self {
            Self::Bubblewrap(_) => SandboxKind::Bubblewrap,
            Self::Landlock(_) => SandboxKind::Landlock,
        }
    }

    /// Where a run finds its input.
    pub(crate) fn input_path(&self) -> &'static str {
        match self {
            Self::Bubblewrap(_) => bubblewrap::INPUT,
            Self::Landlock(_) => landlock::INPUT,
        }
    }

    /// Runs to the end, or kills at one of the run's limits.
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

/// A file in memory that holds `bytes` and is read from its start.
fn memory_file(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// A command without anything of this process's surroundings.
fn bare_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/");
    command
}

/// The environment of every run.
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
        // `__DATE__`, `__TIME__` and `__TIMESTAMP__` say this instant, so that equal sources give equal modules.
        ("SOURCE_DATE_EPOCH", "0".into()),
        ("LC_ALL", "C.UTF-8".into()),
    ]
}
