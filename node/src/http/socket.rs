//! Peers over WebSocket: the way into the mesh for tabs whose network drops UDP.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{SinkExt, StreamExt};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use rw_stream_sink::RwStreamSink;

use super::Served;
use super::places::{CONNECTIONS, Place};
use crate::platform::Bytestream;

/// Path of the WebSocket endpoint.
pub(super) const PATH: &str = "/ws";
/// Size limit of a message. A tab gathers outgoing data while its browser sends, which buffers a mebibyte.
const MESSAGE_BYTES: usize = 2 << 20;
/// Accepted peers that wait for the swarm, at most: half of the connections, so that the page is served meanwhile.
pub(super) const WAITING: usize = CONNECTIONS / 2;
/// How long each waits. The swarm takes them at once unless it is overloaded.
const HAND_OVER: Duration = Duration::from_secs(10);

/// A connection: its two addresses, and its place among the connections.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) here: SocketAddr,
    pub(super) there: SocketAddr,
    pub(super) place: Arc<Place>,
}

/// Accepts a peer.
pub(super) async fn serve(
    State(served): State<Served>,
    Extension(Connection { here, there, place }): Extension<Connection>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(waiting) = served.sockets.clone().try_acquire_owned() else {
        let later = [(header::RETRY_AFTER, "1")];
        let why = "as many peers as may be are waiting to be let in by this node; try again in a second\n";
        return (StatusCode::SERVICE_UNAVAILABLE, later, why).into_response();
    };
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    // Counts as a request until the swarm has it.
    let answering = place.activity().answering();
    upgrade.on_upgrade(move |socket| async move {
        let acceptor = served.node.net().acceptor();
        let handed_over = acceptor.hand_over(stream(socket), address(here), address(there));
        if tokio::time::timeout(HAND_OVER, handed_over).await.is_err() {
            tracing::debug!("a peer over WebSocket was dropped: the swarm does not accept connections");
        }
        // From here on the swarm counts it.
        drop((place, answering, waiting));
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
