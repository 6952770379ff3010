//! libp2p's view of the dialer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p_core::Multiaddr;
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_identity::{Keypair, PeerId};
use send_wrapper::SendWrapper;

use super::connection::Connection;
use super::dial::{self, Error};
use crate::address;
use crate::credentials::Version;

/// How the transport behaves.
#[derive(Clone, Debug)]
pub struct Config {
    versions: Vec<Version>,
}

impl Default for Config {
    fn default() -> Self {
        Self { versions: vec![Version::V2, Version::V1] }
    }
}

impl Config {
    /// Versions to dial with, in this order: the next as well if the server does not answer within two seconds.
    pub fn with_dial_versions(mut self, versions: &[Version]) -> Self {
        self.versions = versions.to_vec();
        self
    }
}

/// Dials `/webrtc-direct/certhash/…` from a page.
///
/// Gives authenticated connections that carry streams: no further upgrade is needed.
pub struct Transport {
    keys: Keypair,
    config: Config,
}

impl Transport {
    /// Keys are those of the local peer.
    pub fn new(keys: Keypair, config: Config) -> Self {
        Self { keys, config }
    }
}

impl libp2p_core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = futures::future::Pending<Result<Self::Output, Error>>;
    type Dial = BoxFuture<'static, Result<Self::Output, Error>>;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        // A page has no socket that others could send to.
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        if options.role.is_listener() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let parsed = address::parse_dial(&address).map_err(|error| match error.is_unsupported() {
            true => TransportError::MultiaddrNotSupported(address),
            false => TransportError::Other(error.into()),
        })?;
        // libp2p asks for `Send`; JavaScript's objects stay on their thread, which here is the only one.
        Ok(SendWrapper::new(dial::dial(self.keys.clone(), self.config.versions.clone(), parsed)).boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        Poll::Pending
    }
}
