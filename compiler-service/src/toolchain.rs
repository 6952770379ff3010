//! The C++ toolchain: its location and its command lines.
//!
//! `make setup` builds it as one folder (`compiler-service/toolchain/build.sh`), with a manifest, `toolchain.json`,
//! that has every flag. This module reads the manifest and makes the commands to run in the sandbox.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::ToolchainError;
use crate::private_paths::PrivatePaths;
use crate::sandbox::View;
use crate::{libraries, sdk};

/// Environment variable for the folder of a toolchain other than the default one.
const VARIABLE: &str = "WEBMESH_TOOLCHAIN";

const MANIFEST: &str = "toolchain.json";

/// The version of the manifest's format that this module supports.
const FORMAT: u32 = 3;
/// The earlier version, of a toolchain that is used at its own path, which a source can guess.
const FORMAT_WITH_PATHS: u32 = 2;

/// System folders. Of these, the sandbox contains only the shared libraries that the toolchain needs.
const SYSTEM: &[&str] = &["/", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64"];

/// `toolchain.json`, as `compiler-service/toolchain/manifest.py` documents it.
#[derive(Debug, Deserialize)]
struct Manifest {
    format: u32,
    version: String,
    clang_version: String,
    source_prefix: String,
    source_suffix: String,
    steps: Vec<Vec<String>>,
    check: Vec<String>,
    read_only_paths: Vec<PathBuf>,
    hide_prefix: String,
}

/// A complete toolchain of this program's version.
#[derive(Debug)]
pub struct Toolchain {
    folder: PathBuf,
    manifest: Manifest,
    compile: Step,
    link: Step,
    check: Step,
    view: View,
    private: PrivatePaths,
}

/// A program to run, with placeholders for its input and output.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) program: PathBuf,
    arguments: Vec<String>,
    input: &'static str,
    /// Placeholder for the output; none if the step has no output.
    output: Option<&'static str>,
}

impl Step {
    /// The arguments to read the input at `input` and to write the output to standard output.
    pub(crate) fn arguments(&self, input: &str) -> Vec<OsString> {
        let fill = |argument: &String| match argument {
            argument if argument == self.input => input.into(),
            argument if self.output.is_some_and(|output| argument == output) => "-".into(),
            argument => argument.into(),
        };
        self.arguments.iter().map(fill).collect()
    }
}

