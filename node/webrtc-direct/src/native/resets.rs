//! Stream resets (RFC 6525), done here and not by the SCTP library.
//!
//! The library has many requests on their way at once, which browsers refuse; resets a stream once more when the peer
//! answers its reset; does not repeat what was lost; forgets what was put off; and carries out half of a request for
//! several streams, and then the whole of it again, on a stream that may be another by then. So no RE-CONFIG of the
//! peer reaches the library, and none of its own leaves. Here one request is under way at a time; one of the peer is
//! carried out once, when all of it can be; and the library is told of no more than that (`sctp`).
//!
//! A channel ends as RFC 8831, section 6.7, has it: one side resets its outgoing stream, the other side then resets its
//! own. Neither does before all that it sent on the stream is acknowledged, so no reset overtakes data, and the id is
//! used again when both are done ([`Resets::is_under_way`], and the library no longer has the stream).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::packet::{self, Chunk, Header, Outcome};
use crate::limits::{HELD_RESET_STREAMS, HELD_RESETS, RESET_ANSWERS, RESET_STREAMS};

/// When a request that nobody has answered is repeated first: after some round trips, most of the time. Each further
/// time it is twice as long.
const FIRST_REPEAT: Duration = Duration::from_millis(300);
/// And how long at most: the peer's reader may be slow, and the answer come without being asked for again.
const LONGEST_REPEAT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Resets {
    /// What our own packets look like, and how far they have come.
    outgoing: Option<Outgoing>,
    /// Streams that we have closed and the peer has not.
    closed: HashSet<u16>,
    /// Streams whose reset we have not requested yet.
    wanted: BTreeSet<u16>,
    request: Option<Request>,
    /// Streams that the peer would not reset: nobody may use them again.
    denied: HashSet<u16>,
    /// What the peer's packets look like.
    incoming: Option<Header>,
    /// The first request of the peer that has not been carried out.
    next: Option<u32>,
    /// Requests after it that have been, out of turn.
    done: HashSet<u32>,
    /// The peer's, whose time has not come.
    held: VecDeque<Held>,
    /// For the peer's requests, to be sent.
    answers: VecDeque<Bytes>,
    /// All of the peer's data up to here has come.
    received: Option<u32>,
}

#[derive(Debug)]
struct Outgoing {
    header: Header,
    /// Of our next request.
    sequence: u32,
    /// Of the last data that was sent.
    last_tsn: u32,
}

#[derive(Debug)]
struct Request {
    sequence: u32,
    streams: Vec<u16>,
    packet: Bytes,
    repeat_at: Instant,
    pause: Duration,
}

/// A request of the peer.
#[derive(Debug)]
struct Held {
    sequence: u32,
    last_tsn: u32,
    streams: Vec<u16>,
}

/// How a stream stands in the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is not there.
    Absent,
    /// What we sent on it is not acknowledged, or what came on it is not read.
    Busy,
    Idle,
}

impl Resets {
    // --- Ours -------------------------------------------------------------------------------------------------

    /// Asks for the reset of a stream that the association has, once all that we sent on it is acknowledged.
    pub(crate) fn close(&mut self, id: u16) {
        if self.closed.insert(id) {
            self.wanted.insert(id);
        }
    }

    /// Whether a reset of the stream, ours or the peer's, is still to be carried out, or never will be.
    pub(crate) fn is_under_way(&self, id: u16) -> bool {
        let requested = self.request.iter().map(|request| &request.streams);
        let held = self.held.iter().map(|held| &held.streams);
        self.wanted.contains(&id) || self.denied.contains(&id) || requested.chain(held).any(|ids| ids.contains(&id))
    }

    /// Sees a packet on its way out.
    pub(crate) fn sent(&mut self, packet: &[u8]) {
        if let Some((first, last)) = packet::data(packet) {
            match &mut self.outgoing {
                Some(outgoing) if packet::at_most(outgoing.last_tsn, last) => outgoing.last_tsn = last,
                Some(_) => {} // repeated
                // Requests are counted from where data is.
                none => {
                    *none = packet::header(packet).map(|header| Outgoing { header, sequence: first, last_tsn: last });
                }
            }
        }
    }

    /// All of the peer's data up to here has come, and we have said so.
    pub(crate) fn acknowledged(&mut self, tsn: u32) {
        self.received = Some(tsn);
    }

