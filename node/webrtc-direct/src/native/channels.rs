//! The data channels of one connection: opening, passing messages between streams and SCTP, closing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::dcep;
use super::ids::Ids;
use super::sctp::{Event, Kind, Sctp};
use crate::Error;
use crate::credentials::Version;
use crate::limits::{INBOUND_BACKLOG, MESSAGE_BYTES, STREAM_LINGER, STREAMS, UNREAD_BYTES};
use crate::stream::{CREDIT_PROTOCOL, Credits, Progress, Stream};

/// Identifies a channel within its connection. Unlike an SCTP stream id it is never reused.
pub(crate) type Key = u64;

/// Stream id of the Noise handshake's channel.
pub(crate) const HANDSHAKE: u16 = 0;

pub(crate) struct Channel {
    pub(crate) stream: Stream,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// SCTP stream id, until both sides have closed the channel.
    id: Option<u16>,
    /// One side has closed the channel; the other may not have yet.
    closing: bool,
    /// In the queue of channels with messages to send.
    queued: bool,
    /// The application has dropped the stream.
    released: bool,
    /// The application dropped the stream [`STREAM_LINGER`] ago, and the peer has not confirmed its end.
    overdue: bool,
}

impl Channel {
    fn wake(&mut self, progress: Progress) {
        if progress.readable
            && let Some(waker) = self.reader.take()
        {
            waker.wake();
        }
        if progress.writable
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        self.wake(Progress { readable: true, writable: true });
    }
}

pub(crate) struct Channels {
    sctp: Sctp,
    connected: bool,
    channels: HashMap<Key, Channel>,
    by_id: HashMap<u16, Key>,
    next_key: Key,
    /// The channel of the Noise handshake. Its stream id may be reused later.
    handshake: Option<Key>,
    ids: Ids,
    /// Channels that the peer opened and that have not been accepted yet.
    backlog: VecDeque<Key>,
    acceptor: Option<Waker>,
    opener: Option<Waker>,
    /// Ids of streams whose buffer is full: their data stays in SCTP.
    paused: BTreeSet<u16>,
    /// Bytes that all streams together hold unread or have granted, beyond the initial window of each.
    beyond: usize,
    /// Channels with messages to send, in round-robin order.
    ready: VecDeque<Key>,
    /// Bytes handed to SCTP and not yet acknowledged.
    sending: usize,
    /// Channels whose stream the application has dropped, in the order of their deadlines.
    lingering: VecDeque<(Instant, Key)>,
    peer_knows_credits: bool,
    peer_knows_fin_ack: bool,
    dialer: bool,
}

impl Channels {
    pub(crate) fn new(dialer: bool, version: Version, now: Instant) -> Result<Self, Error> {
        Ok(Self {
            sctp: if dialer { Sctp::client(now)? } else { Sctp::server(now) },
            connected: false,
            channels: HashMap::new(),
            by_id: HashMap::new(),
            next_key: 0,
            handshake: None,
            ids: Ids::new(dialer),
            backlog: VecDeque::new(),
            acceptor: None,
            opener: None,
            paused: BTreeSet::new(),
            beyond: 0,
            ready: VecDeque::new(),
            sending: 0,
            lingering: VecDeque::new(),
            peer_knows_credits: false,
            // The specification had FIN_ACK before version 2.
            peer_knows_fin_ack: version == Version::V2,
            dialer,
        })
    }

    // --- Packets and time -------------------------------------------------------------------------------------

    pub(crate) fn receive(&mut self, packet: Bytes, now: Instant) -> Result<(), Error> {
        self.sctp.receive(packet, now)
    }

