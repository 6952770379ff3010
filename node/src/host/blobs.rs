//! Reading and writing of blobs without blocking the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::Hash;
use webmesh_protocol::io::{Event, Token};
use webmesh_protocol::message::Response;

use crate::driver::HostOutput;
use crate::platform;
use crate::store::blobs::Blobs;
use crate::store::source::{BlobError, BlobSource};

/// Looks for a blob on this peer.
pub(super) fn load(blobs: &Arc<Blobs>, sender: &mpsc::Sender<HostOutput>, hash: Hash) {
    let (blobs, sender) = (blobs.clone(), sender.clone());
    platform::spawn_blocking(move || {
        let bytes = look(&blobs, &sender, &hash);
        send(&sender, HostOutput::Event(Event::BlobLoaded { hash, bytes }));
    });
}

/// Answers a peer's request for a blob.
pub(super) fn serve(blobs: &Arc<Blobs>, sender: &mpsc::Sender<HostOutput>, token: Token, hash: Hash) {
    let (blobs, sender) = (blobs.clone(), sender.clone());
    platform::spawn_blocking(move || {
        let output = match look(&blobs, &sender, &hash) {
            Some(body) => HostOutput::Respond { token, response: Response::Body, body },
            None => HostOutput::Respond { token, response: Response::Missing, body: Bytes::new() },
        };
        send(&sender, output);
    });
}

/// Blobs being written to disk. They are found as if they were already there: a task may need its module at once.
#[derive(Debug, Default)]
pub(super) struct Arriving(Mutex<HashMap<Hash, Bytes>>);

impl Arriving {
    /// If another holder panics, the map is still usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobSource for Arriving {
    fn load(&self, hash: &Hash) -> Result<Option<Bytes>, BlobError> {
        Ok(self.lock().get(hash).cloned())
    }
}

/// Stores a blob. Its bytes have that hash: the network checked them on arrival. If it cannot be stored, the cost is
/// only that the next job transfers it again.
pub(super) fn store(arriving: &Arc<Arriving>, blobs: &Arc<Blobs>, hash: Hash, bytes: Bytes) {
    if arriving.lock().insert(hash, bytes.clone()).is_some() {
        return; // already being written
    }
    let (arriving, blobs) = (arriving.clone(), blobs.clone());
    platform::spawn_blocking(move || {
        if let Err(why) = blobs.put(&hash, &bytes) {
            tracing::warn!("cannot store a blob: {why}");
        }
        arriving.lock().remove(&hash);
    });
}

fn look(blobs: &Blobs, sender: &mpsc::Sender<HostOutput>, hash: &Hash) -> Option<Bytes> {
    match blobs.load(hash) {
        Ok(bytes) => bytes,
        Err(BlobError::Input { index, why }) => {
            send(sender, HostOutput::Event(Event::InputLost { index, why }));
            None
        }
        Err(why) => {
            tracing::warn!("cannot read a blob: {why}");
            None
        }
    }
}

/// Fails only when the driver has ended.
fn send(sender: &mpsc::Sender<HostOutput>, output: HostOutput) {
    let _ = sender.blocking_send(output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blobs::BlobStore;

    #[tokio::test]
    async fn a_blob_is_found_while_it_is_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::new(BlobStore::new(dir.path().to_owned(), 1 << 20).unwrap()));
        let arriving = Arc::new(Arriving::default());
        blobs.attach(arriving.clone());
        let bytes = Bytes::from(vec![7; 100_000]);
        let hash = Hash::of(&bytes);
        store(&arriving, &blobs, hash, bytes.clone());
        let written = async {
            loop {
                assert_eq!(blobs.load(&hash).unwrap(), Some(bytes.clone()), "it is found all the while");
                if arriving.lock().is_empty() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), written).await.expect("it is written");
        assert_eq!(BlobStore::new(dir.path().to_owned(), 1 << 20).unwrap().get(&hash).unwrap(), Some(bytes));
    }
}
