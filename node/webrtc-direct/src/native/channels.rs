//! The data channels of one connection: opening, moving messages between streams and SCTP, closing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::dcep;
use super::error::Error;
use super::ids::Ids;
use super::sctp::{Event, Kind, Sctp};
use crate::credentials::Version;
use crate::limits::{INBOUND_BACKLOG, MESSAGE_BYTES, STREAM_LINGER, STREAMS, UNREAD_BYTES};
use crate::stream::{CREDIT_PROTOCOL, Credits, Progress, Stream};

/// Name of a channel within its connection, never given out twice as SCTP's ids are.
pub(crate) type Key = u64;

/// The channel of the Noise handshake.
pub(crate) const HANDSHAKE: u16 = 0;

pub(crate) struct Channel {
    pub(crate) stream: Stream,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// SCTP's id, until the stream's channel is closed on both sides.
    id: Option<u16>,
    /// One side has closed the channel; the other may not have yet.
    closing: bool,
    /// In the queue of those that have something to send.
    queued: bool,
    /// The user has let go.
    released: bool,
    /// The user let go long ago, and the peer has not confirmed it.
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
    /// The channel of the Noise handshake. Its id may belong to another one later.
    handshake: Option<Key>,
    ids: Ids,
    /// Channels that the peer opened and nobody has accepted.
    backlog: VecDeque<Key>,
    acceptor: Option<Waker>,
    opener: Option<Waker>,
    /// Ids of streams whose readers are behind: what comes for them stays in SCTP.
    paused: BTreeSet<u16>,
    /// Bytes that all streams together hold or have promised to take, beyond the initial window of each.
    beyond: usize,
    /// Channels with something to send, in turn.
    ready: VecDeque<Key>,
    /// Bytes that SCTP holds for sending.
    sending: usize,
    /// Channels whose user has let go, in the order of their deadlines.
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
            // It is older than version 2.
            peer_knows_fin_ack: version == Version::V2,
            dialer,
        })
    }

    // --- Packets and time -------------------------------------------------------------------------------------

    pub(crate) fn receive(&mut self, packet: Bytes, now: Instant) -> Result<(), Error> {
        self.sctp.receive(packet, now)
    }

    /// Does all that can be done now, until SCTP has nothing more to say.
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

    /// Packets to be sent now.
    pub(crate) fn transmit(&mut self, now: Instant) -> Result<Option<Vec<Bytes>>, Error> {
        if self.sctp.is_overrun() {
            return Err(Error::Violation("more data than the receive window takes"));
        }
        self.sctp.transmit(now)
    }

    /// Whether [`Channels::advance`] has more to do after what [`Channels::transmit`] gave.
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
                // Data may have overtaken what establishes the association.
                for id in self.sctp.ids() {
                    self.read(id, now);
                }
            }
            Event::Readable(id) => self.read(id, now),
            Event::Opened if self.sctp.ids().len() > 2 * STREAMS => {
                return Err(Error::Violation("more streams than anyone needs"));
            }
            Event::Opened => {}
            Event::Released(bytes) => self.sending = self.sending.saturating_sub(bytes),
            Event::Closed(id) => self.closed(id),
        }
        Ok(())
    }

    // --- Receiving --------------------------------------------------------------------------------------------

    /// Moves messages from SCTP to a stream while it has room.
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
                (Some(_), Kind::Control) => {} // the confirmation, which nobody waits for
                (None, Kind::Control) => self.opened(id, message, now),
                (None, Kind::Data) => tracing::debug!(id, "data on a channel that was not opened"),
            }
        }
    }

    fn spare(&self) -> usize {
        UNREAD_BYTES.saturating_sub(self.beyond)
    }

    /// Reads on where a reader was behind, if it is no longer. Whether there was one.
    fn resume(&mut self, now: Instant) -> bool {
        let paused = std::mem::take(&mut self.paused);
        for &id in &paused {
            self.read(id, now);
        }
        !paused.is_empty()
    }

    /// Lets a stream change, and keeps count of what it holds.
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
                    tracing::debug!(id, %error, "stream given up");
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

    /// The peer opens a channel.
    fn opened(&mut self, id: u16, message: Bytes, now: Instant) {
        // Browsers use id 0 again once the handshake's channel is closed.
        let peers = !self.is_ours(id);
        let Some(dcep::Message::Open { protocol }) = dcep::Message::decode(message).filter(|_| peers) else {
            return tracing::debug!(id, "a channel opened against the rules");
        };
        let knows = protocol == CREDIT_PROTOCOL.as_bytes();
        self.peer_knows_credits |= knows;
        let credits = if knows { Credits::Announce } else { Credits::Absent };
        self.send(id, Kind::Control, &dcep::Message::Ack.encode(), now);
        let key = self.insert(id, credits);
        self.queue(key);
        if self.channels.len() > STREAMS || self.backlog.len() >= INBOUND_BACKLOG {
            tracing::debug!(id, "too many streams: one more is refused");
            return self.release(key, now);
        }
        self.backlog.push_back(key);
        wake(&mut self.acceptor);
    }

    /// Who opened a channel closes it, and the other side follows. Both could begin, but other implementations then reset
    /// the stream twice, and the second reset could meet the id's next stream.
    fn is_ours(&self, id: u16) -> bool {
        if id == HANDSHAKE { self.dialer } else { id.is_multiple_of(2) == self.dialer }
    }

    /// The peer has closed a channel, perhaps in the middle of what we send: no more of that is of use.
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

    /// Moves messages from streams to SCTP, one of each stream in turn, while SCTP has room.
    fn pump(&mut self, now: Instant) {
        let window = self.sctp.send_window();
        // A whole message, whatever its length will be.
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

    /// Closes the channel if its stream is done, and forgets the stream if its user has let go too.
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

    // --- The user's side --------------------------------------------------------------------------------------

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

    /// Opens a channel. Pending while there are as many as there may be.
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

    /// Takes the next channel that the peer opened.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Key> {
        match self.backlog.pop_front() {
            Some(key) => Poll::Ready(key),
            None => {
                self.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Lets the user's side of a stream act; afterwards the stream is moved along. None if the stream is forgotten.
    /// Also says whether SCTP has something to do now.
    pub(crate) fn with<T>(&mut self, key: Key, act: impl FnOnce(&mut Channel) -> T, now: Instant) -> Option<(T, bool)> {
        let result = self.change(key, act)?;
        let resumed = self.resume(now);
        self.queue(key);
        self.settle(key);
        Some((result, resumed || !self.ready.is_empty()))
    }

    /// The user lets go of a stream.
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

    /// The connection is over: every stream ends and everyone is told.
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

    /// Does as browsers do, which may close a channel at any time.
    #[cfg(test)]
    pub(crate) fn close(&mut self, key: Key) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.closing = true;
            channel.id.into_iter().for_each(|id| self.sctp.close(id));
        }
    }

    /// Does as browsers do, which use the id of the handshake's channel again.
    #[cfg(test)]
    pub(crate) fn release_handshake_id(&mut self) {
        self.ids.release(HANDSHAKE);
    }

    /// Streams that are not forgotten, for tests of growth.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