impl Toolchain {
    /// The toolchain in `explicit`, else in `$WEBMESH_TOOLCHAIN`, else where `make setup` puts it:
    /// `${XDG_DATA_HOME:-$HOME/.local/share}/webmesh/toolchain`.
    ///
    /// # Errors
    /// If there is none, it is incomplete, or it belongs to another version of WebMesh. Each error names the remedy.
    pub fn find(explicit: Option<&Path>) -> Result<Self, ToolchainError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = explicit
            .map(Path::to_path_buf)
            .or_else(|| variable(VARIABLE))
            .or_else(|| {
                let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?;
                Some(data.join("webmesh/toolchain"))
            })
            .ok_or(ToolchainError::NoHome)?;
        Self::open(folder)
    }

    fn open(folder: PathBuf) -> Result<Self, ToolchainError> {
        let path = folder.join(MANIFEST);
        let unreadable = |why: String| ToolchainError::Unreadable { path: path.clone(), why };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                return Err(ToolchainError::Missing { path: folder });
            }
            Err(why) => return Err(unreadable(why.to_string())),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|why| unreadable(why.to_string()))?;
        if ![FORMAT, FORMAT_WITH_PATHS].contains(&manifest.format) {
            let why = format!("its format is {}, but this program supports {FORMAT}", manifest.format);
            return Err(ToolchainError::OtherVersion { path: folder, why });
        }
        if let Err(why) = sdk::compare(&folder.join("include")) {
            return Err(ToolchainError::OtherVersion { path: folder, why });
        }
        let [compile, link] = manifest.steps.as_slice() else {
            return Err(unreadable("it must have two steps, compile and link".to_owned()));
        };
        let compile = step(compile, "{source}", Some("{object}")).map_err(&unreadable)?;
        let link = step(link, "{object}", Some("{output}")).map_err(&unreadable)?;
        let check = step(&manifest.check, "{source}", None).map_err(&unreadable)?;
        let mut view = view(&manifest, &[compile.program.clone(), link.program.clone()])?;
        view.folder = (manifest.format == FORMAT).then(|| folder.clone());
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let private = PrivatePaths::new(&manifest.hide_prefix, &folder, home.as_deref());
        Ok(Self { folder, manifest, compile, link, check, view, private })
    }

    /// The toolchain's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A hash, in hexadecimal digits, of everything that a module depends on besides its source.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// The compiler's name and version, as text.
    #[must_use]
    pub fn clang_version(&self) -> &str {
        &self.manifest.clang_version
    }

    pub(crate) fn compile(&self) -> &Step {
        &self.compile
    }

    pub(crate) fn link(&self) -> &Step {
        &self.link
    }

    /// The step that only checks for errors, in [`unit_alone`](Self::unit_alone).
    pub(crate) fn check(&self) -> &Step {
        &self.check
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The text that clang compiles: the author's bytes between the SDK's two parts. `name` (see
    /// [`name::clean`](crate::name::clean)) is the file name in diagnostics.
    pub(crate) fn unit(&self, name: &str, source: &[u8]) -> Vec<u8> {
        [&self.unit_alone(name, source), self.manifest.source_suffix.as_bytes()].concat()
    }

    /// The text without the SDK's part after the author's.
    pub(crate) fn unit_alone(&self, name: &str, source: &[u8]) -> Vec<u8> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let source = source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source);
        let prefix = self.manifest.source_prefix.replace("{name}", name);
        [prefix.as_bytes(), source].concat()
    }

    /// Paths of this host, which no message to a requester may have.
    pub(crate) fn private_paths(&self) -> &PrivatePaths {
        &self.private
    }
}

fn step(words: &[String], input: &'static str, output: Option<&'static str>) -> Result<Step, String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("a step has no program".to_owned());
    };
    for hole in std::iter::once(input).chain(output) {
        if !arguments.iter().any(|argument| argument == hole) {
            return Err(format!("the command of {program} has no {hole}"));
        }
    }
    Ok(Step { program: program.into(), arguments: arguments.to_vec(), input, output })
}

fn view(manifest: &Manifest, programs: &[PathBuf]) -> Result<View, ToolchainError> {
    let missing = |path: &Path| {
        let path = path.to_path_buf();
        move |why| ToolchainError::PartMissing { path, why }
    };
    let folders =
        manifest.read_only_paths.iter().filter(|path| !SYSTEM.iter().any(|system| path == &Path::new(system)));
    let mut read_only: BTreeSet<PathBuf> = folders.cloned().collect();
    for path in read_only.iter().chain(programs) {
        path.metadata().map_err(missing(path))?;
    }
    let shown = |shown: &BTreeSet<PathBuf>, path: &Path| path.ancestors().any(|folder| shown.contains(folder));
    let libraries = libraries::of(programs).map_err(missing(Path::new("ldd")))?;
    let library_path: BTreeSet<PathBuf> =
        libraries.iter().filter_map(|library| library.parent().map(Path::to_path_buf)).collect();
    for path in programs.iter().chain(&libraries) {
        // Both the path that is opened and the real path, since a visible folder may have links to outside.
        let real = path.canonicalize().map_err(missing(path))?;
        for path in [path, &real] {
            if !shown(&read_only, path) {
                read_only.insert(path.clone());
            }
        }
    }
    Ok(View {
        read_only: read_only.into_iter().collect(),
        folder: None,
        library_path: library_path.into_iter().collect(),
    })
}
