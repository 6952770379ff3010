//! A connection: one `RTCPeerConnection` and its data channels.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::future::AbortHandle;
use futures::task::AtomicWaker;
use futures::{FutureExt, future};
use futures_timer::Delay;
use libp2p_core::muxing::{StreamMuxer, StreamMuxerEvent};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{
    EventTarget, RtcDataChannelEvent, RtcDataChannelInit, RtcIceConnectionState, RtcPeerConnection,
    RtcPeerConnectionState,
};

use super::channel::{Channel, Held, Opener};
use super::js::{self, JsError, Listener};
use super::limits::{CLOSE_TIMEOUT, HARD_UNREAD_BYTES, OUTBOUND_STREAMS};
use super::liveness::{self, Seen};
use super::stream::Substream;
use crate::credentials::Version;
use crate::limits::{INBOUND_BACKLOG, STREAM_LINGER, STREAMS, UNREAD_BYTES};
use crate::stream::{CREDIT_PROTOCOL, Credits, Stream};

/// Why a connection is over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Closed on this side.
    #[error("the connection was closed on this side")]
    Closed,
    /// The peer closed it, or nothing comes from it any more.
    #[error("the peer closed the connection or does not answer")]
    Lost,
    /// The browser refused something.
    #[error(transparent)]
    Browser(#[from] JsError),
}

/// A connection to a peer. Dropping it closes it and frees all that the browser holds for it.
pub struct Connection {
    /// libp2p asks for `Send`; JavaScript's objects stay on their thread, which here is the only one.
    shared: SendWrapper<Rc<Shared>>,
    closing: Option<Delay>,
}

/// What the handlers of a connection work on.
pub(super) struct Shared {
    raw: RtcPeerConnection,
    /// Every channel whose id is in use: those that were closed stay until the browser says that they are.
    channels: RefCell<HashMap<u64, Rc<Channel>>>,
    next_key: Cell<u64>,
    inbound: RefCell<VecDeque<Rc<Channel>>>,
    /// The peer has shown that it understands credits.
    credits: Cell<bool>,
    /// The peer has shown that it knows FIN_ACK.
    fin_ack: Cell<bool>,
    /// Messages received on all channels.
    messages: Cell<u64>,
    /// Bytes received on all channels and not read yet.
    unread: Cell<usize>,
    /// Bytes that all streams together hold or have promised to take, beyond the initial window of each.
    beyond: Cell<usize>,
    /// ICE has found that the peer answers.
    answered: Cell<bool>,
    over: RefCell<Option<ConnectionError>>,
    sweeping: Cell<bool>,
    state_waker: AtomicWaker,
    inbound_waker: AtomicWaker,
    outbound_waker: AtomicWaker,
    close_waker: AtomicWaker,
    listeners: RefCell<Vec<Listener>>,
    watching: RefCell<Option<AbortHandle>>,
}

impl Connection {
    /// A connection that is not under way yet, ready for what a peer may do from its first moment on, with the stream
    /// for the handshake.
    pub(super) fn new(version: Version) -> Result<(Self, Substream), JsError> {
        let raw = RtcPeerConnection::new()?;
        let shared = Rc::new(Shared {
            raw: raw.clone(),
            channels: RefCell::default(),
            next_key: Cell::new(0),
            inbound: RefCell::default(),
            credits: Cell::new(false),
            // It is older than version 2.
            fin_ack: Cell::new(version == Version::V2),
            messages: Cell::new(0),
            unread: Cell::new(0),
            beyond: Cell::new(0),
            answered: Cell::new(false),
            over: RefCell::default(),
            sweeping: Cell::new(false),
            state_waker: AtomicWaker::new(),
            inbound_waker: AtomicWaker::new(),
            outbound_waker: AtomicWaker::new(),
            close_waker: AtomicWaker::new(),
            listeners: RefCell::default(),
            watching: RefCell::default(),
        });
        // From here on whatever fails closes what the browser has opened.
        let connection = Self { shared: SendWrapper::new(shared.clone()), closing: None };
        let page = js_sys::global().unchecked_into::<EventTarget>();
        let listeners = vec![
            // A page that goes says goodbye; otherwise the peer would wait for it to come back.
            shared.listener(&page, "pagehide", |shared, _| shared.end(ConnectionError::Closed))?,
            shared.listener(&raw, "datachannel", Shared::on_channel)?,
            shared.listener(&raw, "connectionstatechange", |shared, _| shared.on_state())?,
            shared.listener(&raw, "iceconnectionstatechange", |shared, _| shared.on_ice_state())?,
        ];
        shared.listeners.replace(listeners);

        let options = RtcDataChannelInit::new();
        options.set_negotiated(true);
        options.set_id(0);
        let channel = raw.create_data_channel_with_data_channel_dict("", &options);
        let handshake = shared.add(channel, Opener::Both, Credits::Absent)?;
        Ok((connection, Substream::new(handshake)))
    }

