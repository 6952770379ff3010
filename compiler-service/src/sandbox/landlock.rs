//! The sandbox of the kernel's access rules (Landlock), for hosts that forbid user namespaces, as containers often do.
//!
//! The compiler can open only the toolchain's files, and the system call filter leaves it no other way out. It is the
//! second choice because other paths remain visible: by `__has_include`, a source can learn whether a file exists.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
};
use webmesh_syscalls::BpfProgram;

use super::{Run, View, bare_command, confine, environment, filter, memory_file};

/// The input is a file in memory, passed as standard input. Landlock restricts only files within a file system, so this
/// one can be opened again through `/proc`.
pub(super) const INPUT: &str = "/proc/self/fd/0";

/// The required version of the rules. The first covers opening, listing and executing; the filter forbids everything
/// that later versions cover.
const VERSION: ABI = ABI::V1;

/// A kernel with Landlock. The probe tests whether it works.
#[derive(Debug)]
pub(crate) struct Landlock {
    view: View,
    filter: BpfProgram,
}

impl Landlock {
    pub(super) fn new(view: &View) -> Result<Self, String> {
        rules(view)?;
        Ok(Self { view: view.clone(), filter: filter::program()? })
    }

    pub(super) fn command(&self, run: &Run<'_>) -> std::io::Result<Command> {
        let rules = rules(&self.view).map_err(std::io::Error::other)?;
        // The folder that it sees as `FOLDER`.
        let mut command = bare_command(run.program, self.view.folder.as_deref().unwrap_or(Path::new("/")));
        command.envs(environment(&self.view)).args(&run.arguments).stdin(Stdio::from(memory_file("input", run.input)?));
        confine::confine(
            &mut command,
            run.processor_time,
            confine::Hold::Lock(confine::Lock { rules, filter: self.filter.clone() }),
        );
        Ok(command)
    }
}

/// A new set of rules: allows reading, listing and executing the files of `view`, and nothing else.
fn rules(view: &View) -> Result<OwnedFd, String> {
    let all = AccessFs::from_all(VERSION);
    let read = AccessFs::from_read(VERSION);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(|why| {
            format!("this kernel has no Landlock, or it is turned off ({why}): Linux 5.13 or later has it")
        })?;
    for path in view.read_only.iter().chain(&view.folder) {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let access = if path.is_dir() { read } else { read & AccessFs::from_file(VERSION) };
        let opened = PathFd::new(path).map_err(|why| failed(&why))?;
        rules = rules.add_rule(PathBeneath::new(opened, access)).map_err(|why| failed(&why))?;
    }
    Option::<OwnedFd>::from(rules).ok_or_else(|| "the kernel made no Landlock rules".to_owned())
}
