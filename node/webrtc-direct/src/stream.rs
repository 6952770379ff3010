//! One libp2p stream on one data channel: half-closing, reset, and back-pressure, without IO.
//!
//! A transport gives what its data channel delivers to [`Stream::receive`] and sends what [`Stream::next_message`]
//! hands out whenever the channel has room. The user's side is [`Stream::read`], [`Stream::write`] and the rest;
//! `Pending` means: try again after the next [`Progress`].
//!
//! # Closing
//! As the specification says: FIN ends one direction and is confirmed by FIN_ACK, STOP_SENDING ends the other,
//! RESET_STREAM gives up. The data channel may be closed once [`Stream::is_done`].
//!
//! The published crates for Rust (libp2p-webrtc 0.10, libp2p-webrtc-websys 0.5) are older than FIN_ACK, and take one for
//! a broken stream. They speak version 1 only. So a peer of version 1 that has not shown to know FIN_ACK gets none before
//! our own end, after which these read no more, and gets no message that is too long for them.
//!
//! # Credits
//! Data channels in browsers cannot be told to stop reading, so a fast writer fills a slow reader's memory. Between
//! two ends of this crate the reader says in a message how far the writer may go
//! ([`Message::credit`](crate::frame::Message::credit)): [`INITIAL_WINDOW_BYTES`] from the start, and up to
//! [`RECEIVE_WINDOW_BYTES`] once its user reads ([`Stream::grant`]). Nobody is sent a credit who has not shown to
//! understand it, as one published implementation takes a message without data for the end of the stream. Who opens a
//! channel shows it by the channel's protocol, [`CREDIT_PROTOCOL`], which others ignore; who accepts such a channel
//! answers with a credit before all else. So the first message that the opener gets tells what the peer is; until then
//! it keeps within the window, and after another it need not.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::frame::{self, Decoder, Flag, InvalidMessage, Message};
use crate::limits::{DATA_BYTES, INITIAL_WINDOW_BYTES, OLD_DATA_BYTES, RECEIVE_HARD_BYTES, RECEIVE_WINDOW_BYTES};

mod user;

/// Protocol of the data channels that we open: "this end understands credits".
pub const CREDIT_PROTOCOL: &str = "libp2p-webrtc-credit/1";

/// What is known of the peer when a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credits {
    /// We open the channel, and the peer may be any implementation: its first message will tell.
    Unknown,
    /// The peer opened the channel and has not said that it understands credits.
    Absent,
    /// We open the channel, and the peer has shown on another one that it understands credits.
    Known,
    /// The peer opened the channel and has said that it understands credits: tell it at once that we do.
    Announce,
}

/// What a delivery has changed for the user of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// [`Stream::read`] may say something else than before.
    pub readable: bool,
    /// [`Stream::write`] or [`Stream::poll_flushed`] may say something else than before.
    pub writable: bool,
}