    /// A packet to be sent now. `standing` of what we send alone.
    pub(crate) fn transmit(&mut self, now: Instant, standing: impl FnMut(u16) -> Standing) -> Option<Bytes> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if self.request.is_none() {
            self.request = self.begin(now, standing);
        }
        let request = self.request.as_mut().filter(|request| request.repeat_at <= now)?;
        request.repeat_at = now + request.pause;
        request.pause = (request.pause * 2).min(LONGEST_REPEAT);
        Some(request.packet.clone())
    }

    fn begin(&mut self, now: Instant, mut standing: impl FnMut(u16) -> Standing) -> Option<Request> {
        let Outgoing { header, sequence, last_tsn } = self.outgoing.as_mut()?;
        let ready = self.wanted.iter().copied().filter(|&id| standing(id) != Standing::Busy);
        let streams: Vec<u16> = ready.take(RESET_STREAMS).collect();
        if streams.is_empty() {
            return None;
        }
        self.wanted.retain(|id| !streams.contains(id));
        let answered = self.next.map_or(0, |next| next.wrapping_sub(1));
        let packet = packet::reset_request(*header, *sequence, answered, *last_tsn, &streams);
        let request = Request { sequence: *sequence, streams, packet, repeat_at: now, pause: FIRST_REPEAT };
        *sequence = sequence.wrapping_add(1);
        Some(request)
    }

    /// When [`Resets::transmit`] has something to repeat.
    pub(crate) fn next_repeat(&self) -> Option<Instant> {
        self.request.as_ref().map(|request| request.repeat_at)
    }

    fn answered(&mut self, sequence: u32, outcome: Outcome) {
        if outcome != Outcome::InProgress
            && let Some(request) = self.request.take_if(|request| request.sequence == sequence)
            && outcome == Outcome::Denied
        {
            tracing::debug!(streams = ?request.streams, "the peer does not reset streams");
            self.denied.extend(request.streams);
        }
    }

    // --- The peer's -------------------------------------------------------------------------------------------

    /// Sees a packet that has come, and gives back what the association is to have of it.
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
                // The peer repeats what comes too early.
                Chunk::Init { .. } | Chunk::Sack { .. } | Chunk::ResetRequest { .. } | Chunk::OtherRequest { .. } => {}
            }
        }
        packet::without_reconfig(packet)
    }

    /// Streams on which the peer sends no more: all that it sent has come, and been read.
    pub(crate) fn ended(&self, unread: impl Fn(u16) -> bool) -> Vec<u16> {
        let ended = self.held.iter().filter(|held| self.has_come(held) && !held.streams.iter().any(|&id| unread(id)));
        ended.flat_map(|held| &held.streams).copied().collect()
    }

    /// Carries out a request of the peer whose time has come. Gives what has the library drop the streams.
    pub(crate) fn release(&mut self, mut standing: impl FnMut(u16) -> Standing) -> Option<Bytes> {
        let at = (0..self.held.len()).find(|&at| self.is_due(&self.held[at], &mut standing))?;
        let Held { sequence, last_tsn, streams } = self.held.remove(at)?;
        for &id in &streams {
            let ours_as_well = !self.closed.remove(&id) && standing(id) != Standing::Absent;
            if ours_as_well {
                self.wanted.insert(id);
            }
        }
        self.done(sequence);
        self.answer(sequence, Outcome::Performed);
        self.incoming.map(|header| packet::reset_request(header, sequence, 0, last_tsn, &streams))
    }

    /// Whether [`Resets::release`] has one to give.
    pub(crate) fn has_due(&self, mut standing: impl FnMut(u16) -> Standing) -> bool {
        self.held.iter().any(|held| self.is_due(held, &mut standing))
    }

    /// What has the library forget a reset of its own, with which it answers the peer's.
    pub(crate) fn settle(&self, sequence: u32) -> Option<Bytes> {
        self.incoming.map(|header| packet::response(header, sequence, Outcome::Performed))
    }

    fn is_due(&self, held: &Held, standing: &mut impl FnMut(u16) -> Standing) -> bool {
        self.has_come(held) && held.streams.iter().all(|&id| standing(id) != Standing::Busy)
    }

    fn has_come(&self, held: &Held) -> bool {
        self.received.is_some_and(|received| packet::at_most(held.last_tsn, received))
    }

    /// Whether a request has been carried out.
    fn is_done(&self, sequence: u32) -> bool {
        self.next.is_some_and(|next| sequence != next && packet::at_most(sequence, next))
            || self.done.contains(&sequence)
    }

    /// Whether a request that is not done is to be taken note of.
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
        // The peer asks again for what is not answered.
        if let Some(outgoing) = &self.outgoing
            && self.answers.len() < RESET_ANSWERS
        {
            self.answers.push_back(packet::response(outgoing.header, sequence, outcome));
        }
    }
}

#[cfg(test)]
mod tests;
