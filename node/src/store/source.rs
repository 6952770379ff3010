//! Sources of blobs.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use webmesh_protocol::Hash;

use crate::advice::for_disk;

/// Why a blob was not stored, or not found.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another hash. Their sender is to blame.
    #[error("a blob has the hash {actual} instead of {wanted}")]
    WrongHash {
        /// The hash that they should have.
        wanted: Hash,
        /// The hash that they have.
        actual: Hash,
    },
    /// The blob alone exceeds the cache's limit.
    #[error("a blob of {bytes} bytes does not fit in a cache of {bound} bytes; make the cache larger")]
    TooLarge {
        /// The blob's length in bytes.
        bytes: u64,
        /// The cache's limit in bytes.
        bound: u64,
    },
    /// The disk is full, or the folder cannot be used.
    #[error("the blob cache in {}: {source}; {}", dir.display(), for_disk(source, "choose another folder with --data"))]
    Disk {
        /// The cache's folder.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is an input of this peer's own job, and its files can no longer be read.
    #[error("{why}")]
    Input {
        /// The index that lists it: it names the job's inputs.
        index: Hash,
        /// The file and its error.
        why: String,
    },
}

/// A source of blobs.
pub trait BlobSource: Send + Sync {
    /// The blob with this hash, verified, or `None` if it is not here.
    ///
    /// # Errors
    /// It should be here but cannot be read: a file that vanished, a failing disk.
    fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError>;
}
