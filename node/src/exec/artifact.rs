//! Compiled modules kept on disk, so that a restarted node does not compile a job again.
//!
//! An artifact is native code, and loading one that is not what wasmtime wrote is loading arbitrary code. So the
//! folder is made private to its user (0700), and each file starts with a keyed blake3 hash of its name and
//! content; the key is random, lives in that folder and is never sent anywhere. A file that was torn, rotted,
//! renamed, or brought here from elsewhere is not loaded. Anyone who can read the key can already run code as this
//! user.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;
use wasmtime::{Engine, Module};

const KEY_FILE: &str = "key";
const EXTENSION: &str = "compiled";
const TAG: usize = blake3::OUT_LEN;

/// The folder of compiled modules.
pub(super) struct ArtifactCache {
    dir: PathBuf,
    key: [u8; blake3::KEY_LEN],
    /// What the code depends on besides the module: wasmtime's version, its settings, the processor.
    compatibility: blake3::Hash,
    max_bytes: u64,
}

impl ArtifactCache {
    /// Opens or creates the folder `dir`, with a limit of `max_bytes` of code.
    pub(super) fn open(dir: &Path, engine: &Engine, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        make_private(dir)?;
        let mut hasher = BytesHasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir: dir.to_owned(), key: key_of(dir)?, compatibility: hasher.0.finalize(), max_bytes })
    }

    /// The compiled form of the module with this hash, if it is here and genuine.
    pub(super) fn load(&self, engine: &Engine, hash: &[u8; 32]) -> Option<Module> {
        let path = self.path(hash);
        let file = fs::read(&path).ok()?;
        let module = match file.split_first_chunk::<TAG>() {
            Some((tag, code)) if self.tag(hash, code) == *tag => deserialize(engine, code),
            _ => Err(wasmtime::Error::msg("its content does not match its hash")),
        };
        match module {
            Ok(module) => {
                // The time of use orders the eviction; if it cannot be set, the order is merely worse.
                let _ = File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
                Some(module)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), "dropping a compiled module: {error:#}");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps `module`. The file appears whole or not at all.
    pub(super) fn store(&self, hash: &[u8; 32], module: &Module) -> io::Result<()> {
        let code = module.serialize().map_err(io::Error::other)?;
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.tag(hash, &code))?;
        file.write_all(&code)?;
        file.persist(self.path(hash)).map_err(|error| error.error)?;
        self.evict()
    }

    /// Removes the files that were used longest ago until the rest fits.
    fn evict(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(&self.dir)?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let found = fs::metadata(&path).ok()?;
                // Files left half written by a killed process are evicted with the rest.
                let evictable = path.file_name().is_some_and(|name| name != KEY_FILE);
                evictable.then_some((found.modified().ok()?, found.len(), path))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= self.max_bytes {
                break;
            }
            match fs::remove_file(path) {
                // Another node that shares the folder has already removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            total -= size;
        }
        Ok(())
    }

    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        let compatibility = &self.compatibility.to_hex()[..16];
        self.dir.join(format!("{}-{compatibility}.{EXTENSION}", hex::encode(hash)))
    }

    fn tag(&self, hash: &[u8; 32], code: &[u8]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(hash).update(self.compatibility.as_bytes()).update(code);
        *hasher.finalize().as_bytes()
    }
}

/// The module whose compiled form is `code`, which the caller knows to be what `Module::serialize` gave. That it comes
/// from an engine of the same version, settings and processor is checked.
#[allow(unsafe_code)]
pub(super) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: `code` must be the output of `Module::serialize`. There are two callers. Only `ArtifactCache::store`
    // writes files whose tag verifies, since only it has the key, and `ArtifactCache::load` verified the tag over these
    // very bytes in memory, which nobody changes afterwards. The runtime passes what a compiling process wrote, which
    // is this very program; `child` says what that rests on. wasmtime itself checks that its version, settings and
    // processor are the same.
    unsafe { Module::deserialize(engine, code) }
}

/// The folder's key, generated at the first use, and again if it is damaged: files written under the old one are then
/// dropped when they are met. Two nodes that start at once agree on whichever key is there first.
fn key_of(dir: &Path) -> io::Result<[u8; blake3::KEY_LEN]> {
    let path = dir.join(KEY_FILE);
    if fs::metadata(&path).is_ok_and(|found| found.len() != blake3::KEY_LEN as u64) {
        tracing::warn!(path = %path.display(), "the key of the compiled modules is damaged and is replaced");
        fs::remove_file(&path)?;
    }
    // Temporary files are made with mode 0600, and belong to this user.
    let mut file = NamedTempFile::new_in(dir)?;
    check_owner(dir, file.as_file())?;
    if !path.exists() {
        file.write_all(&rand::random::<[u8; blake3::KEY_LEN]>())?;
        file.as_file().sync_all()?;
        if let Err(error) = file.persist_noclobber(&path)
            && error.error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error.error);
        }
    } else {
        check_owner(&path, file.as_file())?;
    }
    fs::read(&path)?.try_into().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{KEY_FILE} is damaged; remove the folder: everything in it is regenerated"),
        )
    })
}

/// Removes all permissions of other users; fails if this user may not.
#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// Fails if `path` belongs to another user than `ours`, a file just created: its owner would know the key.
#[cfg(unix)]
fn check_owner(path: &Path, ours: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    if fs::symlink_metadata(path)?.uid() == ours.metadata()?.uid() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
}

/// On other systems, a user's own folders are private by default.
#[cfg(not(unix))]
fn make_private(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// On other systems, a user's own folders are private by default.
#[cfg(not(unix))]
fn check_owner(_path: &Path, _ours: &File) -> io::Result<()> {
    Ok(())
}

/// Lets a `Hash` value be hashed by blake3, whose result is the same in every process.
struct BytesHasher(blake3::Hasher);

impl Hasher for BytesHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        self.0.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }
}
