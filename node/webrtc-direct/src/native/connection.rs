//! The application's handles of a connection and its streams. They share the session with the task that drives it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::{AsyncRead, AsyncWrite};
use libp2p_core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::sync::Notify;

use super::channels::{Channel, Key};
use super::session::Session;
use super::socket::Batch;
use crate::Error;
use crate::stream::StreamError;

/// A session, shared between the task that drives it and the application's handles.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the driver.
    pub(crate) work: Notify,
}

pub(crate) struct State {
    pub(crate) session: Session,
    /// Datagrams for the driver to send.
    pub(crate) out: Batch,
    watchers: [Option<Waker>; 3],
    /// The driver has sent the last datagram and finished.
    gone: bool,
}

/// Tasks that wait for a change of the connection's state.
#[derive(Clone, Copy)]
pub(crate) enum Watch {
    Handshake,
    Muxer,
    Close,
}

impl State {
    pub(crate) fn watch(&mut self, who: Watch, cx: &Context<'_>) {
        self.watchers[who as usize] = Some(cx.waker().clone());
    }

    pub(crate) fn wake(&mut self) {
        self.watchers.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }

    /// Fails with the reason if the connection has ended.
    fn check(&self) -> Result<(), Error> {
        self.session.over().map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Shared {
    pub(crate) fn new(session: Session) -> Arc<Self> {
        let state = State { session, out: Batch::default(), watchers: [const { None }; 3], gone: false };
        Arc::new(Self { state: Mutex::new(state), work: Notify::new() })
    }

    /// Ignores poisoning: a panic of the driver ends the connection ([`Shared::gone`]), not the program.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection; the driver then tells the peer.
    pub(crate) fn end(&self, reason: Error) {
        let mut state = self.lock();
        let State { session, out, .. } = &mut *state;
        session.end(reason, out, Instant::now());
        state.wake();
        self.work.notify_one();
    }

    /// The driver has finished.
    pub(crate) fn gone(&self) {
        let mut state = self.lock();
        let State { session, out, .. } = &mut *state;
        session.end(Error::Closed, out, Instant::now());
        state.gone = true;
        state.wake();
    }

    fn with<T>(&self, key: Key, act: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let (result, work) = self.lock().session.channels.with(key, act, Instant::now())?;
        if work {
            self.work.notify_one();
        }
        Some(result)
    }
}

/// A connection to a peer. Dropping it closes it and frees its socket, task and memory.
pub struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Number of streams held in memory: open, or closed and not yet confirmed by the peer.
    pub fn streams(&self) -> usize {
        self.shared.lock().session.channels.len()
    }

    fn poll_stream(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Session, &mut Context<'_>) -> Poll<Key>,
    ) -> Poll<Result<Substream, Error>> {
        let mut state = self.shared.lock();
        state.check()?;
        let Poll::Ready(key) = poll(&mut state.session, cx) else { return Poll::Pending };
        self.shared.work.notify_one();
        Poll::Ready(Ok(Substream { shared: self.shared.clone(), key }))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end(Error::Closed);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("remote", &self.shared.lock().session.remote()).finish()
    }
}

impl StreamMuxer for Connection {
    type Substream = Substream;
    type Error = Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, Error>> {
        self.poll_stream(cx, |session, cx| session.channels.poll_accept(cx))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, Error>> {
        self.poll_stream(cx, |session, cx| session.channels.poll_open(cx, Instant::now()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.end(Error::Closed);
        let mut state = self.shared.lock();
        if state.gone {
            return Poll::Ready(Ok(()));
        }
        state.watch(Watch::Close, cx);
        Poll::Pending
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        let mut state = self.shared.lock();
        state.check()?;
        state.watch(Watch::Muxer, cx);
        Poll::Pending
    }
}

/// One stream of a [`Connection`].
///
/// Closing it ends the writing half; reading continues. Dropping it asks the peer to send no more, and resets the
/// writing half unless it was closed.
pub struct Substream {
    shared: Arc<Shared>,
    key: Key,
}

impl Substream {
    /// The channel of the Noise handshake; none before SCTP is connected.
    pub(crate) fn handshake(shared: &Arc<Shared>) -> Option<Self> {
        let key = shared.lock().session.channels.handshake()?;
        Some(Self { shared: shared.clone(), key })
    }

    fn poll<T>(&self, act: impl FnOnce(&mut Channel) -> Poll<Result<T, StreamError>>) -> Poll<io::Result<T>> {
        match self.shared.with(self.key, act) {
            Some(poll) => poll.map_err(io::Error::from),
            None => Poll::Ready(Err(StreamError::Gone.into())),
        }
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        self.shared.lock().session.channels.release(self.key, Instant::now());
        self.shared.work.notify_one();
    }
}

impl std::fmt::Debug for Substream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Substream").field("key", &self.key).finish()
    }
}

impl AsyncRead for Substream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(|channel| {
            let poll = channel.stream.read(buffer);
            channel.reader = poll.is_pending().then(|| cx.waker().clone());
            poll
        })
    }
}

impl AsyncWrite for Substream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|channel| {
            let poll = channel.stream.write(data);
            channel.writer = poll.is_pending().then(|| cx.waker().clone());
            poll
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|channel| {
            let poll = channel.stream.poll_flushed();
            channel.writer = poll.is_pending().then(|| cx.waker().clone());
            poll
        })
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|channel| {
            channel.stream.close_write();
            let poll = channel.stream.poll_flushed();
            channel.writer = poll.is_pending().then(|| cx.waker().clone());
            poll
        })
    }
}
