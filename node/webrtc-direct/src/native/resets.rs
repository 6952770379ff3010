//! Stream resets (RFC 6525), implemented here instead of by the SCTP library.
//!
//! The library sends several requests at a time, which browsers refuse. It resets a stream again when the peer responds
//! to its reset, does not retransmit all lost requests, forgets deferred ones, and performs a request for several
//! streams partially, then again in full, when the ids may already belong to other streams. So no RE-CONFIG chunk of
//! the peer reaches the library, and none of the library's is sent. Instead, one outgoing request is in progress at a
//! time, each request of the peer is performed once, as a whole, and the library learns only of the result (`sctp`).
//!
//! A channel is closed as in RFC 8831, section 6.7: one side resets its outgoing stream, then the other side resets its
//! own. Each waits until everything that it sent on the stream is acknowledged, so no reset overtakes data. The id is
//! reused once both resets are performed ([`Resets::is_in_progress`]) and the library has removed the stream.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::packet::{self, Chunk, Header, Outcome};
use crate::limits::{HELD_RESET_STREAMS, HELD_RESETS, RESET_ANSWERS, RESET_STREAMS};

/// First retransmission interval of a request without a response: usually several round trips. Doubles each time.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(300);
/// Maximum retransmission interval. If the peer's reader is slow, the response comes late and without a retransmission.
const MAX_RETRANSMISSION_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Resets {
    /// State of the outgoing direction; none before the first data is sent.
    outgoing: Option<Outgoing>,
    /// Streams that this side has closed and the peer has not.
    closed: HashSet<u16>,
    /// Streams to reset, not requested yet.
    wanted: BTreeSet<u16>,
    /// The outgoing request in progress.
    request: Option<Request>,
    /// Streams that the peer refused to reset: their ids are never reused.
    denied: HashSet<u16>,
    /// Header of the peer's packets.
    incoming: Option<Header>,
    /// Sequence number of the peer's first request that has not been performed.
    next: Option<u32>,
    /// Later requests of the peer that have been performed already.
    done: HashSet<u32>,
    /// Requests of the peer that cannot be performed yet.
    held: VecDeque<Held>,
    /// Responses to the peer, to be sent.
    answers: VecDeque<Bytes>,
    /// Cumulative TSN: all of the peer's data up to here has been received.
    received: Option<u32>,
}

#[derive(Debug)]
struct Outgoing {
    header: Header,
    /// Sequence number of the next request.
    sequence: u32,
    /// TSN of the last data sent.
    last_tsn: u32,
}

#[derive(Debug)]
struct Request {
    sequence: u32,
    streams: Vec<u16>,
    packet: Bytes,
    retransmit_at: Instant,
    interval: Duration,
}

/// A reset request of the peer.
#[derive(Debug)]
struct Held {
    sequence: u32,
    last_tsn: u32,
    streams: Vec<u16>,
}

/// State of a stream in the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// The association does not have it.
    Absent,
    /// It has sent data that is not acknowledged, or received data that is not read.
    Busy,
    Idle,
}

impl Resets {
    // --- Outgoing requests ------------------------------------------------------------------------------------

    /// Resets an existing stream, once everything sent on it is acknowledged.
    pub(crate) fn close(&mut self, id: u16) {
        if self.closed.insert(id) {
            self.wanted.insert(id);
        }
    }

    /// Whether a reset of the stream, by either side, is not performed yet, or was refused.
    pub(crate) fn is_in_progress(&self, id: u16) -> bool {
        let requested = self.request.iter().map(|request| &request.streams);
        let held = self.held.iter().map(|held| &held.streams);
        self.wanted.contains(&id) || self.denied.contains(&id) || requested.chain(held).any(|ids| ids.contains(&id))
    }

    /// Observes an outgoing packet.
    pub(crate) fn sent(&mut self, packet: &[u8]) {
        if let Some((first, last)) = packet::data(packet) {
            match &mut self.outgoing {
                Some(outgoing) if packet::at_most(outgoing.last_tsn, last) => outgoing.last_tsn = last,
                Some(_) => {} // retransmission
                // Request sequence numbers start at the initial TSN (RFC 6525, section 4.1).
                none => {
                    *none = packet::header(packet).map(|header| Outgoing { header, sequence: first, last_tsn: last });
                }
            }
        }
    }

    /// All of the peer's data up to this TSN has been received and acknowledged.
    pub(crate) fn acknowledged(&mut self, tsn: u32) {
        self.received = Some(tsn);
    }

