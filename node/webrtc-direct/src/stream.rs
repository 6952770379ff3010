//! One libp2p stream on one data channel: half-closing, reset, and back-pressure, without IO.
//!
//! A transport passes what its data channel delivers to [`Stream::receive`], and sends the messages of
//! [`Stream::next_message`] whenever the channel has room. The application uses [`Stream::read`], [`Stream::write`] and
//! the rest; `Pending` means: try again after the next [`Progress`].
//!
//! # Closing
//! As specified, FIN ends the sender's direction and is confirmed by FIN_ACK, STOP_SENDING asks the peer to end its
//! own, and RESET_STREAM abandons the sender's direction. The data channel may be closed once [`Stream::is_done`].
//!
//! The published Rust crates (libp2p-webrtc 0.10, libp2p-webrtc-websys 0.5) predate FIN_ACK and treat it as an error.
//! They support only version 1. So a version 1 peer that has not shown support for FIN_ACK is sent one only after our
//! own FIN, when these crates have stopped reading, and is sent no message that is too long for them.
//!
//! # Credits
//! Browsers cannot stop reading a data channel, so a fast writer would fill the memory of a slow reader. Between two
//! peers on this crate the reader therefore tells the writer how many bytes it may send in total
//! ([`Message::credit`](crate::frame::Message::credit)): [`INITIAL_WINDOW_BYTES`] from the start, and a window of up to
//! [`RECEIVE_WINDOW_BYTES`] while the application reads ([`Stream::grant`]). Credits are sent only to peers that have
//! announced support, since one published implementation treats a message without data as the end of the stream. The
//! opener of a channel announces support by the channel's protocol, [`CREDIT_PROTOCOL`], which other implementations
//! ignore; the acceptor of such a channel sends a credit as its first message. So the opener knows after the first
//! message whether the peer supports credits. Until then it stays within the initial window, and without support it
//! ignores it.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::frame::{self, Decoder, Flag, InvalidMessage, Message};
use crate::limits::{DATA_BYTES, INITIAL_WINDOW_BYTES, LEGACY_DATA_BYTES, RECEIVE_HARD_BYTES, RECEIVE_WINDOW_BYTES};

mod user;

/// Protocol name of the data channels that this crate opens: it announces support for credits.
pub const CREDIT_PROTOCOL: &str = "libp2p-webrtc-credit/1";

/// The peer's support for credits, as known when a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credits {
    /// This side opens the channel, and support is unknown until the peer's first message.
    Unknown,
    /// The peer opened the channel without announcing support.
    Absent,
    /// This side opens the channel, and the peer has shown support on another one.
    Known,
    /// The peer opened the channel and announced support: answer with a credit at once.
    Announce,
}

/// The effects of a delivery on the application's side of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// [`Stream::read`] may now be ready.
    pub readable: bool,
    /// [`Stream::write`] or [`Stream::poll_flushed`] may now be ready.
    pub writable: bool,
}

