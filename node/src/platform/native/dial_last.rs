//! A transport whose dials are delayed, so that others can connect first.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::core::transport::{DialOpts, ListenerId, TransportEvent};
use libp2p::{Multiaddr, Transport, TransportError};

/// Delay of a dial. Between native peers, QUIC and TCP connect in a few round trips; by then they have succeeded or
/// will not.
const HEAD_START: Duration = Duration::from_millis(500);

/// Delays the dials of the inner transport.
///
/// libp2p dials all addresses of a peer at once and keeps the connection that is made first. Between native peers,
/// WebRTC takes several times the CPU time of the others; it is meant for peers that cannot be reached without it.
pub(super) struct DialLast<T>(pub(super) T);

impl<T> Transport for DialLast<T>
where
    T: Transport + Unpin,
    T::Dial: Send + 'static,
{
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, T::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        let dial = self.0.dial(address, options)?;
        Ok(async move {
            tokio::time::sleep(HEAD_START).await;
            dial.await
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
