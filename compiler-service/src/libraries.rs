//! The shared libraries of the toolchain's programs. The sandbox contains these rather than the host's whole
//! `/usr/lib`, which would reveal what is installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that the dynamic linker opens to start `programs`, including itself, by the paths that it uses.
pub(crate) fn of(programs: &[PathBuf]) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let listed = Command::new("ldd").arg(program).env("LC_ALL", "C").output()?;
        // A statically linked program makes `ldd` fail, and has no libraries.
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            if line.contains("not found") {
                return Err(std::io::Error::other(format!("{}: {}", program.display(), line.trim())));
            }
            found.extend(path(line));
        }
    }
    Ok(found)
}

/// The path in a line of `ldd`: `name => /path (0x…)` or `/path (0x…)`. The kernel's `linux-vdso` has none.
fn path(line: &str) -> Option<PathBuf> {
    let path = line.rsplit("=> ").next()?.trim().rsplit_once(" (")?.0;
    path.starts_with('/').then(|| plain(Path::new(path)))
}

/// `path` without `folder/..`: `ldd` writes a library beside its program as `/bin/../lib/…`, and the sandbox has no
/// `/bin`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_both_forms_of_line() {
        let found = |line| path(line).map(|path| path.display().to_string());
        assert_eq!(found("\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)").as_deref(), Some("/lib/x/libc.so.6"));
        assert_eq!(found("\tlibA.so => /opt/bin/../lib/libA.so (0x0)").as_deref(), Some("/opt/lib/libA.so"));
        assert_eq!(found("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)").as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(found("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(found("\tnot a dynamic executable"), None);
    }
}
