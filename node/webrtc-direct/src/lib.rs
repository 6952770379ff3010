//! WebRTC-direct for libp2p, versions 1 and 2, for native programs and for browser tabs.
//!
//! A node listens on UDP at `/ip4/…/udp/…/webrtc-direct/certhash/…`; tabs and other nodes dial that address with
//! no certificate authority and no signalling server. The protocol is libp2p's
//! [webrtc-direct](https://github.com/libp2p/specs/blob/master/webrtc/webrtc-direct.md).
//!
//! What both sides share does no IO and reads no clock: [`address`], [`fingerprint`], [`credentials`], [`sdp`],
//! [`frame`], [`stream`] and [`noise`].
//! On top stand the native transport (a listener and a dialer) and the browser's dialer.

pub mod address;
pub mod credentials;
pub mod fingerprint;
pub mod frame;
pub mod limits;
pub mod noise;
pub mod sdp;
pub mod stream;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{Certificate, CertificateError, Config, Connection, Error, Substream, Transport, WrongPeer};

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(target_arch = "wasm32")]
pub use browser::{Config, Connection, ConnectionError, Error, JsError, Substream, Transport};
#[cfg(all(feature = "fuzzing", not(target_arch = "wasm32")))]
#[doc(hidden)]
pub use native::fuzzing;
