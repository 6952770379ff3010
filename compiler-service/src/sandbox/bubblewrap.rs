//! The sandbox of namespaces, set up by bubblewrap (`bwrap`).
//!
//! It has its own user, process, network, IPC and host name spaces, a read-only root with only the toolchain's files,
//! and no `/proc` of the system's: the host's files are neither readable nor visible.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FOLDER, Run, View, bare_command, confine, environment, filter, memory_file};

/// The input's path in the sandbox. A `#line` directive sets the author's file name.
pub(super) const INPUT: &str = "/job/input";

const PROGRAM: &str = "bwrap";

/// User and group ids in the sandbox: those of `nobody`.
const NOBODY: &str = "65534";

/// An installed bubblewrap. The probe tests whether it works.
#[derive(Debug)]
pub(crate) struct Bubblewrap {
    program: PathBuf,
    arguments: Vec<OsString>,
    filter: Vec<u8>,
}

impl Bubblewrap {
    pub(super) fn new(view: &View) -> Result<Self, String> {
        let program = std::env::var_os("PATH")
            .and_then(|path| {
                std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)).find(|file| file.is_file())
            })
            .ok_or("bwrap is not installed: apt-get install bubblewrap")?;
        Ok(Self { program, arguments: arguments(view), filter: filter::bytes()? })
    }

    pub(super) fn command(&self, run: &Run<'_>) -> std::io::Result<Command> {
        let filter = memory_file("filter", &self.filter)?;
        let mut command = bare_command(&self.program, Path::new("/"));
        command
            .args(&self.arguments)
            .args(["--ro-bind-data", "0", INPUT])
            // After the last mount: makes the root itself read-only.
            .args(["--remount-ro", "/", "--chdir", "/job"])
            .arg("--seccomp")
            .arg(filter.as_raw_fd().to_string())
            .arg("--")
            .arg(run.program)
            .args(&run.arguments)
            .stdin(Stdio::from(memory_file("input", run.input)?));
        confine::confine(&mut command, run.processor_time, confine::Hold::Inherit(filter));
        Ok(command)
    }
}

fn arguments(view: &View) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--uid",
        NOBODY,
        "--gid",
        NOBODY,
        "--cap-drop",
        "ALL",
        "--new-session",
        // When this thread exits, or bwrap is killed, the kernel kills the whole process namespace.
        "--die-with-parent",
        "--clearenv",
        // clang opens it if one of its standard descriptors is closed, and exits without a message if it cannot.
        "--dev-bind",
        "/dev/null",
        "/dev/null",
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    for (name, value) in environment(view) {
        arguments.extend(["--setenv".into(), name.into(), value]);
    }
    for path in &view.read_only {
        arguments.extend(["--ro-bind".into(), path.into(), path.into()]);
    }
    if let Some(folder) = &view.folder {
        // There is no other `/proc`.
        arguments.extend(["--ro-bind".into(), folder.into(), FOLDER.into()]);
    }
    arguments
}
