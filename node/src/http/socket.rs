//! Peers over WebSocket: the way into the mesh for tabs whose network drops UDP.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use rw_stream_sink::RwStreamSink;
use tokio::sync::OwnedSemaphorePermit;

use super::Served;
use crate::platform::Bytestream;

/// Path of the WebSocket endpoint.
pub(super) const PATH: &str = "/ws";
/// Size limit of a message. A tab gathers outgoing data while its browser sends, which buffers a mebibyte.
const MESSAGE_BYTES: usize = 2 << 20;

/// A connection: its two addresses, and its slot among the connections.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) here: SocketAddr,
    pub(super) there: SocketAddr,
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

/// Accepts a peer.
pub(super) async fn serve(
    State(served): State<Served>,
    Extension(Connection { here, there, place }): Extension<Connection>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    upgrade.on_upgrade(move |socket| async move {
        served.node.net().acceptor().hand_over(stream(socket), address(here), address(there)).await;
        // From here on the swarm counts it.
        drop(place);
    })
}

fn address(end: SocketAddr) -> Multiaddr {
    Multiaddr::from(end.ip()).with(Protocol::Tcp(end.port())).with(Protocol::Ws(PATH.into()))
}

/// The byte stream in a socket's messages.
fn stream(socket: WebSocket) -> impl Bytestream {
    let bytes = socket.filter_map(|message| {
        ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(Vec::from(bytes))),
            Ok(_) => None,
            Err(why) => Some(Err(io::Error::other(why))),
        })
    });
    let both = bytes.with(|bytes: Vec<u8>| ready(Ok::<_, axum::Error>(Message::Binary(bytes.into()))));
    RwStreamSink::new(both.sink_map_err(io::Error::other))
}
