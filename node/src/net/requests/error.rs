//! Why a frame could not be read or written.

use std::io;

use webmesh_protocol::codec::DecodeError;
use webmesh_protocol::limits::REQUEST_TIMEOUT;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream broke or ended.
    #[error("the stream broke: {0}")]
    Broken(io::Error),
    /// No byte moved for too long, or too few on the average.
    #[error("nothing moved for {} s, or too little all along", REQUEST_TIMEOUT.as_secs())]
    Stalled,
    /// It claims a length that no honest frame has. What follows on the stream cannot be understood.
    #[error("a frame with a {what} of {claimed} bytes; at most {max} are taken")]
    TooLong {
        /// Head or body.
        what: &'static str,
        /// The length claimed.
        claimed: u64,
        /// The length allowed.
        max: usize,
    },
    /// A piece of the body is too long, too short, or does not decompress. Nor can what follows be understood.
    #[error("a piece of a body is not what its length says")]
    Piece,
    /// The head does not decode. The stream itself is in order.
    #[error(transparent)]
    Head(#[from] DecodeError),
}
