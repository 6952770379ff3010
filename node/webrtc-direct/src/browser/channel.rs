//! One data channel: passes messages between the browser's `RTCDataChannel` and a [`Stream`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Poll;

use bytes::Bytes;
use futures::task::AtomicWaker;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};
use web_time::Instant;

use super::connection::Shared;
use super::js::{JsError, Listener};
use super::limits::{CHANNEL_BUFFER_BYTES, CHANNEL_LOW_BYTES};
use crate::stream::{Credits, Stream, StreamError};

/// The side that opened a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// Negotiated in advance: channel 0.
    Both,
    Us,
    Peer,
}

/// Memory of a stream, in bytes, for its connection's accounting.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) unread: usize,
    pub(super) beyond: usize,
}

pub(super) struct Channel {
    /// Identifies it within the connection. Not the channel's id, which browsers assign late and reuse.
    pub(super) key: u64,
    pub(super) opener: Opener,
    raw: RtcDataChannel,
    pub(super) stream: RefCell<Stream>,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
    /// When the application dropped the stream.
    released: Cell<Option<Instant>>,
    connection: Weak<Shared>,
    listeners: RefCell<Vec<Listener>>,
}

impl Channel {
    pub(super) fn new(
        key: u64,
        opener: Opener,
        raw: RtcDataChannel,
        credits: Credits,
        fin_ack: bool,
        connection: Weak<Shared>,
    ) -> Result<Rc<Self>, JsError> {
        raw.set_binary_type(RtcDataChannelType::Arraybuffer);
        raw.set_buffered_amount_low_threshold(CHANNEL_LOW_BYTES);
        let channel = Rc::new(Self {
            key,
            opener,
            raw,
            stream: RefCell::new(Stream::new(credits, fin_ack)),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            released: Cell::new(None),
            connection,
            listeners: RefCell::default(),
        });
        let listeners = vec![
            channel.listener("message", Self::on_message)?,
            channel.listener("open", |channel, _| channel.pump_and_wake())?,
            channel.listener("bufferedamountlow", |channel, _| channel.pump_and_wake())?,
            // Browsers fire `close` after an `error`.
            channel.listener("close", |channel, _| channel.on_closed())?,
        ];
        channel.listeners.replace(listeners);
        Ok(channel)
    }

    fn listener(self: &Rc<Self>, event: &'static str, handler: fn(&Self, JsValue)) -> Result<Listener, JsError> {
        let channel = Rc::downgrade(self);
        Listener::new(&self.raw, event, move |event| {
            if let Some(channel) = channel.upgrade() {
                handler(&channel, event);
            }
        })
    }

    fn on_message(&self, event: JsValue) {
        let data = event.unchecked_into::<MessageEvent>().data();
        // A text message violates the protocol. It is replaced by bytes that the decoder refuses.
        let delivery = data.dyn_into::<ArrayBuffer>().map(|buffer| Bytes::from(Uint8Array::new(&buffer).to_vec()));
        let delivery = delivery.unwrap_or_else(|_| Bytes::from_static(&[0xff; 10]));
        let result = self.change(|stream| stream.receive(delivery));
        if self.connection.upgrade().is_some_and(|connection| connection.is_overfull()) {
            tracing::debug!("stream closed: the connection exceeds its limit on unread data");
            self.raw.close();
            self.gone();
            return;
        }
        match result {
            Ok(progress) => {
                if progress.readable {
                    self.reader.wake();
                }
                if progress.writable {
                    self.writer.wake();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "stream reset");
                self.wake();
            }
        }
        if let Some(connection) = self.connection.upgrade() {
            connection.learn_of_peer(&self.stream.borrow());
        }
        if self.pump() {
            self.writer.wake();
        }
    }

    /// Sends what the browser has room for, and closes the channel if the stream is done. Returns whether the writer
    /// has new room.
    pub(super) fn pump(&self) -> bool {
        // Before `open` messages wait; after `close` they cannot be sent.
        if self.raw.ready_state() != RtcDataChannelState::Open {
            return false;
        }
        let mut sent = false;
        while self.raw.buffered_amount() < CHANNEL_BUFFER_BYTES {
            let Some(message) = self.stream.borrow_mut().next_message() else { break };
            if let Err(error) = self.raw.send_with_u8_array(&message) {
                tracing::debug!(error = %JsError::from(error), "cannot send on a data channel");
                self.raw.close();
                self.gone();
                return false;
            }
            sent = true;
        }
        // The opener closes a channel, and the other side's browser follows. If the opener does not, `sweep` does.
        if self.opener != Opener::Peer && self.released.get().is_some() && self.stream.borrow().is_done() {
            self.raw.close();
        }
        sent
    }

    /// Reads for the application, and sends the peer a credit if one is due.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Poll<Result<usize, StreamError>> {
        let result = self.change(|stream| stream.read(buffer));
        if result.is_ready() && self.pump() {
            // Besides the credit, data may have been sent.
            self.writer.wake();
        }
        result
    }

    /// Changes the stream, grants credits, and updates the connection's accounting.
    fn change<T>(&self, act: impl FnOnce(&mut Stream) -> T) -> T {
        let connection = self.connection.upgrade();
        let mut stream = self.stream.borrow_mut();
        let held = |stream: &Stream| Held { unread: stream.unread(), beyond: stream.beyond() };
        let before = held(&stream);
        let result = act(&mut stream);
        if let Some(connection) = connection {
            stream.grant(connection.spare());
            connection.count(before, held(&stream));
        }
        result
    }

    fn pump_and_wake(&self) {
        if self.pump() {
            self.writer.wake();
        }
        if let Some(connection) = self.connection.upgrade() {
            connection.drained();
        }
    }

    /// Whether the browser has sent everything, or never will.
    pub(super) fn is_drained(&self) -> bool {
        match self.raw.ready_state() {
            RtcDataChannelState::Open => self.raw.buffered_amount() == 0 && !self.stream.borrow().has_message(),
            _ => true,
        }
    }

    /// Makes the browser fire an event when its send buffer is empty.
    pub(super) fn watch_for_drained(&self) {
        self.raw.set_buffered_amount_low_threshold(0);
    }

    /// The application drops the stream. The channel closes once nothing is left to send or to confirm.
    pub(super) fn release(&self) {
        self.change(Stream::release);
        self.released.set(Some(Instant::now()));
        self.pump();
        if self.lingers_since().is_some()
            && let Some(connection) = self.connection.upgrade()
        {
            connection.linger();
        }
    }

    /// When the application dropped the stream, unless the channel is closed or closing.
    pub(super) fn lingers_since(&self) -> Option<Instant> {
        let closing = matches!(self.raw.ready_state(), RtcDataChannelState::Closing | RtcDataChannelState::Closed);
        self.released.get().filter(|_| !closing)
    }

    /// Closes the channel, discarding unsent messages.
    pub(super) fn abandon(&self) {
        self.raw.close();
    }

    fn on_closed(&self) {
        self.gone();
        if let Some(connection) = self.connection.upgrade() {
            connection.forget(self.key);
        }
    }

    /// Ends the stream because its channel or the connection is closed, and removes the event handlers.
    pub(super) fn gone(&self) {
        self.change(Stream::channel_closed);
        self.listeners.take();
        self.wake();
    }

    fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}
