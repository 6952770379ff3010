//! Why the network could not start, or could not reach an address.

use std::io;
use std::path::PathBuf;

use libp2p::Multiaddr;

use crate::platform;

/// Why the network could not start, or could not reach an address.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The port is already in use.
    #[error(
        "cannot listen on {address}: the port is in use; choose another one with --listen, or stop the program that uses it"
    )]
    PortInUse {
        /// The address asked for.
        address: Multiaddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}: {why}; give an address of this machine, such as /ip4/0.0.0.0/tcp/4001")]
    Listen {
        /// The address asked for.
        address: Multiaddr,
        /// The system's error.
        why: String,
    },
    /// Others cannot reach this peer at the address.
    #[error("others cannot reach this peer at {address}: {why}; expected an address such as /ip4/203.0.113.5/tcp/4001")]
    External {
        /// The address given.
        address: Multiaddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No peer answers there, or not the expected one.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// The address asked for.
        address: Multiaddr,
        /// The reason, and what to do about it.
        why: String,
    },
    /// The identity is not an Ed25519 key.
    #[error("the peer's identity is not an Ed25519 key; delete identity.key to get a new one")]
    Identity,
    /// A file of the data folder cannot be used.
    #[error("cannot use {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason, and what to do about it.
        why: String,
    },
    /// The transports could not be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
    /// The network has been shut down.
    #[error("the network has been shut down")]
    Closed,
}

impl NetError {
    /// The error for a failed listen, from whatever libp2p wrapped around the system's error.
    pub(super) fn listening(address: Multiaddr, error: &(dyn std::error::Error + 'static)) -> Self {
        if io_kind(error) == Some(io::ErrorKind::AddrInUse) {
            NetError::PortInUse { address }
        } else {
            NetError::Listen { address, why: innermost(error) }
        }
    }
}

/// The kind of the innermost I/O error in a chain.
pub(super) fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut kind = None;
    walk(error, |e| {
        if let Some(io) = e.downcast_ref::<io::Error>()
            && io.kind() != io::ErrorKind::Other
        {
            kind = Some(io.kind());
        }
    });
    kind
}

/// Why a name could not be resolved, if an error in the chain says so.
pub(super) fn name_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut found = None;
    walk(error, |e| found = found.take().or_else(|| platform::name_error(e)));
    found
}

/// The message of the innermost error in the chain.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    walk(error, |e| text = e.to_string());
    text
}

/// Visits an error and its causes. An `io::Error` hides the error it wraps from `source`, hence the detour.
fn walk(error: &(dyn std::error::Error + 'static), mut visit: impl FnMut(&(dyn std::error::Error + 'static))) {
    let mut next = Some(error);
    while let Some(error) = next {
        visit(error);
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|e| e as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
}
