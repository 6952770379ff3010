//! WebRTC-direct for libp2p, versions 1 and 2, for native programs and browser tabs.
//!
//! A server listens on UDP at `/ip4/…/udp/…/webrtc-direct/certhash/…`. Browser tabs and native peers dial that address,
//! with no certificate authority and no signalling server. The protocol is libp2p's
//! [webrtc-direct](https://github.com/libp2p/specs/blob/master/webrtc/webrtc-direct.md).
//!
//! [`Transport`] is a [`libp2p_core::Transport`] on both targets, with one [`Config`] and one [`Error`]. Natively it
//! listens and dials; in a browser it dials. Both speak Noise and carry streams already, so no upgrade is needed.
//!
//! The modules that both targets share do no IO and read no clock: [`address`], [`fingerprint`], [`credentials`],
//! [`sdp`], [`frame`], [`stream`] and [`noise`].

pub mod address;
mod config;
pub mod credentials;
mod error;
pub mod fingerprint;
pub mod frame;
pub mod limits;
pub mod noise;
pub mod sdp;
pub mod stream;

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
use native as platform;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{Certificate, CertificateError};

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(target_arch = "wasm32")]
use browser as platform;

pub use config::Config;
pub use error::{Error, WrongPeer};
pub use platform::{Connection, Substream, Transport};

#[cfg(all(feature = "fuzzing", not(target_arch = "wasm32")))]
#[doc(hidden)]
pub use native::fuzzing;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
