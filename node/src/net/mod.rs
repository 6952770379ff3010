//! The libp2p swarm behind a small interface.
//!
//! [`Net::start`] runs libp2p on its own task. Network events come out of one bounded channel as [`NetEvent`]s;
//! commands go in through [`Net`], a cheap handle that can be cloned.
//!
//! ```text
//! let identity = identity::to_libp2p(&identity::load_or_create(&data_dir)?);   // or identity::generate()
//! let (net, mut events) = Net::start(NetConfig::new(identity)).await?;
//! net.subscribe(Topic::Jobs, true).await;
//! net.publish(Topic::Jobs, &gossip).await;
//! net.request(id, peer, request, vec![body]);                     // -> NetEvent::Response { id, .. }
//! net.respond(token, response, vec![body]);                       // <- NetEvent::Request { token, .. }
//! while let Some(event) = events.recv().await { .. }
//! net.shutdown().await;
//! ```
//!
//! What the driver may rely on:
//!
//! - [`NetEvent::Connected`] comes once per peer, at its first connection and before any request or gossip of
//!   it; [`NetEvent::Disconnected`] when the last connection is gone. A request that was being read at that
//!   moment may still come after it.
//! - Every [`Net::request`] gets exactly one [`NetEvent::Response`], within
//!   [`REQUEST_TIMEOUT`](webmesh_protocol::limits::REQUEST_TIMEOUT) of the last byte that moved, for a compile
//!   [`COMPILE_TIMEOUT`](webmesh_protocol::limits::COMPILE_TIMEOUT).
//! - A request to a peer without a connection dials it at any known address (see [`Net::add_address`]).
//! - A request to this peer itself comes back as a [`NetEvent::Request`] without being encoded.
//! - The body of an answer to [`Request::Blob`] has the hash that was asked for.
//! - Back-pressure applies to peers only: when the driver does not read its events, incoming bodies are not read, and
//!   the senders slow down. Methods of [`Net`] never wait for the event channel, so a driver may call them from the
//!   loop that reads it.

mod address_book;
mod behaviour;
mod bootstrap;
mod budget;
mod checked_file;
mod config;
mod counters;
#[cfg_attr(target_family = "wasm", allow(dead_code, reason = "a browser decides what a tab dials"))]
pub(crate) mod dial_permits;
mod error;
mod gossip;
mod handle;
pub mod identity;
mod keys;
pub mod limits;
mod peers_file;
mod places;
pub(crate) mod prefix;
mod rates;
mod requests;
mod status;
mod streams;
mod swarm;
mod typed_address;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use libp2p::Multiaddr;
use webmesh_protocol::PeerKey;
use webmesh_protocol::io::{RequestError, RequestId, Token};
use webmesh_protocol::membership::Network;
use webmesh_protocol::message::{Gossip, Request, Response};

pub use address_book::{is_public, other_transport};
#[cfg(not(target_family = "wasm"))]
pub(crate) use behaviour::PROTOCOL_VERSION;
pub use config::NetConfig;
pub use counters::Counters;
pub use error::NetError;
pub use handle::Net;
pub use keys::{peer_id_of, peer_key_of};
#[cfg(not(target_family = "wasm"))]
pub(crate) use rates::Bucket;
pub use status::PeerLink;
pub use typed_address::parse_address;

/// An event from the network.
#[derive(Debug)]
pub enum NetEvent {
    /// The first connection to a peer was made.
    Connected {
        /// The peer.
        peer: PeerKey,
        /// The network of its address; `None` if a relay hides it.
        network: Option<Network>,
    },
    /// The last connection to a peer closed.
    Disconnected {
        /// The peer.
        peer: PeerKey,
    },
    /// A ping was answered.
    Rtt {
        /// The peer that answered.
        peer: PeerKey,
        /// Round-trip time.
        rtt: Duration,
    },
    /// Gossip arrived: its signature is valid, it decodes, and it came on the right topic.
    Gossip {
        /// The peer that published it, which need not be the one that passed it on.
        from: PeerKey,
        /// The message.
        message: Gossip,
    },
    /// A request of a peer. It is answered by [`Net::respond`] while the peer waits: for
    /// [`REQUEST_TIMEOUT`](webmesh_protocol::limits::REQUEST_TIMEOUT), for a compile
    /// [`COMPILE_TIMEOUT`](webmesh_protocol::limits::COMPILE_TIMEOUT).
    Request {
        /// The requester.
        from: PeerKey,
        /// Identifies the request in the call to [`Net::respond`].
        token: Token,
        /// The request.
        request: Request,
        /// Its body; empty if it has none.
        body: Bytes,
    },
    /// A request of this peer ended.
    Response {
        /// The id passed to [`Net::request`].
        id: RequestId,
        /// The answer and its body, or why there is none.
        outcome: Result<(Response, Bytes), RequestError>,
    },
    /// A peer speaks another protocol, or another version of ours. Its connection is closed.
    Incompatible {
        /// The peer.
        peer: PeerKey,
        /// A message for the user: both versions, and what to do.
        why: String,
    },
    /// This peer listens on one more address.
    Listening {
        /// The address, with this peer's id at its end.
        address: Multiaddr,
    },
    /// This peer no longer listens on an address.
    NotListening {
        /// The address, with this peer's id at its end.
        address: Multiaddr,
    },
}
