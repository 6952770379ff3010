//! Blobs read and written where they hold up nobody.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::Hash;
use webmesh_protocol::io::{Event, Token};
use webmesh_protocol::message::Response;

use crate::driver::HostOutput;
use crate::platform;
use crate::store::blobs::{BlobError, BlobSource, Blobs};

/// Looks for a blob on this peer.
pub(super) fn load(blobs: &Arc<Blobs>, sender: &mpsc::Sender<HostOutput>, hash: Hash) {
    let (blobs, sender) = (blobs.clone(), sender.clone());
    platform::spawn_blocking(move || {
        let bytes = look(&blobs, &sender, &hash);
        tell(&sender, HostOutput::Event(Event::BlobLoaded { hash, bytes }));
    });
}

/// Answers a peer that wants a blob.
pub(super) fn serve(blobs: &Arc<Blobs>, sender: &mpsc::Sender<HostOutput>, token: Token, hash: Hash) {
    let (blobs, sender) = (blobs.clone(), sender.clone());
    platform::spawn_blocking(move || {
        let output = match look(&blobs, &sender, &hash) {
            Some(body) => HostOutput::Respond { token, response: Response::Body, body },
            None => HostOutput::Respond { token, response: Response::Missing, body: Bytes::new() },
        };
        tell(&sender, output);
    });
}

/// Keeps a blob. That it cannot be kept costs the next job a transfer, no more.
pub(super) fn store(blobs: &Arc<Blobs>, hash: Hash, bytes: Bytes) {
    if let Err(why) = blobs.put(&hash, &bytes) {
        tracing::warn!("a blob is not kept: {why}");
    }
}

fn look(blobs: &Blobs, sender: &mpsc::Sender<HostOutput>, hash: &Hash) -> Option<Bytes> {
    match blobs.load(hash) {
        Ok(bytes) => bytes,
        Err(BlobError::Input { index, why }) => {
            tell(sender, HostOutput::Event(Event::InputLost { index, why }));
            None
        }
        Err(why) => {
            tracing::warn!("a blob cannot be read: {why}");
            None
        }
    }
}

/// Fails only when the driver has ended.
fn tell(sender: &mpsc::Sender<HostOutput>, output: HostOutput) {
    let _ = sender.blocking_send(output);
}
