//! A transport that asks before it dials, and shares its pending handshakes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use libp2p::core::transport::{DialOpts, ListenerId, TransportEvent};
use libp2p::{Multiaddr, PeerId, Transport, TransportError};

use super::handshakes::Handshakes;
use crate::net::dial_permits::{DialPermits, Refused};
use crate::net::prefix::Prefix;

/// Asks the permits before the inner transport dials, and gives each incoming connection a place for its handshake.
/// Names are resolved outside of it, so it sees the addresses that are really dialled.
pub(super) struct Gated<T> {
    pub(super) inner: T,
    pub(super) permits: DialPermits,
    pub(super) handshakes: Handshakes,
}

/// An error of the inner transport, or of the gate.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatedError<E: std::error::Error + 'static> {
    /// The inner transport's.
    #[error("{0}")]
    Inner(#[source] E),
    /// The dial was not permitted.
    #[error("not dialled: {0}")]
    Refused(Refused),
    /// The place of the handshake went to another connection.
    #[error("the handshake took too long while many others waited")]
    Evicted,
}

/// A dial that is pending; dropped without an outcome, it counts as given up.
struct Dialling {
    id: Option<u64>,
    permits: DialPermits,
}

impl Dialling {
    fn end(&mut self, outcome: Option<Option<PeerId>>) {
        if let Some(id) = self.id.take() {
            self.permits.lock().ended(id, outcome, Instant::now());
        }
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl<T, M> Transport for Gated<T>
where
    T: Transport<Output = (PeerId, M)> + Unpin,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: std::error::Error + Send + 'static,
    M: Send + 'static,
{
    type Output = T::Output;
    type Error = GatedError<T::Error>;
    type ListenerUpgrade = BoxFuture<'static, Result<T::Output, Self::Error>>;
    type Dial = BoxFuture<'static, Result<T::Output, Self::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, address).map_err(|e| e.map(GatedError::Inner))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        // Nothing is sent before the future is polled.
        let dial = self.inner.dial(address.clone(), options).map_err(|e| e.map(GatedError::Inner))?;
        let id = self.permits.lock().begin(&address, Instant::now());
        let id = id.map_err(|why| TransportError::Other(GatedError::Refused(why)))?;
        let mut dialling = Dialling { id, permits: self.permits.clone() };
        Ok(async move {
            let outcome = dial.await;
            let peer = outcome.as_ref().ok().map(|(peer, _)| *peer);
            if let Some(peer) = peer {
                dialling.permits.lock().reached(peer, &address, Instant::now());
            }
            dialling.end(Some(peer));
            outcome.map_err(GatedError::Inner)
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let event = match Pin::new(&mut self.inner).poll(cx) {
            Poll::Ready(event) => event,
            Poll::Pending => return Poll::Pending,
        };
        let from = match &event {
            TransportEvent::Incoming { send_back_addr, .. } => Prefix::of_address(send_back_addr),
            _ => None,
        };
        let handshakes = &self.handshakes;
        let event = event.map_upgrade(|upgrade| {
            let mut place = handshakes.take(from);
            async move {
                match select(Box::pin(upgrade), Box::pin(place.evicted())).await {
                    Either::Left((outcome, _)) => outcome.map_err(GatedError::Inner),
                    Either::Right(_) => Err(GatedError::Evicted),
                }
            }
            .boxed()
        });
        Poll::Ready(event.map_err(GatedError::Inner))
    }
}
