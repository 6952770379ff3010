//! Blobs by hash: a bounded cache on disk, and other sources of blobs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use bytes::Bytes;
use webmesh_protocol::Hash;

use super::source::{BlobError, BlobSource};
use crate::platform::private;

/// Prefix of the names of files being written. Those left by a killed process are removed at the start.
const PART_PREFIX: &str = ".part-";
/// Age at which such a file counts as abandoned: writing a blob takes far less.
const PART_AGE: std::time::Duration = std::time::Duration::from_secs(60);

/// Metadata of a blob on disk.
#[derive(Clone, Copy, Debug)]
struct Held {
    len: u64,
    used: SystemTime,
}

/// Blobs in a folder, one file each, with a limit on their total size in bytes; the least recently used are evicted
/// first.
///
/// Several processes may share a folder: files appear complete or not at all, and a file that another process removed
/// is simply not found.
#[derive(Debug)]
pub struct BlobStore {
    dir: PathBuf,
    max_bytes: u64,
    held: HashMap<Hash, Held>,
    bytes: u64,
}

impl BlobStore {
    /// The store in `dir`, which is created if necessary, with the blobs of earlier runs.
    pub fn new(dir: PathBuf, max_bytes: u64) -> Result<Self, BlobError> {
        let mut store = Self { dir, max_bytes, held: HashMap::new(), bytes: 0 };
        store.scan().map_err(|e| store.disk(e))?;
        store.make_room(0, None);
        Ok(store)
    }

    fn scan(&mut self) -> io::Result<()> {
        private::create_folder(&self.dir)?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Removed meanwhile: another process made room.
            let Ok(meta) = entry.metadata() else { continue };
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if name.starts_with(PART_PREFIX) {
                if used.elapsed().is_ok_and(|age| age > PART_AGE) {
                    remove(&entry.path());
                }
            } else if let (Ok(hash), true) = (name.parse::<Hash>(), meta.is_file()) {
                self.bytes += meta.len();
                self.held.insert(hash, Held { len: meta.len(), used });
            }
        }
        Ok(())
    }

    /// The blob with this hash. A file with different content is removed and not found.
    pub fn get(&mut self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        let path = self.path(hash);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.forget(hash);
                return Ok(None);
            }
            Err(e) => return Err(self.disk(e)),
        };
        if Hash::of(&bytes) != *hash {
            tracing::warn!(path = %path.display(), "a damaged file in the blob cache was removed");
            remove(&path);
            self.forget(hash);
            return Ok(None);
        }
        self.remember(*hash, bytes.len() as u64);
        // Remembered for the next start. If that fails (a read-only disk), the order is merely a little worse.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(bytes.into()))
    }

    /// Stores a blob, after evicting old ones if there is no room. It is stored completely or not at all.
    pub fn put(&mut self, hash: &Hash, bytes: &[u8]) -> Result<(), BlobError> {
        let actual = Hash::of(bytes);
        if actual != *hash {
            return Err(BlobError::WrongHash { wanted: *hash, actual });
        }
        if bytes.len() as u64 > self.max_bytes {
            return Err(BlobError::TooLarge { bytes: bytes.len() as u64, bound: self.max_bytes });
        }
        // The existing file may have been damaged since.
        if self.held.contains_key(hash) && fs::read(self.path(hash)).is_ok_and(|held| held == bytes) {
            self.remember(*hash, bytes.len() as u64);
            return Ok(());
        }
        self.make_room(bytes.len() as u64, Some(hash));
        self.write(hash, bytes).map_err(|e| self.disk(e))?;
        self.remember(*hash, bytes.len() as u64);
        Ok(())
    }

    fn write(&self, hash: &Hash, bytes: &[u8]) -> io::Result<()> {
        let mut part = tempfile::Builder::new().prefix(PART_PREFIX).tempfile_in(&self.dir)?;
        io::Write::write_all(&mut part, bytes)?;
        part.persist(self.path(hash)).map_err(|e| e.error)?;
        Ok(())
    }

    /// Total size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn make_room(&mut self, more: u64, except: Option<&Hash>) {
        if self.bytes + more <= self.max_bytes {
            return;
        }
        let mut oldest: Vec<(SystemTime, Hash)> = self.held.iter().map(|(h, held)| (held.used, *h)).collect();
        oldest.sort_unstable();
        for (_, hash) in oldest {
            if self.bytes + more <= self.max_bytes {
                break;
            }
            if except != Some(&hash) {
                remove(&self.path(&hash));
                self.forget(&hash);
            }
        }
    }

    fn remember(&mut self, hash: Hash, len: u64) {
        self.forget(&hash);
        self.bytes += len;
        self.held.insert(hash, Held { len, used: SystemTime::now() });
    }

    fn forget(&mut self, hash: &Hash) {
        if let Some(held) = self.held.remove(hash) {
            self.bytes -= held.len;
        }
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    fn disk(&self, source: io::Error) -> BlobError {
        BlobError::Disk { dir: self.dir.clone(), source }
    }
}

fn remove(path: &Path) {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), "cannot remove a file of the blob cache: {e}");
    }
}

