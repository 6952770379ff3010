//! The [`libp2p_core::Transport`] of a page.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p_core::Multiaddr;
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_identity::{Keypair, PeerId};
use send_wrapper::SendWrapper;

use super::connection::Connection;
use super::dial;
use crate::{Config, Error, address};

/// Dials `/webrtc-direct/certhash/…` from a page.
///
/// Its connections are authenticated and carry streams: no upgrade is needed.
pub struct Transport {
    keys: Keypair,
    config: Config,
}

impl Transport {
    /// A transport for the local peer with these keys.
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
        // A page has no socket to listen on.
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        if options.role.is_listener() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let parsed = address::parse_dial(&address).map_err(|error| Error::refuse(address, error))?;
        // libp2p requires `Send`. JavaScript objects stay on their thread, which here is the only one.
        Ok(SendWrapper::new(dial::dial(self.keys.clone(), self.config.dial_versions.clone(), parsed)).boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        Poll::Pending
    }
}