    /// The next packet to send now. `stream_state` must consider sent data only.
    pub(crate) fn transmit(&mut self, now: Instant, stream_state: impl FnMut(u16) -> StreamState) -> Option<Bytes> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if self.request.is_none() {
            self.request = self.begin(now, stream_state);
        }
        let request = self.request.as_mut().filter(|request| request.retransmit_at <= now)?;
        request.retransmit_at = now + request.interval;
        request.interval = (request.interval * 2).min(MAX_RETRANSMISSION_INTERVAL);
        Some(request.packet.clone())
    }

    fn begin(&mut self, now: Instant, mut stream_state: impl FnMut(u16) -> StreamState) -> Option<Request> {
        let Outgoing { header, sequence, last_tsn } = self.outgoing.as_mut()?;
        let ready = self.wanted.iter().copied().filter(|&id| stream_state(id) != StreamState::Busy);
        let streams: Vec<u16> = ready.take(RESET_STREAMS).collect();
        if streams.is_empty() {
            return None;
        }
        self.wanted.retain(|id| !streams.contains(id));
        let answered = self.next.map_or(0, |next| next.wrapping_sub(1));
        let packet = packet::reset_request(*header, *sequence, answered, *last_tsn, &streams);
        let request =
            Request { sequence: *sequence, streams, packet, retransmit_at: now, interval: FIRST_RETRANSMISSION };
        *sequence = sequence.wrapping_add(1);
        Some(request)
    }

    /// When [`Resets::transmit`] has a retransmission.
    pub(crate) fn next_retransmission(&self) -> Option<Instant> {
        self.request.as_ref().map(|request| request.retransmit_at)
    }

    fn answered(&mut self, sequence: u32, outcome: Outcome) {
        if outcome != Outcome::InProgress
            && let Some(request) = self.request.take_if(|request| request.sequence == sequence)
            && outcome == Outcome::Denied
        {
            tracing::debug!(streams = ?request.streams, "the peer refused to reset streams");
            self.denied.extend(request.streams);
        }
    }

    // --- Requests of the peer ---------------------------------------------------------------------------------

    /// Processes a received packet, and returns what is left of it for the library.
    pub(crate) fn received(&mut self, packet: Bytes) -> Option<Bytes> {
        for chunk in packet::read(&packet) {
            match chunk {
                Chunk::Init { first_tsn } if self.received.is_none() => {
                    self.received = Some(first_tsn.wrapping_sub(1));
                    self.next = Some(first_tsn);
                }
                Chunk::ResetRequest { sequence, .. } | Chunk::OtherRequest { sequence } if self.is_done(sequence) => {
                    self.answer(sequence, Outcome::Performed);
                }
                Chunk::ResetRequest { sequence, last_tsn, mut streams } if self.is_new(sequence) => {
                    self.incoming = packet::header(&packet);
                    streams.sort_unstable();
                    streams.dedup();
                    let held: usize = self.held.iter().map(|held| held.streams.len()).sum();
                    if held + streams.len() > HELD_RESET_STREAMS {
                        self.done(sequence);
                        self.answer(sequence, Outcome::Denied);
                    } else {
                        self.held.push_back(Held { sequence, last_tsn, streams });
                    }
                }
                Chunk::OtherRequest { sequence } if self.is_new(sequence) => {
                    self.done(sequence);
                    self.answer(sequence, Outcome::Denied);
                }
                Chunk::Response { sequence, outcome } => self.answered(sequence, outcome),
                // Too far ahead: the peer retransmits it.
                Chunk::Init { .. } | Chunk::Sack { .. } | Chunk::ResetRequest { .. } | Chunk::OtherRequest { .. } => {}
            }
        }
        packet::without_reconfig(packet)
    }

    /// Streams whose end has been received, along with all of their data, and read.
    pub(crate) fn ended(&self, unread: impl Fn(u16) -> bool) -> Vec<u16> {
        let ended =
            self.held.iter().filter(|held| self.has_arrived(held) && !held.streams.iter().any(|&id| unread(id)));
        ended.flat_map(|held| &held.streams).copied().collect()
    }

    /// Performs a request of the peer that is due. Returns the packet that makes the library remove the streams.
    pub(crate) fn release(&mut self, mut stream_state: impl FnMut(u16) -> StreamState) -> Option<Bytes> {
        let at = (0..self.held.len()).find(|&at| self.is_due(&self.held[at], &mut stream_state))?;
        let Held { sequence, last_tsn, streams } = self.held.remove(at)?;
        for &id in &streams {
            let ours_as_well = !self.closed.remove(&id) && stream_state(id) != StreamState::Absent;
            if ours_as_well {
                self.wanted.insert(id);
            }
        }
        self.done(sequence);
        self.answer(sequence, Outcome::Performed);
        self.incoming.map(|header| packet::reset_request(header, sequence, 0, last_tsn, &streams))
    }

    /// Whether [`Resets::release`] would perform a request.
    pub(crate) fn has_due(&self, mut stream_state: impl FnMut(u16) -> StreamState) -> bool {
        self.held.iter().any(|held| self.is_due(held, &mut stream_state))
    }

    /// The response that makes the library forget its own reset request.
    pub(crate) fn settle(&self, sequence: u32) -> Option<Bytes> {
        self.incoming.map(|header| packet::response(header, sequence, Outcome::Performed))
    }

    fn is_due(&self, held: &Held, stream_state: &mut impl FnMut(u16) -> StreamState) -> bool {
        self.has_arrived(held) && held.streams.iter().all(|&id| stream_state(id) != StreamState::Busy)
    }

    fn has_arrived(&self, held: &Held) -> bool {
        self.received.is_some_and(|received| packet::at_most(held.last_tsn, received))
    }

    /// Whether a request has been performed.
    fn is_done(&self, sequence: u32) -> bool {
        self.next.is_some_and(|next| sequence != next && packet::at_most(sequence, next))
            || self.done.contains(&sequence)
    }

    /// Whether a request that is not performed should be held: it is within the limit and not held yet.
    fn is_new(&self, sequence: u32) -> bool {
        self.next.is_some_and(|next| sequence.wrapping_sub(next) < HELD_RESETS)
            && self.held.iter().all(|held| held.sequence != sequence)
    }

    fn done(&mut self, sequence: u32) {
        self.done.insert(sequence);
        while let Some(next) = self.next.filter(|next| self.done.remove(next)) {
            self.next = Some(next.wrapping_add(1));
        }
    }

    fn answer(&mut self, sequence: u32, outcome: Outcome) {
        // If there is no room, the peer retransmits its request.
        if let Some(outgoing) = &self.outgoing
            && self.answers.len() < RESET_ANSWERS
        {
            self.answers.push_back(packet::response(outgoing.header, sequence, outcome));
        }
    }
}

#[cfg(test)]
mod tests;