/// All sources in which this peer looks for a blob: the packs of its own jobs first, then the cache.
pub struct Blobs {
    sources: RwLock<Vec<Arc<dyn BlobSource>>>,
    store: Mutex<BlobStore>,
}

impl Blobs {
    /// With the cache only.
    pub fn new(store: BlobStore) -> Self {
        Self { sources: RwLock::default(), store: Mutex::new(store) }
    }

    /// Adds `source`.
    pub fn attach(&self, source: Arc<dyn BlobSource>) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Looks in `source` no more.
    pub fn detach(&self, source: &Arc<dyn BlobSource>) {
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|other| !Arc::ptr_eq(other, source));
    }

    /// Stores a blob in the cache; see [`BlobStore::put`].
    pub fn put(&self, hash: &Hash, bytes: &[u8]) -> Result<(), BlobError> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).put(hash, bytes)
    }
}

impl BlobSource for Blobs {
    fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner).clone();
        for source in sources {
            if let Some(bytes) = source.load(hash)? {
                return Ok(Some(bytes));
            }
        }
        self.store.lock().unwrap_or_else(PoisonError::into_inner).get(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8, len: usize) -> (Hash, Vec<u8>) {
        let bytes = vec![n; len];
        (Hash::of(&bytes), bytes)
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_blob_outlives_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let (hash, bytes) = blob(1, 100);
        BlobStore::new(dir.path().to_owned(), 1000).unwrap().put(&hash, &bytes).unwrap();
        let mut again = BlobStore::new(dir.path().to_owned(), 1000).unwrap();
        assert_eq!(again.get(&hash).unwrap().unwrap(), bytes);
        assert_eq!(again.get(&Hash::of(b"other")).unwrap(), None);
        assert_eq!(again.bytes(), 100);
    }

    #[test]
    fn the_least_recently_used_blob_is_evicted_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = BlobStore::new(dir.path().to_owned(), 250).unwrap();
        let blobs: Vec<_> = (0..3).map(|n| blob(n, 100)).collect();
        store.put(&blobs[0].0, &blobs[0].1).unwrap();
        store.put(&blobs[1].0, &blobs[1].1).unwrap();
        store.get(&blobs[0].0).unwrap().unwrap();
        store.put(&blobs[2].0, &blobs[2].1).unwrap();
        assert!(store.get(&blobs[1].0).unwrap().is_none());
        assert!(store.get(&blobs[0].0).unwrap().is_some() && store.get(&blobs[2].0).unwrap().is_some());
        assert_eq!((files(dir.path()), store.bytes()), (2, 200));
        // A smaller limit at the next start applies at once.
        assert_eq!(BlobStore::new(dir.path().to_owned(), 150).unwrap().bytes(), 100);
    }

    #[test]
    fn a_damaged_file_is_not_found_and_can_be_stored_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = BlobStore::new(dir.path().to_owned(), 1000).unwrap();
        let (hash, bytes) = blob(1, 100);
        store.put(&hash, &bytes).unwrap();
        fs::write(dir.path().join(hash.to_string()), b"damaged").unwrap();
        assert_eq!(store.get(&hash).unwrap(), None);
        assert_eq!(files(dir.path()), 0);
        store.put(&hash, &bytes).unwrap();
        assert_eq!(store.get(&hash).unwrap().unwrap(), bytes);
    }

    #[test]
    fn storing_a_damaged_blob_again_repairs_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = BlobStore::new(dir.path().to_owned(), 1000).unwrap();
        let (hash, bytes) = blob(1, 100);
        store.put(&hash, &bytes).unwrap();
        fs::write(dir.path().join(hash.to_string()), vec![2; 100]).unwrap();
        store.put(&hash, &bytes).unwrap();
        assert_eq!(store.get(&hash).unwrap().unwrap(), bytes);
    }

    #[test]
    fn bytes_under_a_wrong_name_or_beyond_the_bound_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = BlobStore::new(dir.path().to_owned(), 50).unwrap();
        let wrong = store.put(&Hash::of(b"one"), b"two");
        assert!(matches!(wrong, Err(BlobError::WrongHash { .. })));
        let (hash, bytes) = blob(1, 100);
        assert!(matches!(store.put(&hash, &bytes), Err(BlobError::TooLarge { .. })));
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn a_jobs_own_packs_are_found_without_the_cache() {
        struct Pack;
        impl BlobSource for Pack {
            fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
                Ok((*hash == Hash::of(b"pack")).then(|| Bytes::from_static(b"pack")))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(BlobStore::new(dir.path().to_owned(), 1000).unwrap());
        assert!(blobs.load(&Hash::of(b"pack")).unwrap().is_none());
        let pack: Arc<dyn BlobSource> = Arc::new(Pack);
        blobs.attach(pack.clone());
        blobs.put(&Hash::of(b"module"), b"module").unwrap();
        assert!(blobs.load(&Hash::of(b"pack")).unwrap().is_some());
        assert!(blobs.load(&Hash::of(b"module")).unwrap().is_some());
        blobs.detach(&pack);
        assert!(blobs.load(&Hash::of(b"pack")).unwrap().is_none());
    }
}
