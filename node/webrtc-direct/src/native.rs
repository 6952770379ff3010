//! The native transport: a listener and a dialer on UDP sockets.
//!
//! Each listen address has one socket and one task, which demultiplexes the datagrams of its connections. Each
//! connection has one task, which runs its [`session`]. Polling the swarm only takes the results of these tasks.

mod certificate;
mod channels;
mod config;
mod connection;
mod dcep;
mod demux;
mod driver;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ids;
mod listener;
mod packet;
mod resets;
mod rtt;
mod sctp;
mod session;
mod socket;
mod stun;
mod transport;

pub use certificate::{Certificate, CertificateError};
pub(crate) use config::ListenConfig;
pub use connection::{Connection, Substream};
pub use transport::Transport;
