//! Why a frame could not be read or written.

use std::io;

use webmesh_protocol::codec::DecodeError;
use webmesh_protocol::limits::REQUEST_TIMEOUT;

/// A frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream broke or ended.
    #[error("the stream broke: {0}")]
    Broken(io::Error),
    /// No bytes arrived for the timeout, or too few on average.
    #[error("no data for {} s, or too little on average", REQUEST_TIMEOUT.as_secs())]
    Stalled,
    /// A length that no honest frame has. The rest of the stream cannot be interpreted.
    #[error("a frame with a {what} of {claimed} bytes; at most {max} are accepted")]
    TooLong {
        /// Head or body.
        what: &'static str,
        /// The length claimed.
        claimed: u64,
        /// The length allowed.
        max: usize,
    },
    /// A piece of the body is too long, too short, or does not decompress. The rest of the stream cannot be
    /// interpreted.
    #[error("a piece of a body does not have the length that it claims")]
    Piece,
    /// The head does not decode. The stream is still usable.
    #[error(transparent)]
    Head(#[from] DecodeError),
}
