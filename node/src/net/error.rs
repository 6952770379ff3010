//! Why the network could not start, or not reach an address.

use std::io;
use std::path::PathBuf;

use libp2p::Multiaddr;

use crate::platform;

/// Why the network could not start, or not reach an address.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Somebody listens there already.
    #[error(
        "cannot listen on {address}: the port is in use; choose another one with --listen, or end the program that has it"
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
        /// What the system said.
        why: String,
    },
    /// Others cannot reach this peer there.
    #[error(
        "{address} is no address for others to reach this peer at: {why}; one looks like /ip4/203.0.113.5/tcp/4001"
    )]
    External {
        /// The address given.
        address: Multiaddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers there, or not the one who should.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// The address asked for.
        address: Multiaddr,
        /// What went wrong with it, and what to do.
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
        /// What is wrong with it, and what to do.
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
    /// What a failed listen means, from whatever libp2p wrapped around the system's error.
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

/// Why a name was not resolved, if an error of a chain says that.
pub(super) fn name_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut found = None;
    walk(error, |e| found = found.take().or_else(|| platform::name_error(e)));
    found
}

/// What the innermost error of a chain says.
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