/// Why a stream can no longer be read or written.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamError {
    /// The peer sent RESET_STREAM.
    #[error("the peer reset the stream")]
    Reset,
    /// The peer sent STOP_SENDING.
    #[error("the peer stopped reading the stream")]
    Stopped,
    /// This side closed or reset this half.
    #[error("the stream was closed on this side")]
    Closed,
    /// The data channel was closed, or the connection ended.
    #[error("the stream's data channel was closed")]
    Gone,
    /// The peer sent a malformed message, or more than it may.
    #[error("the peer violated the stream protocol")]
    Violated,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Reset | StreamError::Gone => io::ErrorKind::ConnectionReset,
            StreamError::Stopped | StreamError::Closed => io::ErrorKind::BrokenPipe,
            StreamError::Violated => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadHalf {
    Open,
    /// FIN was received.
    Finished,
    /// Ended. The reader gets the buffered data, then this error.
    Failed(StreamError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteHalf {
    Open,
    /// FIN follows the buffered data.
    Closing,
    FinSent,
    /// FIN_ACK was received.
    Finished,
    Failed(StreamError),
}

/// State of one stream.
#[derive(Debug)]
pub struct Stream {
    decoder: Decoder,
    read: ReadHalf,
    received: VecDeque<Bytes>,
    received_bytes: usize,
    /// Bytes read or discarded since the start.
    consumed: u64,
    /// Total bytes that the peer may send, as last told or about to be.
    granted: u64,
    /// `granted - consumed` at the last grant.
    window: usize,
    peer_knows_credits: bool,
    peer_knows_fin_ack: bool,

    write: WriteHalf,
    unsent: BytesMut,
    /// The peer stopped reading before everything written had been sent.
    cut_short: bool,
    /// Bytes accepted from the writer since the start.
    written: u64,
    /// Total bytes that may be sent. None if the peer does not support credits: no limit.
    limit: Option<u64>,

    /// The peer has ended its direction, by FIN, by RESET_STREAM, or by closing the channel.
    peer_ended: bool,
    /// This side has sent FIN or RESET_STREAM.
    end_sent: bool,
    /// This side has sent STOP_SENDING.
    stop_sent: bool,
    /// The peer has sent STOP_SENDING, or has closed the channel.
    peer_stopped: bool,

    fin_ack_due: bool,
    stop_due: bool,
    reset_due: bool,
    credit_due: bool,
}

impl Stream {
    /// A new stream. `fin_ack`: the peer supports FIN_ACK, according to its version or to another stream.
    pub fn new(credits: Credits, fin_ack: bool) -> Self {
        let peer_knows_credits = matches!(credits, Credits::Known | Credits::Announce);
        Self {
            decoder: Decoder::default(),
            read: ReadHalf::Open,
            received: VecDeque::new(),
            received_bytes: 0,
            consumed: 0,
            granted: INITIAL_WINDOW_BYTES as u64,
            window: INITIAL_WINDOW_BYTES,
            peer_knows_credits,
            peer_knows_fin_ack: fin_ack || peer_knows_credits,
            write: WriteHalf::Open,
            unsent: BytesMut::new(),
            cut_short: false,
            written: 0,
            limit: (credits != Credits::Absent).then_some(INITIAL_WINDOW_BYTES as u64),
            peer_ended: false,
            end_sent: false,
            stop_sent: false,
            peer_stopped: false,
            fin_ack_due: false,
            stop_due: false,
            reset_due: false,
            credit_due: credits == Credits::Announce,
        }
    }

    // --- The data channel's side ------------------------------------------------------------------------------

    /// Processes what the data channel delivered.
    ///
    /// # Errors
    /// [`InvalidMessage`] if it is malformed: the stream has been reset, and later deliveries may be discarded.
    pub fn receive(&mut self, delivery: Bytes) -> Result<Progress, InvalidMessage> {
        let mut progress = Progress::default();
        self.decoder.push(delivery);
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => self.receive_message(message, &mut progress),
                Ok(None) => return Ok(progress),
                Err(error) => {
                    self.fail(StreamError::Violated);
                    return Err(error);
                }
            }
        }
    }

    fn receive_message(&mut self, message: Message, progress: &mut Progress) {
        if let Some(credit) = message.credit {
            self.peer_knows_credits = true;
            self.peer_knows_fin_ack = true;
            self.limit = Some(self.limit.unwrap_or(0).max(credit));
            progress.writable = true;
        } else if !self.peer_knows_credits && self.limit.is_some() {
            self.limit = None;
            progress.writable = true;
        }
        if !message.data.is_empty() && self.read == ReadHalf::Open {
            self.received_bytes += message.data.len();
            self.received.push_back(message.data);
            progress.readable = true;
            let overrun = if self.peer_knows_credits {
                self.consumed + self.received_bytes as u64 > self.granted
            } else {
                self.received_bytes > RECEIVE_HARD_BYTES
            };
            if overrun {
                self.fail(StreamError::Violated);
                progress.writable = true;
            }
        }
        self.peer_ended |= matches!(message.flag, Some(Flag::Fin | Flag::Reset));
        self.peer_knows_fin_ack |= message.flag == Some(Flag::FinAck);
        match message.flag {
            Some(Flag::Fin) => {
                self.fin_ack_due = true;
                if self.read == ReadHalf::Open {
                    self.read = ReadHalf::Finished;
                    progress.readable = true;
                }
            }
            Some(Flag::Reset) if self.read == ReadHalf::Open => {
                self.fail_read(StreamError::Reset);
                progress.readable = true;
            }
            Some(Flag::StopSending) => {
                self.peer_stopped = true;
                // After our FIN the FIN_ACK still follows.
                if matches!(self.write, WriteHalf::Open | WriteHalf::Closing) {
                    self.cut_short = !self.unsent.is_empty() || self.write == WriteHalf::Closing;
                    // The application has closed it already, so nothing else would tell the peer of the end.
                    self.reset_due |= self.write == WriteHalf::Closing;
                    self.fail_write(StreamError::Stopped);
                    progress.writable = true;
                }
            }
            Some(Flag::FinAck) if self.write == WriteHalf::FinSent => {
                self.write = WriteHalf::Finished;
                progress.writable = true;
            }
            Some(Flag::Reset | Flag::FinAck) | None => {}
        }
    }

    /// Whether the channel should deliver more, if the connection has `spare` bytes left for its streams
    /// ([`Stream::grant`]). A channel with back-pressure should pause while this is false. Always true if the peer
    /// supports credits, because pausing would delay the credits and flags behind its data.
    pub fn has_room(&self, spare: usize) -> bool {
        let bound = if spare > 0 { RECEIVE_WINDOW_BYTES } else { INITIAL_WINDOW_BYTES };
        self.peer_knows_credits || self.received_bytes < bound
    }

    /// Queues a credit, if the application has read enough to be worth a message. Call it after each read.
    ///
    /// `spare`: bytes that the connection may still grant to its streams, beyond [`INITIAL_WINDOW_BYTES`] each. This
    /// stream's share of them is [`Stream::beyond`].
    pub fn grant(&mut self, spare: usize) {
        if !self.peer_knows_credits || self.read != ReadHalf::Open {
            return;
        }
        let ahead = (self.granted - self.consumed) as usize;
        // One credit per half window: few messages, and the writer does not stall.
        if ahead > self.window / 2 {
            return;
        }
        // At most half of the remainder, to leave some for other streams.
        let beyond = (self.beyond() + spare / 2).min(RECEIVE_WINDOW_BYTES - INITIAL_WINDOW_BYTES);
        self.window = INITIAL_WINDOW_BYTES + beyond;
        if self.window > ahead {
            self.granted = self.consumed + self.window as u64;
            self.credit_due = true;
        }
    }

    /// Bytes beyond [`INITIAL_WINDOW_BYTES`] that this stream holds unread or has granted.
    pub fn beyond(&self) -> usize {
        let open = self.peer_knows_credits && self.read == ReadHalf::Open;
        let held = if open { (self.granted - self.consumed) as usize } else { self.received_bytes };
        held.saturating_sub(INITIAL_WINDOW_BYTES)
    }

    /// Bytes received but not read yet.
    pub fn unread(&self) -> usize {
        self.received_bytes
    }

    /// The next message for the data channel, if any. Call it only if the channel has room for a message.
    pub fn next_message(&mut self) -> Option<Bytes> {
        if self.reset_due {
            self.reset_due = false;
            self.end_sent = true;
            return Some(Message::flag(Flag::Reset).encode());
        }
        if self.may_confirm() {
            self.fin_ack_due = false;
            return Some(Message::flag(Flag::FinAck).encode());
        }
        if self.stop_due {
            self.stop_due = false;
            self.stop_sent = true;
            return Some(Message::flag(Flag::StopSending).encode());
        }
        if self.credit_due {
            self.credit_due = false;
            return Some(Message { credit: Some(self.granted), ..Message::default() }.encode());
        }
        if !self.unsent.is_empty() {
            let bound = if self.peer_knows_fin_ack { DATA_BYTES } else { LEGACY_DATA_BYTES };
            return Some(frame::encode_data(&mut self.unsent, bound));
        }
        if self.write == WriteHalf::Closing {
            // Not in the same message as the last data: one published implementation would lose that data.
            self.write = WriteHalf::FinSent;
            self.end_sent = true;
            return Some(Message::flag(Flag::Fin).encode());
        }
        None
    }

    /// Whether [`Stream::next_message`] would return a message.
    pub fn has_message(&self) -> bool {
        self.reset_due
            || self.may_confirm()
            || self.stop_due
            || self.credit_due
            || !self.unsent.is_empty()
            || self.write == WriteHalf::Closing
    }

    fn may_confirm(&self) -> bool {
        self.fin_ack_due && (self.peer_knows_fin_ack || self.end_sent)
    }

    /// The data channel was closed by the peer, or the connection ended.
    pub fn channel_closed(&mut self) {
        self.peer_ended = true;
        self.peer_stopped = true;
        self.end_sent = true;
        self.stop_sent = true;
        self.fail_write(StreamError::Gone);
        if self.read == ReadHalf::Open {
            // Data received so far stays readable.
            self.read = ReadHalf::Failed(StreamError::Gone);
        }
        self.forget_messages();
    }

    /// Whether the peer has shown support for credits.
    pub fn peer_knows_credits(&self) -> bool {
        self.peer_knows_credits
    }

    /// Whether the peer has shown support for FIN_ACK.
    pub fn peer_knows_fin_ack(&self) -> bool {
        self.peer_knows_fin_ack
    }

    /// Whether the data channel may be closed: nothing is left to send, and the peer will send neither data nor flags,
    /// because it has ended its direction and has confirmed our FIN or stopped reading.
    ///
    /// Two peers on this crate get there once both applications have dropped the stream. Other implementations may not:
    /// close the channel [`STREAM_LINGER`](crate::limits::STREAM_LINGER) after [`Stream::release`] in any case.
    pub fn is_done(&self) -> bool {
        let written = match self.write {
            WriteHalf::Finished => true,
            WriteHalf::Failed(_) => self.peer_stopped,
            WriteHalf::Open | WriteHalf::Closing | WriteHalf::FinSent => false,
        };
        written && self.peer_ended && !self.has_message()
    }

    // --- Internals --------------------------------------------------------------------------------------------

    fn discard_received(&mut self) {
        self.consumed += self.received_bytes as u64;
        self.received_bytes = 0;
        self.received.clear();
    }

    fn fail_read(&mut self, error: StreamError) {
        self.discard_received();
        self.credit_due = false;
        self.read = ReadHalf::Failed(error);
    }

    fn fail_write(&mut self, error: StreamError) {
        if !matches!(self.write, WriteHalf::Finished | WriteHalf::Failed(_)) {
            self.write = WriteHalf::Failed(error);
            self.unsent = BytesMut::new();
        }
    }

    /// Ends both halves and tells the peer.
    fn fail(&mut self, error: StreamError) {
        self.fail_read(error);
        self.fail_write(error);
        self.forget_messages();
        self.reset_due = true;
        self.stop_due = true;
    }

    fn forget_messages(&mut self) {
        self.reset_due = false;
        self.fin_ack_due = false;
        self.stop_due = false;
        self.credit_due = false;
        self.unsent = BytesMut::new();
    }
}

#[cfg(test)]
mod tests;
