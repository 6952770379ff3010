//! Where a blob may be found.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use webmesh_protocol::Hash;

use crate::advice::for_disk;

/// Why a blob was not stored, or not found.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another hash. Whoever sent them is to blame.
    #[error("bytes with the hash {actual} were to be stored as {wanted}")]
    WrongHash {
        /// The hash that they should have.
        wanted: Hash,
        /// The hash that they have.
        actual: Hash,
    },
    /// The blob alone is over the cache's bound.
    #[error("a blob of {bytes} bytes does not fit a cache of {bound}; give it more room")]
    TooLarge {
        /// The blob's length in bytes.
        bytes: u64,
        /// The cache's bound in bytes.
        bound: u64,
    },
    /// The disk is full, or the folder cannot be used.
    #[error("the blob cache in {}: {source}; {}", dir.display(), for_disk(source, "choose another folder with --data"))]
    Disk {
        /// The cache's folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is an input of this peer's own job, and its files cannot be read any more.
    #[error("{why}")]
    Input {
        /// The index that lists it: it names the job's inputs.
        index: Hash,
        /// Which file, and what happened to it.
        why: String,
    },
}

/// A place where blobs may be found.
pub trait BlobSource: Send + Sync {
    /// The blob with this hash, verified, or `None` if it is not here.
    ///
    /// # Errors
    /// It should be here but cannot be had: a file that vanished, a disk that fails.
    fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError>;
}
