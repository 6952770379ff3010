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
use crate::Error;
use crate::credentials::Version;
use crate::limits::{INBOUND_BACKLOG, STREAM_LINGER, STREAMS, UNREAD_BYTES};
use crate::stream::{CREDIT_PROTOCOL, Credits, Stream};

/// A connection to a peer. Dropping it closes it and frees the browser's resources.
pub struct Connection {
    /// libp2p requires `Send`. JavaScript objects stay on their thread, which here is the only one.
    shared: SendWrapper<Rc<Shared>>,
    closing: Option<Delay>,
}

/// State that a connection shares with its event handlers.
pub(super) struct Shared {
    raw: RtcPeerConnection,
    /// Channels whose id is in use. A closing channel stays until the browser's `close` event.
    channels: RefCell<HashMap<u64, Rc<Channel>>>,
    next_key: Cell<u64>,
    inbound: RefCell<VecDeque<Rc<Channel>>>,
    /// The peer has shown support for credits.
    credits: Cell<bool>,
    /// The peer has shown support for FIN_ACK.
    fin_ack: Cell<bool>,
    /// Messages received on all channels.
    messages: Cell<u64>,
    /// Bytes received on all channels but not read yet.
    unread: Cell<usize>,
    /// Bytes that all streams together hold unread or have granted, beyond the initial window of each.
    beyond: Cell<usize>,
    /// ICE is connected: the peer answers.
    answered: Cell<bool>,
    over: RefCell<Option<Error>>,
    sweeping: Cell<bool>,
    state_waker: AtomicWaker,
    inbound_waker: AtomicWaker,
    outbound_waker: AtomicWaker,
    close_waker: AtomicWaker,
    listeners: RefCell<Vec<Listener>>,
    watching: RefCell<Option<AbortHandle>>,
}

