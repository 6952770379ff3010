//! The native transport: a listener and a dialer on UDP sockets.
//!
//! Each listen address has one socket and one task, which tells the datagrams of its connections apart; each
//! connection has one task, which runs its [`session`]. The swarm's own poll does no more than take what they have
//! ready.

mod certificate;
mod channels;
mod connection;
mod dcep;
mod demux;
mod distance;
mod driver;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ids;
mod listener;
mod packet;
mod resets;
mod sctp;
mod session;
mod socket;
mod stun;
mod transport;

pub use certificate::{Certificate, CertificateError};
pub use connection::{Connection, Substream};
pub use error::{Error, WrongPeer};
pub use transport::{Config, Transport};
