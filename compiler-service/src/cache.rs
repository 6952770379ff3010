//! Cache of compiled modules on disk, keyed by the hash of everything that they depend on; bounded, with LRU eviction.
//!
//! An entry is one file, `<key>.module`: the blake3 hash of the rest, the length of the diagnostics, the diagnostics,
//! the module. It is written to a temporary file and renamed, so that a reader sees all or nothing, and verified when
//! read, so that a damaged entry is a miss. Several processes may share a folder; each bounds what it knows of it.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

/// Key of an entry: the hash of everything that the module depends on.
pub(crate) type Key = blake3::Hash;

const SUFFIX: &str = "module";

/// Bytes before the diagnostics: a hash and a `u32`.
const HEADER: usize = blake3::OUT_LEN + 4;

/// Minimum size that an entry counts for, in bytes: one block of the file system.
const BLOCK: u64 = 4096;

/// A module and the warnings of its compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) wasm: Bytes,
    pub(crate) diagnostics: String,
}

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    bound: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<Key, Known>,
    bytes: u64,
}

#[derive(Debug)]
struct Known {
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Opens the cache in `folder`, which is created if it does not exist, and evicts entries beyond `bound` bytes.
    pub(crate) fn open(folder: &Path, bound: u64) -> io::Result<Self> {
        // Only this user may read what others had compiled.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut index = Index::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(key) = key_of(&entry.path()) else {
                continue;
            };
            let about = entry.metadata()?;
            index.insert(key, about.len(), about.modified()?);
        }
        let cache = Self { folder: folder.to_path_buf(), bound, index: Mutex::new(index) };
        // Fails now, rather than at the first entry, if the folder is not writable.
        tempfile::tempfile_in(folder)?;
        cache.evict();
        Ok(cache)
    }

    /// The entry of `key`; none if it is absent or damaged.
    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        let path = self.path(key);
        let read = fs::read(&path);
        let entry = read.as_ref().ok().and_then(|bytes| decode(bytes));
        if let Some(entry) = entry {
            let now = SystemTime::now();
            self.lock().insert(*key, read.map_or(0, |bytes| bytes.len() as u64), now);
            // Affects only the order of eviction after a restart.
            if let Err(why) = File::open(&path).and_then(|file| file.set_times(FileTimes::new().set_modified(now))) {
                tracing::debug!(path = %path.display(), %why, "cannot store the time of last use");
            }
            return Some(entry);
        }
        self.lock().remove(key);
        match read {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => {
                tracing::warn!(path = %path.display(), %why, "cannot read a cached module")
            }
            Ok(_) => {
                tracing::warn!(path = %path.display(), "removing a damaged module from the cache");
                remove(&path);
            }
        }
        None
    }

    /// Stores `entry`, and evicts the least recently used ones while the bound is exceeded.
    pub(crate) fn put(&self, key: &Key, entry: &Entry) -> io::Result<()> {
        let length = u32::try_from(entry.diagnostics.len()).map_err(io::Error::other)?;
        let mut rest = blake3::Hasher::new();
        rest.update(&length.to_le_bytes()).update(entry.diagnostics.as_bytes()).update(&entry.wasm);
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(rest.finalize().as_bytes())?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(entry.diagnostics.as_bytes())?;
        file.write_all(&entry.wasm)?;
        file.persist(self.path(key)).map_err(|failed| failed.error)?;
        let bytes = (HEADER + entry.diagnostics.len() + entry.wasm.len()) as u64;
        self.lock().insert(*key, bytes, SystemTime::now());
        self.evict();
        Ok(())
    }

    fn evict(&self) {
        let mut index = self.lock();
        if index.bytes <= self.bound {
            return;
        }
        let mut oldest: Vec<(SystemTime, Key)> = index.entries.iter().map(|(key, known)| (known.used, *key)).collect();
        oldest.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in oldest {
            if index.bytes <= self.bound {
                break;
            }
            index.remove(&key);
            remove(&self.path(&key));
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{key}.{SUFFIX}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        // A panic elsewhere leaves at worst a wrong total, which the next start corrects.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn insert(&mut self, key: Key, bytes: u64, used: SystemTime) {
        self.remove(&key);
        let bytes = bytes.max(BLOCK);
        self.bytes += bytes;
        self.entries.insert(key, Known { bytes, used });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(known) = self.entries.remove(key) {
            self.bytes -= known.bytes;
        }
    }
}

fn key_of(path: &Path) -> Option<Key> {
    let name = path.file_name()?.to_str()?;
    Key::from_hex(name.strip_suffix(SUFFIX)?.strip_suffix('.')?).ok()
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let (hash, rest) = bytes.split_at_checked(blake3::OUT_LEN)?;
    if blake3::hash(rest).as_bytes() != hash {
        return None;
    }
    let (length, rest) = rest.split_first_chunk()?;
    let (diagnostics, wasm) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let diagnostics = String::from_utf8(diagnostics.to_vec()).ok()?;
    Some(Entry { wasm: Bytes::copy_from_slice(wasm), diagnostics })
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        // Another process has removed it already.
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => {
            tracing::warn!(path = %path.display(), %why, "cannot remove a cached module")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fill: u8, bytes: usize) -> Entry {
        Entry { wasm: vec![fill; bytes].into(), diagnostics: "a.cpp:1:1: warning: …\n".to_owned() }
    }

    fn key(of: u8) -> Key {
        blake3::hash(&[of])
    }

    #[test]
    fn an_entry_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        Cache::open(folder.path(), 1 << 20).unwrap().put(&key(1), &entry(1, 5000)).unwrap();
        let again = Cache::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(again.get(&key(1)), Some(entry(1, 5000)));
        assert_eq!(again.get(&key(2)), None);
    }

    #[test]
    fn a_damaged_entry_is_a_miss_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 1 << 20).unwrap();
        cache.put(&key(1), &entry(1, 5000)).unwrap();
        let path = cache.path(&key(1));
        let mut bytes = fs::read(&path).unwrap();
        bytes[4000] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(&key(1)), None);
        assert!(!path.exists());
        fs::write(&path, b"short").unwrap();
        assert_eq!(cache.get(&key(1)), None);
    }

    #[test]
    fn the_least_recently_used_entry_is_evicted_when_the_bound_is_exceeded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 25_000).unwrap();
        for at in 1..=3 {
            cache.put(&key(at), &entry(at, 7000)).unwrap();
        }
        assert!(cache.get(&key(1)).is_some());
        cache.put(&key(4), &entry(4, 7000)).unwrap();
        assert_eq!(cache.get(&key(2)), None, "the least recently used");
        for at in [1, 3, 4] {
            assert!(cache.get(&key(at)).is_some(), "{at}");
        }
        let left: u64 = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(left <= 25_000, "{left} bytes on disk");
    }

    #[test]
    fn only_its_owner_may_read_the_cache() {
        use std::os::unix::fs::PermissionsExt;
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("data/modules");
        Cache::open(&folder, 1 << 20).unwrap().put(&key(1), &entry(1, 9)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&above.path().join("data")), mode(&folder)), (0o700, 0o700));
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| mode(&file.unwrap().path())).collect();
        assert_eq!(files, [0o600]);
    }

    #[test]
    fn opening_with_a_smaller_bound_evicts_entries() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), 1 << 20).unwrap();
        for at in 1..=10 {
            cache.put(&key(at), &entry(at, 9000)).unwrap();
        }
        Cache::open(folder.path(), 20_000).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