/// Why reading or writing is over.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamError {
    /// The peer sent RESET_STREAM.
    #[error("the peer reset the stream")]
    Reset,
    /// The peer sent STOP_SENDING.
    #[error("the peer reads no more from the stream")]
    Stopped,
    /// This side closed or reset this half.
    #[error("the stream was closed on this side")]
    Closed,
    /// The data channel or the whole connection went away.
    #[error("the stream's data channel is gone")]
    Gone,
    /// The peer sent what is no message, or far more than it may.
    #[error("the peer broke the protocol of the stream")]
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
    /// FIN has come.
    Finished,
    /// Over, for a reason that the reader is told after what is buffered.
    Failed(StreamError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteHalf {
    Open,
    /// FIN follows what is buffered.
    Closing,
    FinSent,
    /// FIN_ACK has come.
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
    /// Bytes handed to the reader, or thrown away for it, since the start.
    consumed: u64,
    /// How far we have told the peer that it may go, or are about to.
    granted: u64,
    /// How far that was beyond what was read, when it was last looked at.
    window: usize,
    peer_knows_credits: bool,
    peer_knows_fin_ack: bool,

    write: WriteHalf,
    unsent: BytesMut,
    /// The peer stopped reading before the channel had taken all.
    cut_short: bool,
    /// Bytes taken from the writer since the start.
    written: u64,
    /// How far we may go; no bound if the peer understands no credits.
    limit: Option<u64>,

    /// The peer has said that it sends no more: by FIN, by RESET_STREAM, or by closing the channel.
    peer_ended: bool,
    /// We have said so, by FIN or by RESET_STREAM.
    end_told: bool,
    /// We have sent STOP_SENDING.
    stop_told: bool,
    /// The peer has sent STOP_SENDING, or has closed the channel.
    peer_stopped: bool,

    fin_ack_due: bool,
    stop_due: bool,
    reset_due: bool,
    credit_due: bool,
}

impl Stream {
    /// A stream at its start. `fin_ack`: the peer is known to know FIN_ACK, by its version or from another stream.
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
            end_told: false,
            stop_told: false,
            peer_stopped: false,
            fin_ack_due: false,
            stop_due: false,
            reset_due: false,
            credit_due: credits == Credits::Announce,
        }
    }

    // --- The data channel's side ------------------------------------------------------------------------------

    /// Takes what the data channel delivered. After an error the stream is reset and the rest is of no interest.
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
                // After our FIN its FIN_ACK is still to come.
                if matches!(self.write, WriteHalf::Open | WriteHalf::Closing) {
                    self.cut_short = !self.unsent.is_empty() || self.write == WriteHalf::Closing;
                    // Who has closed says no more, so the end is told now.
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

    /// Whether the channel may deliver more, if the connection has `spare` bytes left for its streams ([`Stream::grant`]).
    /// A channel that can wait should wait while this is false. It never is where the peer understands credits: that
    /// would hold up the credits and flags behind its data.
    pub fn has_room(&self, spare: usize) -> bool {
        let bound = if spare > 0 { RECEIVE_WINDOW_BYTES } else { INITIAL_WINDOW_BYTES };
        self.peer_knows_credits || self.received_bytes < bound
    }

    /// Lets the peer go on, if the user has read enough that it is worth a message. To be called after each read.
    ///
    /// `spare`: bytes that the connection may still promise to its streams, beyond [`INITIAL_WINDOW_BYTES`] each. What
    /// this stream takes of them is in [`Stream::beyond`].
    pub fn grant(&mut self, spare: usize) {
        if !self.peer_knows_credits || self.read != ReadHalf::Open {
            return;
        }
        let ahead = (self.granted - self.consumed) as usize;
        // For each half of a window: few messages, and the writer does not run dry.
        if ahead > self.window / 2 {
            return;
        }
        // Half of what is left, so that something is left for others.
        let beyond = (self.beyond() + spare / 2).min(RECEIVE_WINDOW_BYTES - INITIAL_WINDOW_BYTES);
        self.window = INITIAL_WINDOW_BYTES + beyond;
        if self.window > ahead {
            self.granted = self.consumed + self.window as u64;
            self.credit_due = true;
        }
    }

    /// Bytes beyond [`INITIAL_WINDOW_BYTES`] that this stream holds unread or has promised to take.
    pub fn beyond(&self) -> usize {
        let open = self.peer_knows_credits && self.read == ReadHalf::Open;
        let held = if open { (self.granted - self.consumed) as usize } else { self.received_bytes };
        held.saturating_sub(INITIAL_WINDOW_BYTES)
    }

    /// Bytes received and not read yet.
    pub fn unread(&self) -> usize {
        self.received_bytes
    }

    /// The next message for the data channel. Call only if the channel has room for it.
    pub fn next_message(&mut self) -> Option<Bytes> {
        if self.reset_due {
            self.reset_due = false;
            self.end_told = true;
            return Some(Message::flag(Flag::Reset).encode());
        }
        if self.may_confirm() {
            self.fin_ack_due = false;
            return Some(Message::flag(Flag::FinAck).encode());
        }
        if self.stop_due {
            self.stop_due = false;
            self.stop_told = true;
            return Some(Message::flag(Flag::StopSending).encode());
        }
        if self.credit_due {
            self.credit_due = false;
            return Some(Message { credit: Some(self.granted), ..Message::default() }.encode());
        }
        if !self.unsent.is_empty() {
            let bound = if self.peer_knows_fin_ack { DATA_BYTES } else { OLD_DATA_BYTES };
            return Some(frame::encode_data(&mut self.unsent, bound));
        }
        if self.write == WriteHalf::Closing {
            // Not in one message with the last data: one published implementation loses that data.
            self.write = WriteHalf::FinSent;
            self.end_told = true;
            return Some(Message::flag(Flag::Fin).encode());
        }
        None
    }

    /// Whether [`Stream::next_message`] would give one.
    pub fn has_message(&self) -> bool {
        self.reset_due
            || self.may_confirm()
            || self.stop_due
            || self.credit_due
            || !self.unsent.is_empty()
            || self.write == WriteHalf::Closing
    }

    fn may_confirm(&self) -> bool {
        self.fin_ack_due && (self.peer_knows_fin_ack || self.end_told)
    }

    /// The data channel was closed by the peer, or the connection ended.
    pub fn channel_closed(&mut self) {
        self.peer_ended = true;
        self.peer_stopped = true;
        self.end_told = true;
        self.stop_told = true;
        self.fail_write(StreamError::Gone);
        if self.read == ReadHalf::Open {
            // What has come stays readable.
            self.read = ReadHalf::Failed(StreamError::Gone);
        }
        self.forget_messages();
    }

    /// Whether the peer has shown that it understands credits.
    pub fn peer_knows_credits(&self) -> bool {
        self.peer_knows_credits
    }

    /// Whether the peer has shown that it knows FIN_ACK.
    pub fn peer_knows_fin_ack(&self) -> bool {
        self.peer_knows_fin_ack
    }

    /// Whether the data channel may be closed: nothing is left to send, and the peer will send nothing more, neither
    /// data nor flags, as it has ended its sending and has confirmed our FIN or said that it stopped reading.
    ///
    /// Two ends of this crate get there once both users have let go. Others may never say so: close the channel
    /// [`STREAM_LINGER`](crate::limits::STREAM_LINGER) after [`Stream::release`] all the same.
    pub fn is_done(&self) -> bool {
        let written = match self.write {
            WriteHalf::Finished => true,
            WriteHalf::Failed(_) => self.peer_stopped,
            WriteHalf::Open | WriteHalf::Closing | WriteHalf::FinSent => false,
        };
        written && self.peer_ended && !self.has_message()
    }

    // --- Within -----------------------------------------------------------------------------------------------

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

    /// Both halves end and the peer is told.
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
