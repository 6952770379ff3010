//! Compile requests, passed to the compiler that this peer was started with, if any.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::PeerKey;
use webmesh_protocol::io::Token;
use webmesh_protocol::message::Response;

use crate::driver::{HostOutput, RequesterGone};

/// The answer to a compile request, with its body.
pub type CompileAnswer = Pin<Box<dyn Future<Output = (Response, Bytes)> + Send>>;

/// A compiler. The node's library does not depend on a particular one: its binaries provide it.
pub trait CompileService: Send + Sync {
    /// Compiles a source for a peer, or returns the error. Dropping the future withdraws the request.
    fn compile(&self, from: PeerKey, name: String, source: Bytes) -> CompileAnswer;
}

impl<F: Fn(PeerKey, String, Bytes) -> CompileAnswer + Send + Sync> CompileService for F {
    fn compile(&self, from: PeerKey, name: String, source: Bytes) -> CompileAnswer {
        self(from, name, source)
    }
}

/// Compiles, and answers when that is done, unless the requester goes away first. The service limits how many wait.
pub(super) fn answer(
    compiled: CompileAnswer,
    sender: mpsc::Sender<HostOutput>,
    token: Token,
    requester_gone: RequesterGone,
) {
    tokio::spawn(async move {
        tokio::select! {
            (response, body) = compiled => {
                // Fails only when the driver has ended.
                let _ = sender.send(HostOutput::Respond { token, response, body }).await;
            }
            () = requester_gone => {}
        }
    });
}