    /// Processes timeouts and SCTP's events until there are none, then queues messages for sending.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<(), Error> {
        self.sctp.handle_timeout(now);
        loop {
            while let Some(event) = self.sctp.poll()? {
                self.handle(event, now)?;
            }
            for id in self.sctp.ended(|id| self.paused.contains(&id)) {
                self.ended(id);
            }
            let paused = &self.paused;
            self.sctp.release_resets(|id| paused.contains(&id), now)?;
            match self.sctp.poll()? {
                Some(event) => self.handle(event, now)?,
                None => break,
            }
        }
        while self.lingering.front().is_some_and(|(deadline, _)| *deadline <= now) {
            let Some((_, key)) = self.lingering.pop_front() else { break };
            self.change(key, |channel| {
                channel.overdue = true;
                channel.stream.channel_closed();
            });
            self.settle(key);
        }
        self.pump(now);
        Ok(())
    }

    /// Packets to send now.
    pub(crate) fn transmit(&mut self, now: Instant) -> Result<Option<Vec<Bytes>>, Error> {
        if self.sctp.is_overrun() {
            return Err(Error::Violation("it sent more data than the SCTP receive window allows"));
        }
        self.sctp.transmit(now)
    }

    /// Whether [`Channels::advance`] must be called again after [`Channels::transmit`].
    pub(crate) fn has_due_resets(&mut self) -> bool {
        let paused = &self.paused;
        self.sctp.has_due_resets(|id| paused.contains(&id))
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.sctp.next_timeout().into_iter().chain(self.lingering.front().map(|(deadline, _)| *deadline)).min()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    fn handle(&mut self, event: Event, now: Instant) -> Result<(), Error> {
        match event {
            Event::Connected => {
                self.connected = true;
                self.handshake = Some(self.insert(HANDSHAKE, Credits::Absent));
                self.sctp.open(HANDSHAKE);
                // Data may arrive before the packet that establishes the association.
                for id in self.sctp.ids() {
                    self.read(id, now);
                }
            }
            Event::Readable(id) => self.read(id, now),
            Event::Opened if self.sctp.ids().len() > 2 * STREAMS => {
                return Err(Error::Violation("it uses more than twice the maximum number of streams"));
            }
            Event::Opened => {}
            Event::Released(bytes) => self.sending = self.sending.saturating_sub(bytes),
            Event::Closed(id) => self.closed(id),
        }
        Ok(())
    }

    // --- Receiving --------------------------------------------------------------------------------------------

    /// Moves messages from SCTP to a stream while the stream has room.
    fn read(&mut self, id: u16, now: Instant) {
        loop {
            let key = self.by_id.get(&id).copied();
            if let Some(channel) = key.and_then(|key| self.channels.get(&key))
                && !channel.stream.has_room(self.spare())
            {
                self.paused.insert(id);
                return;
            }
            let Some((kind, message)) = self.sctp.read(id) else { return };
            match (key, kind) {
                (Some(key), Kind::Data) => self.deliver(key, id, message),
                (Some(_), Kind::Control) => {} // DATA_CHANNEL_ACK, which needs no action
                (None, Kind::Control) => self.opened(id, message, now),
                (None, Kind::Data) => tracing::debug!(id, "discarding data on a channel that was not opened"),
            }
        }
    }

    fn spare(&self) -> usize {
        UNREAD_BYTES.saturating_sub(self.beyond)
    }

    /// Continues with paused streams that have room again. Returns whether any stream was paused.
    fn resume(&mut self, now: Instant) -> bool {
        let paused = std::mem::take(&mut self.paused);
        for &id in &paused {
            self.read(id, now);
        }
        !paused.is_empty()
    }

    /// Changes a stream, grants credits, and updates the connection's accounting.
    fn change<T>(&mut self, key: Key, act: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let spare = self.spare();
        let channel = self.channels.get_mut(&key)?;
        let before = channel.stream.beyond();
        let result = act(channel);
        channel.stream.grant(spare);
        self.beyond = self.beyond - before + channel.stream.beyond();
        Some(result)
    }

    fn deliver(&mut self, key: Key, id: u16, message: Bytes) {
        let knows = self.change(key, |channel| {
            match channel.stream.receive(message) {
                Ok(progress) => channel.wake(progress),
                Err(error) => {
                    tracing::debug!(id, %error, "stream reset");
                    channel.wake_all();
                }
            }
            (channel.stream.peer_knows_credits(), channel.stream.peer_knows_fin_ack())
        });
        if let Some((credits, fin_ack)) = knows {
            self.peer_knows_credits |= credits;
            self.peer_knows_fin_ack |= fin_ack;
        }
        self.queue(key);
        self.settle(key);
    }

    /// The peer has opened a channel.
    fn opened(&mut self, id: u16, message: Bytes, now: Instant) {
        // Browsers reuse id 0 once the handshake's channel is closed.
        let peers = !self.is_ours(id);
        let Some(dcep::Message::Open { protocol }) = dcep::Message::decode(message).filter(|_| peers) else {
            return tracing::debug!(id, "ignoring an invalid request to open a channel");
        };
        let knows = protocol == CREDIT_PROTOCOL.as_bytes();
        self.peer_knows_credits |= knows;
        let credits = if knows { Credits::Announce } else { Credits::Absent };
        self.send(id, Kind::Control, &dcep::Message::Ack.encode(), now);
        let key = self.insert(id, credits);
        self.queue(key);
        if self.channels.len() > STREAMS || self.backlog.len() >= INBOUND_BACKLOG {
            tracing::debug!(id, "refusing a stream: too many are open or not accepted yet");
            return self.release(key, now);
        }
        self.backlog.push_back(key);
        wake(&mut self.acceptor);
    }

    /// Whether this side opened the channel. The opener closes it first, and the other side follows. If both started,
    /// other implementations would reset the stream twice, and the second reset could hit the next stream with that id.
    fn is_ours(&self, id: u16) -> bool {
        if id == HANDSHAKE { self.dialer } else { id.is_multiple_of(2) == self.dialer }
    }

    /// The peer has closed a channel. What this side still has to send is discarded.
    fn ended(&mut self, id: u16) {
        let Some(&key) = self.by_id.get(&id) else { return };
        self.change(key, |channel| {
            channel.closing = true;
            channel.stream.channel_closed();
            channel.wake_all();
        });
    }

    /// Both sides have closed a channel.
    fn closed(&mut self, id: u16) {
        self.paused.remove(&id);
        let Some(key) = self.by_id.remove(&id) else { return };
        if self.is_ours(id) && id != HANDSHAKE {
            self.ids.release(id);
        }
        self.change(key, |channel| {
            channel.id = None;
            channel.stream.channel_closed();
            channel.wake_all();
        });
        self.settle(key);
    }

    // --- Sending ----------------------------------------------------------------------------------------------

    fn queue(&mut self, key: Key) {
        if let Some(channel) = self.channels.get_mut(&key)
            && !channel.queued
            && channel.stream.has_message()
        {
            channel.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Moves messages from streams to SCTP in round-robin order, while the send window has room.
    fn pump(&mut self, now: Instant) {
        let window = self.sctp.send_window();
        // Room for a message of maximum length.
        while self.connected
            && self.sending + MESSAGE_BYTES <= window
            && let Some(key) = self.ready.pop_front()
        {
            let Some(channel) = self.channels.get_mut(&key) else { continue };
            channel.queued = false;
            let Some(id) = channel.id.filter(|_| !channel.closing) else { continue };
            let Some(message) = channel.stream.next_message() else { continue };
            channel.wake(Progress { readable: false, writable: true });
            self.send(id, Kind::Data, &message, now);
            self.queue(key);
            self.settle(key);
        }
    }

    fn send(&mut self, id: u16, kind: Kind, message: &Bytes, now: Instant) {
        if self.sctp.write(id, kind, message, now) {
            self.sending += message.len();
        }
    }

    /// Closes the channel if its stream is done, and removes the stream if both sides have closed and released it.
    fn settle(&mut self, key: Key) {
        let ours = self.channels.get(&key).and_then(|channel| channel.id).is_some_and(|id| self.is_ours(id));
        let Some(channel) = self.channels.get_mut(&key) else { return };
        if channel.stream.is_done() && !channel.closing && (ours || channel.overdue) {
            channel.closing = true;
            if let Some(id) = channel.id {
                self.sctp.close(id);
            }
        }
        if channel.released && channel.id.is_none() {
            self.channels.remove(&key);
            wake(&mut self.opener);
        }
    }

    // --- The application's side -------------------------------------------------------------------------------

    fn insert(&mut self, id: u16, credits: Credits) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        let channel = Channel {
            stream: Stream::new(credits, self.peer_knows_fin_ack),
            reader: None,
            writer: None,
            id: Some(id),
            closing: false,
            queued: false,
            released: false,
            overdue: false,
        };
        self.channels.insert(key, channel);
        self.by_id.insert(id, key);
        key
    }

    pub(crate) fn handshake(&self) -> Option<Key> {
        self.handshake
    }

    /// Opens a channel. Pending while the maximum number of streams is open.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Key> {
        let Self { ids, sctp, .. } = self;
        let room = self.channels.len() < STREAMS;
        let id = if room { ids.take(sctp.id_limit(), |id| sctp.is_free(id)) } else { None };
        let Some(id) = id.filter(|&id| self.sctp.open(id)) else {
            self.opener = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let open = dcep::Message::Open { protocol: Bytes::from_static(CREDIT_PROTOCOL.as_bytes()) };
        self.send(id, Kind::Control, &open.encode(), now);
        let credits = if self.peer_knows_credits { Credits::Known } else { Credits::Unknown };
        Poll::Ready(self.insert(id, credits))
    }

    /// Accepts the next channel that the peer opened.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Key> {
        match self.backlog.pop_front() {
            Some(key) => Poll::Ready(key),
            None => {
                self.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Runs an operation of the application on a stream, then queues what became sendable. Returns its result and
    /// whether the driver must run; none if the stream has been removed.
    pub(crate) fn with<T>(&mut self, key: Key, act: impl FnOnce(&mut Channel) -> T, now: Instant) -> Option<(T, bool)> {
        let result = self.change(key, act)?;
        let resumed = self.resume(now);
        self.queue(key);
        self.settle(key);
        Some((result, resumed || !self.ready.is_empty()))
    }

    /// The application drops a stream.
    pub(crate) fn release(&mut self, key: Key, now: Instant) {
        let release = |channel: &mut Channel| {
            channel.released = true;
            channel.stream.release();
        };
        if self.change(key, release).is_some() {
            self.lingering.push_back((now + STREAM_LINGER, key));
            self.resume(now);
            self.queue(key);
            self.settle(key);
        }
    }

    /// The connection has ended: ends all streams and wakes their users.
    pub(crate) fn end(&mut self) {
        for channel in self.channels.values_mut() {
            channel.stream.channel_closed();
            channel.id = None;
            channel.wake_all();
        }
        self.channels.retain(|_, channel| !channel.released);
        self.beyond = self.channels.values().map(|channel| channel.stream.beyond()).sum();
        self.by_id.clear();
        self.paused.clear();
        self.ready.clear();
        self.lingering.clear();
        wake(&mut self.acceptor);
        wake(&mut self.opener);
    }

    pub(crate) fn abort(&mut self) {
        self.sctp.abort();
    }

    /// Closes a channel at any time, as browsers may.
    #[cfg(test)]
    pub(crate) fn close(&mut self, key: Key) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.closing = true;
            channel.id.into_iter().for_each(|id| self.sctp.close(id));
        }
    }

    /// Makes the id of the handshake's channel available, as browsers do.
    #[cfg(test)]
    pub(crate) fn release_handshake_id(&mut self) {
        self.ids.release(HANDSHAKE);
    }

    /// Number of streams held in memory.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
