//! What the engine asks of the network.

use bytes::Bytes;

use super::{RequestId, Token};
use crate::id::PeerKey;
use crate::message::{Gossip, Request, Response, Topic};

/// Something for the network to do.
#[derive(Debug)]
pub enum NetAction {
    /// Publish a message to a topic.
    Publish {
        /// The topic.
        topic: Topic,
        /// The message.
        message: Gossip,
    },
    /// Subscribe to a topic, or unsubscribe.
    Subscribe {
        /// The topic.
        topic: Topic,
        /// Whether its messages are wanted.
        on: bool,
    },
    /// Send a request; answered by [`Event::Response`](super::Event::Response) with the same id. A request to this peer
    /// itself comes back as an [`Event::Request`](super::Event::Request).
    Request {
        /// Names the request in its response.
        id: RequestId,
        /// The peer to ask, which may be this one.
        to: PeerKey,
        /// The request.
        request: Request,
        /// The bytes that follow it, in parts, so that they need not be copied together.
        body: Vec<Bytes>,
    },
    /// Answer a request.
    Respond {
        /// The request, as [`Event::Request`](super::Event::Request) named it.
        token: Token,
        /// The answer.
        response: Response,
        /// The bytes that follow it.
        body: Bytes,
    },
    /// Note addresses of a peer that another peer told of.
    Learn {
        /// The peer that they lead to.
        peer: PeerKey,
        /// Multiaddresses; at most [`limits::ADDRESSES`](crate::limits::ADDRESSES).
        addresses: Vec<String>,
    },
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no connection, and none could be made.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The request timed out.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer speaks another protocol, or its answer cannot be decoded.
    #[error("the peer does not speak our protocol: {0}")]
    Protocol(String),
    /// The bytes do not have the hash that was asked for.
    #[error("the peer sent bytes that are not what was asked for")]
    Corrupt,
}
