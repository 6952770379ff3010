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

/// Where it is found.
pub(super) const PATH: &str = "/ws";
/// The longest message taken. A tab gathers what it has to say while its browser sends, which holds a mebibyte.
const MESSAGE_BYTES: usize = 2 << 20;

/// A connection: its two ends, and its place among those that are served.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) here: SocketAddr,
    pub(super) there: SocketAddr,
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

/// Takes a peer in.
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

/// The bytes in a socket's messages.
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
