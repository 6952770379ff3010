//! The browser's dialer, on the browser's own `RTCPeerConnection`.
//!
//! A tab can dial but not listen. It dials with version 2 and, if the server does not answer, with version 1 in
//! parallel (see [`Transport`]). Nothing here uses `window`, although today's browsers offer `RTCPeerConnection` on
//! pages only.

mod channel;
mod connection;
mod dial;
mod js;
mod limits;
mod liveness;
mod stream;
mod transport;

pub use connection::Connection;
pub use stream::Substream;
pub use transport::Transport;

/// A tab cannot listen: nothing to configure.
pub(crate) type ListenConfig = std::marker::PhantomData<()>;
