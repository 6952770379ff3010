//! One data channel: carries messages between the browser and the state of a stream.

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

/// Who opened a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// Both at once: channel 0.
    Both,
    Us,
    Peer,
}

pub(super) struct Channel {
    /// Its name within the connection. Not the channel's id, which a browser may not know yet and uses again.
    pub(super) key: u64,
    pub(super) opener: Opener,
    raw: RtcDataChannel,
    pub(super) stream: RefCell<Stream>,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
    /// When the user let go of the stream.
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
        connection: Weak<Shared>,
    ) -> Result<Rc<Self>, JsError> {
        raw.set_binary_type(RtcDataChannelType::Arraybuffer);
        raw.set_buffered_amount_low_threshold(CHANNEL_LOW_BYTES);
        let channel = Rc::new(Self {
            key,
            opener,
            raw,
            stream: RefCell::new(Stream::new(credits)),
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
            // Browsers follow an `error` by a `close`.
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
        // A message of text is no message of the protocol: it is taken for one without a length, and refused.
        let delivery = data.dyn_into::<ArrayBuffer>().map(|buffer| Bytes::from(Uint8Array::new(&buffer).to_vec()));
        let before = self.stream.borrow().unread();
        let result = self.stream.borrow_mut().receive(delivery.unwrap_or_else(|_| Bytes::from_static(&[0xff; 10])));
        if !self.count_unread(before) {
            tracing::debug!("stream given up: too much of the connection's data is not read");
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
        if self.stream.borrow().peer_knows_credits()
            && let Some(connection) = self.connection.upgrade()
        {
            connection.peer_knows_credits();
        }
        if self.pump() {
            self.writer.wake();
        }
    }

    /// Hands the browser what it has room for, and closes the channel if nothing more is to come. True if the stream
    /// has new room for its writer.
    pub(super) fn pump(&self) -> bool {
        // What comes before `open` waits for it; what comes after `close` has nowhere to go.
        if self.raw.ready_state() != RtcDataChannelState::Open {
            return false;
        }
        let mut sent = false;
        while self.raw.buffered_amount() < CHANNEL_BUFFER_BYTES {
            let Some(message) = self.stream.borrow_mut().next_message() else { break };
            if let Err(error) = self.raw.send_with_u8_array(&message) {
                tracing::debug!(error = %JsError::from(error), "a data channel takes no more");
                self.raw.close();
                self.gone();
                return false;
            }
            sent = true;
        }
        // Who opened a channel closes it, and the other side's browser follows. If it does not, the sweep does.
        if self.opener != Opener::Peer && self.released.get().is_some() && self.stream.borrow().is_done() {
            self.raw.close();
        }
        sent
    }

    /// Reads for the user, and tells the peer how far it may go on.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Poll<Result<usize, StreamError>> {
        let before = self.stream.borrow().unread();
        let result = self.stream.borrow_mut().read(buffer);
        if result.is_ready() {
            self.count_unread(before);
            if self.pump() {
                // A credit was due and took its turn; data may have gone with it.
                self.writer.wake();
            }
        }
        result
    }

    /// Tells the connection what is unread now. False if that is too much.
    fn count_unread(&self, before: usize) -> bool {
        let after = self.stream.borrow().unread();
        self.connection.upgrade().is_none_or(|connection| connection.count_unread(before, after))
    }

    fn pump_and_wake(&self) {
        if self.pump() {
            self.writer.wake();
        }
        if let Some(connection) = self.connection.upgrade() {
            connection.drained();
        }
    }

    /// Whether the browser has sent all that it was given, or never will.
    pub(super) fn is_drained(&self) -> bool {
        match self.raw.ready_state() {
            RtcDataChannelState::Open => self.raw.buffered_amount() == 0 && !self.stream.borrow().has_message(),
            _ => true,
        }
    }

    /// Asks the browser to say when it has sent all.
    pub(super) fn watch_for_drained(&self) {
        self.raw.set_buffered_amount_low_threshold(0);
    }

    /// The user lets go of the stream. The channel closes as soon as the peer need not be told anything more.
    pub(super) fn release(&self) {
        let before = self.stream.borrow().unread();
        self.stream.borrow_mut().release();
        self.count_unread(before);
        self.released.set(Some(Instant::now()));
        self.pump();
        if self.lingers_since().is_some()
            && let Some(connection) = self.connection.upgrade()
        {
            connection.linger();
        }
    }

    /// When the user let go of it, if the channel is not closed or about to be.
    pub(super) fn lingers_since(&self) -> Option<Instant> {
        let closing = matches!(self.raw.ready_state(), RtcDataChannelState::Closing | RtcDataChannelState::Closed);
        self.released.get().filter(|_| !closing)
    }

    /// Closes the channel whatever is still to be said.
    pub(super) fn abandon(&self) {
        self.raw.close();
    }

    fn on_closed(&self) {
        self.gone();
        if let Some(connection) = self.connection.upgrade() {
            connection.forget(self.key);
        }
    }

    /// Ends the stream: its channel or the whole connection is no more. Takes the handlers off.
    pub(super) fn gone(&self) {
        self.stream.borrow_mut().channel_closed();
        self.listeners.take();
        self.wake();
    }

    fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}
