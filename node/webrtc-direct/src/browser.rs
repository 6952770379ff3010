//! The browser's dialer, on the browser's own `RTCPeerConnection`.
//!
//! A tab can dial but not listen. It dials by version 2 and, where a server does not answer to that, by version 1 as
//! well (see [`Transport`]). Nothing here asks for a `window`, though today's browsers have `RTCPeerConnection` on
//! pages only.

mod channel;
mod connection;
mod dial;
mod js;
mod limits;
mod liveness;
mod stream;
mod transport;

pub use connection::{Connection, ConnectionError};
pub use dial::Error;
pub use js::JsError;
pub use stream::Substream;
pub use transport::{Config, Transport};