    pub(super) fn raw(&self) -> &RtcPeerConnection {
        &self.shared.raw
    }

    /// Listens for the peer's goodbye, which ends SCTP and leaves the connection's own state as it was. To be called
    /// once both descriptions are set: SCTP is not there before.
    pub(super) fn listen_for_goodbye(&self) -> Result<(), JsError> {
        let Some(sctp) = js::sctp(&self.shared.raw) else { return Ok(()) };
        let listener = self.shared.listener(&sctp, "statechange", |shared, event| {
            if js::is_closed(&event) {
                shared.end(ConnectionError::Lost);
            }
        })?;
        self.shared.listeners.borrow_mut().push(listener);
        Ok(())
    }

    /// Ready once the peer has answered, by ICE alone, or the connection is over.
    pub(super) async fn answered(&self) -> Result<(), ConnectionError> {
        future::poll_fn(|cx| {
            self.shared.state_waker.register(cx.waker());
            if self.shared.answered.get() {
                return Poll::Ready(Ok(()));
            }
            self.shared.check().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
        })
        .await
    }

    /// Why the connection is over, if it is.
    pub(super) fn over(&self) -> Option<ConnectionError> {
        self.shared.check()
    }
}

impl StreamMuxer for Connection {
    type Substream = Substream;
    type Error = ConnectionError;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, ConnectionError>> {
        self.shared.inbound_waker.register(cx.waker());
        if let Some(error) = self.shared.check() {
            return Poll::Ready(Err(error));
        }
        match self.shared.inbound.borrow_mut().pop_front() {
            Some(channel) => Poll::Ready(Ok(Substream::new(channel))),
            None => Poll::Pending,
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, ConnectionError>> {
        let shared = &self.shared;
        shared.outbound_waker.register(cx.waker());
        if let Some(error) = shared.check() {
            return Poll::Ready(Err(error));
        }
        let (all, ours) = shared.count_channels();
        if all >= STREAMS || ours >= OUTBOUND_STREAMS {
            return Poll::Pending;
        }
        let options = RtcDataChannelInit::new();
        options.set_protocol(CREDIT_PROTOCOL);
        let raw = shared.raw.create_data_channel_with_data_channel_dict("", &options);
        // Who opens a channel announces credits by its protocol.
        let credits = if shared.credits.get() { Credits::Known } else { Credits::Unknown };
        Poll::Ready(Ok(Substream::new(shared.add(raw, Opener::Us, credits)?)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.shared.close_waker.register(cx.waker());
        if self.shared.check().is_none() {
            if self.closing.is_none() {
                self.closing = Some(Delay::new(CLOSE_TIMEOUT));
                self.shared.channels.borrow().values().for_each(|channel| channel.watch_for_drained());
            }
            let drained = self.shared.channels.borrow().values().all(|channel| channel.is_drained());
            let late = self.closing.as_mut().is_some_and(|delay| delay.poll_unpin(cx).is_ready());
            if !drained && !late {
                return Poll::Pending;
            }
            self.shared.end(ConnectionError::Closed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        self.shared.state_waker.register(cx.waker());
        self.shared.check().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end(ConnectionError::Closed);
    }
}

impl Shared {
    fn listener(
        self: &Rc<Self>,
        target: &EventTarget,
        event: &'static str,
        handler: fn(&Rc<Self>, JsValue),
    ) -> Result<Listener, JsError> {
        let shared = Rc::downgrade(self);
        Listener::new(target, event, move |event| {
            if let Some(shared) = shared.upgrade() {
                handler(&shared, event);
            }
        })
    }

    fn add(
        self: &Rc<Self>,
        raw: web_sys::RtcDataChannel,
        opener: Opener,
        credits: Credits,
    ) -> Result<Rc<Channel>, JsError> {
        let key = self.next_key.replace(self.next_key.get() + 1);
        let channel = Channel::new(key, opener, raw, credits, self.fin_ack.get(), Rc::downgrade(self))?;
        self.channels.borrow_mut().insert(key, channel.clone());
        Ok(channel)
    }

    fn on_channel(self: &Rc<Self>, event: JsValue) {
        let raw = event.unchecked_into::<RtcDataChannelEvent>().channel();
        if self.inbound.borrow().len() >= INBOUND_BACKLOG || self.channels.borrow().len() >= STREAMS {
            tracing::debug!("refusing a stream: too many are open or not accepted yet");
            raw.close();
            return;
        }
        // Announced on each channel: its opener takes another first message for that of a peer without credits.
        let knows = js::protocol(&raw).as_deref() == Some(CREDIT_PROTOCOL);
        let credits = if knows { Credits::Announce } else { Credits::Absent };
        match self.add(raw, Opener::Peer, credits) {
            Ok(channel) => {
                self.learn_of_peer(&channel.stream.borrow());
                channel.pump();
                self.inbound.borrow_mut().push_back(channel);
                self.inbound_waker.wake();
            }
            Err(error) => tracing::warn!(%error, "cannot take a stream"),
        }
    }

    fn on_state(&self) {
        if matches!(self.raw.connection_state(), RtcPeerConnectionState::Failed | RtcPeerConnectionState::Closed) {
            self.end(ConnectionError::Lost);
        }
    }

    fn on_ice_state(self: &Rc<Self>) {
        let state = self.raw.ice_connection_state();
        let connected = matches!(state, RtcIceConnectionState::Connected | RtcIceConnectionState::Completed);
        if connected && !self.answered.replace(true) {
            self.state_waker.wake();
            self.watch();
        }
    }

    /// Ends the connection when the peer falls silent.
    fn watch(self: &Rc<Self>) {
        let (shared, connection) = (Rc::downgrade(self), Rc::downgrade(self));
        let (watching, handle) = future::abortable(async move {
            let seen = |shared: Rc<Self>| Seen { raw: shared.raw.clone(), messages: shared.messages.get() };
            liveness::until_silent(|| connection.upgrade().map(seen)).await;
            if let Some(shared) = shared.upgrade() {
                shared.end(ConnectionError::Lost);
            }
        });
        self.watching.replace(Some(handle));
        wasm_bindgen_futures::spawn_local(watching.map(drop));
    }

    fn check(&self) -> Option<ConnectionError> {
        self.over.borrow().clone()
    }

    /// Channels in all, and those that we opened.
    fn count_channels(&self) -> (usize, usize) {
        let channels = self.channels.borrow();
        (channels.len(), channels.values().filter(|channel| channel.opener == Opener::Us).count())
    }

    /// A message has come: what its stream has learnt of the peer is of use to all.
    pub(super) fn learn_of_peer(&self, stream: &Stream) {
        self.messages.set(self.messages.get() + 1);
        self.credits.set(self.credits.get() | stream.peer_knows_credits());
        self.fin_ack.set(self.fin_ack.get() | stream.peer_knows_fin_ack());
    }

    /// What one channel holds has changed.
    pub(super) fn count(&self, before: Held, after: Held) {
        self.unread.set(self.unread.get() - before.unread + after.unread);
        self.beyond.set(self.beyond.get() - before.beyond + after.beyond);
    }

    /// Whether all channels together have too much unread.
    pub(super) fn is_overfull(&self) -> bool {
        self.unread.get() > HARD_UNREAD_BYTES
    }

    /// Bytes that may still be promised to streams.
    pub(super) fn spare(&self) -> usize {
        UNREAD_BYTES.saturating_sub(self.beyond.get())
    }

    /// The id of a channel is free again. If nobody has accepted its stream yet, what has come can still be read.
    pub(super) fn forget(&self, key: u64) {
        self.channels.borrow_mut().remove(&key);
        self.outbound_waker.wake();
        self.close_waker.wake();
    }

    /// A channel has room again.
    pub(super) fn drained(&self) {
        self.close_waker.wake();
    }

    /// A stream was let go whose peer has not confirmed all: sees to it that this has an end.
    pub(super) fn linger(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let shared = Rc::downgrade(self);
        wasm_bindgen_futures::spawn_local(async move {
            loop {
                Delay::new(STREAM_LINGER / 2).await;
                let Some(shared) = shared.upgrade() else { return };
                if !shared.sweep() {
                    shared.sweeping.set(false);
                    return;
                }
            }
        });
    }

    /// Closes the channels that have lingered for long enough. Whether others linger.
    fn sweep(&self) -> bool {
        let lingering: Vec<_> =
            self.channels.borrow().values().filter(|c| c.lingers_since().is_some()).cloned().collect();
        let (over, waiting): (Vec<_>, Vec<_>) =
            lingering.iter().partition(|c| c.lingers_since().is_some_and(|since| since.elapsed() >= STREAM_LINGER));
        over.iter().for_each(|channel| channel.abandon());
        !waiting.is_empty()
    }

    /// Ends the connection. Only the first reason counts.
    fn end(&self, error: ConnectionError) {
        if self.over.borrow().is_some() {
            return;
        }
        self.over.replace(Some(error));
        self.listeners.take();
        if let Some(watching) = self.watching.take() {
            watching.abort();
        }
        self.inbound.take();
        for (_, channel) in self.channels.take() {
            channel.gone();
        }
        self.raw.close();
        for waker in [&self.state_waker, &self.inbound_waker, &self.outbound_waker, &self.close_waker] {
            waker.wake();
        }
    }
}