impl Connection {
    /// A connection without descriptions, and the stream for its handshake. Event handlers are in place, so nothing
    /// that the peer does is missed.
    pub(super) fn new(version: Version) -> Result<(Self, Substream), JsError> {
        let raw = RtcPeerConnection::new()?;
        let shared = Rc::new(Shared {
            raw: raw.clone(),
            channels: RefCell::default(),
            next_key: Cell::new(0),
            inbound: RefCell::default(),
            credits: Cell::new(false),
            // The specification had FIN_ACK before version 2.
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
        // From here on an error drops the connection and closes the browser's.
        let connection = Self { shared: SendWrapper::new(shared.clone()), closing: None };
        let page = js_sys::global().unchecked_into::<EventTarget>();
        let listeners = vec![
            // Closing tells the peer that the page is gone; otherwise it would wait for the liveness timeout.
            shared.listener(&page, "pagehide", |shared, _| shared.end(Error::Closed))?,
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

    /// Listens for the peer closing the connection: that ends its SCTP transport, and does not change the connection's
    /// own state. Call it once both descriptions are set, when the SCTP transport exists.
    pub(super) fn listen_for_close(&self) -> Result<(), JsError> {
        let Some(sctp) = js::sctp(&self.shared.raw) else { return Ok(()) };
        let listener = self.shared.listener(&sctp, "statechange", |shared, event| {
            if js::is_closed(&event) {
                shared.end(Error::ClosedByPeer);
            }
        })?;
        self.shared.listeners.borrow_mut().push(listener);
        Ok(())
    }

    /// Ready once ICE is connected.
    ///
    /// # Errors
    /// Why the connection ended before.
    pub(super) async fn answered(&self) -> Result<(), Error> {
        future::poll_fn(|cx| {
            self.shared.state_waker.register(cx.waker());
            if self.shared.answered.get() {
                return Poll::Ready(Ok(()));
            }
            self.shared.check().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
        })
        .await
    }

    /// Why the connection ended, if it did.
    pub(super) fn over(&self) -> Option<Error> {
        self.shared.check()
    }
}

impl StreamMuxer for Connection {
    type Substream = Substream;
    type Error = Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, Error>> {
        self.shared.inbound_waker.register(cx.waker());
        if let Some(error) = self.shared.check() {
            return Poll::Ready(Err(error));
        }
        match self.shared.inbound.borrow_mut().pop_front() {
            Some(channel) => Poll::Ready(Ok(Substream::new(channel))),
            None => Poll::Pending,
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, Error>> {
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
        // The channel's protocol announces support for credits.
        let credits = if shared.credits.get() { Credits::Known } else { Credits::Unknown };
        Poll::Ready(Ok(Substream::new(shared.add(raw, Opener::Us, credits)?)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
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
            self.shared.end(Error::Closed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        self.shared.state_waker.register(cx.waker());
        self.shared.check().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end(Error::Closed);
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
        // Each such channel must be answered by a credit first; its opener treats any other first message as lack of
        // support.
        let knows = js::protocol(&raw).as_deref() == Some(CREDIT_PROTOCOL);
        let credits = if knows { Credits::Announce } else { Credits::Absent };
        match self.add(raw, Opener::Peer, credits) {
            Ok(channel) => {
                self.learn_of_peer(&channel.stream.borrow());
                channel.pump();
                self.inbound.borrow_mut().push_back(channel);
                self.inbound_waker.wake();
            }
            Err(error) => tracing::warn!(%error, "cannot accept a stream"),
        }
    }

    fn on_state(&self) {
        if matches!(self.raw.connection_state(), RtcPeerConnectionState::Failed | RtcPeerConnectionState::Closed) {
            self.end(Error::Lost);
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

    /// Ends the connection after the liveness timeout.
    fn watch(self: &Rc<Self>) {
        let (shared, connection) = (Rc::downgrade(self), Rc::downgrade(self));
        let (watching, handle) = future::abortable(async move {
            let seen = |shared: Rc<Self>| Seen { raw: shared.raw.clone(), messages: shared.messages.get() };
            liveness::until_silent(|| connection.upgrade().map(seen)).await;
            if let Some(shared) = shared.upgrade() {
                shared.end(Error::Silent);
            }
        });
        self.watching.replace(Some(handle));
        wasm_bindgen_futures::spawn_local(watching.map(drop));
    }

    fn check(&self) -> Option<Error> {
        self.over.borrow().clone()
    }

    /// Number of channels: in total, and those that this side opened.
    fn count_channels(&self) -> (usize, usize) {
        let channels = self.channels.borrow();
        (channels.len(), channels.values().filter(|channel| channel.opener == Opener::Us).count())
    }

    /// Counts a message, and applies what its stream has learnt about the peer to the whole connection.
    pub(super) fn learn_of_peer(&self, stream: &Stream) {
        self.messages.set(self.messages.get() + 1);
        self.credits.set(self.credits.get() | stream.peer_knows_credits());
        self.fin_ack.set(self.fin_ack.get() | stream.peer_knows_fin_ack());
    }

    /// Updates the totals after one channel has changed.
    pub(super) fn count(&self, before: Held, after: Held) {
        self.unread.set(self.unread.get() - before.unread + after.unread);
        self.beyond.set(self.beyond.get() - before.beyond + after.beyond);
    }

    /// Whether all channels together exceed the limit on unread data.
    pub(super) fn is_overfull(&self) -> bool {
        self.unread.get() > HARD_UNREAD_BYTES
    }

    /// Bytes that may still be granted to streams.
    pub(super) fn spare(&self) -> usize {
        UNREAD_BYTES.saturating_sub(self.beyond.get())
    }

    /// The channel is closed and its id free. If its stream has not been accepted yet, its data can still be read.
    pub(super) fn forget(&self, key: u64) {
        self.channels.borrow_mut().remove(&key);
        self.outbound_waker.wake();
        self.close_waker.wake();
    }

    /// A channel's send buffer has room again.
    pub(super) fn drained(&self) {
        self.close_waker.wake();
    }

    /// A dropped stream awaits the peer's confirmation: starts the timer that bounds the wait.
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

    /// Closes the channels that have waited for [`STREAM_LINGER`]. Returns whether others are waiting.
    fn sweep(&self) -> bool {
        let lingering: Vec<_> =
            self.channels.borrow().values().filter(|c| c.lingers_since().is_some()).cloned().collect();
        let (over, waiting): (Vec<_>, Vec<_>) =
            lingering.iter().partition(|c| c.lingers_since().is_some_and(|since| since.elapsed() >= STREAM_LINGER));
        over.iter().for_each(|channel| channel.abandon());
        !waiting.is_empty()
    }

    /// Ends the connection. Only the first reason is kept.
    fn end(&self, error: Error) {
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
