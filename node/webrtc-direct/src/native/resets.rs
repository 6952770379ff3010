//! Stream resets, watched from outside the association.
//!
//! The SCTP library forgets a reset that the peer put off ("in progress"), does not repeat one that answers the peer's
//! if it is lost, and answers with none where it put the peer's off; each would leave a stream half open for ever. And
//! it carries out again a reset that comes again, on a stream that may be another by then. So a reset that comes too
//! early is held here until its data has come, one that comes again gets the same answer again, ours are repeated until
//! they are carried out, and a stream's id is given out again only when none of our resets of it is under way.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::packet::{self, Chunk, Outcome};
use crate::limits::{ANSWERED_RESETS, HELD_RESETS};

/// When a reset that the peer has not carried out is repeated: after some round trips, most of the time.
const REPEAT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Resets {
    /// Ours, by sequence number, that the peer has not carried out.
    under_way: HashMap<u32, UnderWay>,
    /// The peer's, whose time has not come.
    held: VecDeque<Held>,
    /// The peer's that have been carried out, with our answers, the oldest first.
    answered: VecDeque<(u32, Bytes)>,
    /// Answers that are to be given again.
    again: VecDeque<Bytes>,
    /// All of the peer's data up to here has come.
    received: Option<u32>,
}

#[derive(Debug)]
struct UnderWay {
    streams: Vec<u16>,
    packet: Bytes,
    repeat_at: Instant,
}

#[derive(Debug)]
struct Held {
    sequence: u32,
    last_tsn: u32,
    streams: Vec<u16>,
    packet: Bytes,
}

impl Resets {
    /// Sees a packet on its way out.
    pub(crate) fn sent(&mut self, packet: &Bytes, now: Instant) {
        for chunk in packet::read(packet) {
            match chunk {
                Chunk::Sack { cumulative_tsn, .. } => self.received = Some(cumulative_tsn),
                Chunk::ResetRequest { sequence, streams, .. } => {
                    let reset = UnderWay { streams, packet: packet.clone(), repeat_at: now + REPEAT };
                    self.under_way.insert(sequence, reset);
                }
                Chunk::ResetResponse { sequence, outcome: Outcome::Final } => {
                    self.answered.push_back((sequence, packet.clone()));
                    if self.answered.len() > ANSWERED_RESETS {
                        self.answered.pop_front();
                    }
                }
                Chunk::Init { .. } | Chunk::ResetResponse { .. } => {}
            }
        }
    }

    /// Sees a packet that has come, and gives it back if the association is to have it now.
    pub(crate) fn received(&mut self, packet: Bytes, busy: impl Fn(u16) -> bool) -> Option<Bytes> {
        let mut hold = None;
        for chunk in packet::read(&packet) {
            match chunk {
                Chunk::Init { first_tsn } if self.received.is_none() => {
                    self.received = Some(first_tsn.wrapping_sub(1));
                }
                Chunk::ResetRequest { sequence, .. } if self.is_answered(sequence) => return None,
                Chunk::ResetRequest { sequence, last_tsn, streams } if !self.is_due(last_tsn, &streams, &busy) => {
                    hold = Some((sequence, last_tsn, streams));
                }
                // Carried out now: the same one that was held must not be later.
                Chunk::ResetRequest { sequence, .. } => self.held.retain(|held| held.sequence != sequence),
                Chunk::ResetResponse { sequence, outcome: Outcome::Final } => {
                    self.under_way.remove(&sequence);
                }
                Chunk::Init { .. } | Chunk::Sack { .. } | Chunk::ResetResponse { .. } => {}
            }
        }
        let Some((sequence, last_tsn, streams)) = hold else { return Some(packet) };
        // The peer repeats what is dropped here.
        if self.held.len() < HELD_RESETS && self.held.iter().all(|held| held.sequence != sequence) {
            self.held.push_back(Held { sequence, last_tsn, streams, packet });
        }
        None
    }

    /// A held packet whose time has come.
    pub(crate) fn release(&mut self, busy: impl Fn(u16) -> bool) -> Option<Bytes> {
        let at = self.held.iter().position(|held| self.is_due(held.last_tsn, &held.streams, &busy))?;
        self.held.remove(at).map(|held| held.packet)
    }

    /// Whether the peer's reset has been carried out; if so, it is told again.
    fn is_answered(&mut self, sequence: u32) -> bool {
        if let Some((_, answer)) = self.answered.iter().find(|(answered, _)| *answered == sequence) {
            if !self.again.contains(answer) {
                self.again.push_back(answer.clone());
            }
            return true;
        }
        // One that nobody remembers, and that its sender cannot be waiting for.
        let oldest = self.answered.front().filter(|_| self.answered.len() == ANSWERED_RESETS);
        oldest.is_some_and(|(oldest, _)| packet::at_most(sequence, *oldest))
    }

    /// A packet of ours that is to be repeated now.
    pub(crate) fn repeat(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(answer) = self.again.pop_front() {
            return Some(answer);
        }
        let reset = self.under_way.values_mut().find(|reset| reset.repeat_at <= now)?;
        reset.repeat_at = now + REPEAT;
        Some(reset.packet.clone())
    }

    /// When [`Resets::repeat`] has something to say.
    pub(crate) fn next_repeat(&self) -> Option<Instant> {
        self.under_way.values().map(|reset| reset.repeat_at).min()
    }

    /// Whether a reset of the stream, ours or the peer's, is still to be carried out.
    pub(crate) fn is_under_way(&self, stream: u16) -> bool {
        let ours = self.under_way.values().map(|reset| &reset.streams);
        ours.chain(self.held.iter().map(|held| &held.streams)).any(|streams| streams.contains(&stream))
    }

    /// Whether [`Resets::release`] has one to give.
    pub(crate) fn has_due(&self, busy: impl Fn(u16) -> bool) -> bool {
        self.held.iter().any(|held| self.is_due(held.last_tsn, &held.streams, &busy))
    }

    fn is_due(&self, last_tsn: u32, streams: &[u16], busy: impl Fn(u16) -> bool) -> bool {
        self.received.is_some_and(|received| packet::at_most(last_tsn, received)) && !streams.iter().any(|&s| busy(s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunk: &[u8]) -> Bytes {
        [&[0; 12][..], chunk].concat().into()
    }

    fn request(sequence: u8, last_tsn: u8, stream: u8) -> Bytes {
        packet(&[130, 0, 0, 22, 0, 13, 0, 18, 0, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, last_tsn, 0, stream, 0, 0])
    }

    fn response(sequence: u8, result: u8) -> Bytes {
        packet(&[130, 0, 0, 16, 0, 16, 0, 12, 0, 0, 0, sequence, 0, 0, 0, result])
    }

    fn sack(tsn: u8) -> Bytes {
        packet(&[3, 0, 0, 16, 0, 0, 0, tsn, 0, 1, 0, 0, 0, 0, 0, 0])
    }

    fn free(_: u16) -> bool {
        false
    }

    #[test]
    fn a_reset_that_overtook_its_data_waits_for_it() {
        let mut resets = Resets::default();
        resets.sent(&sack(7), Instant::now());
        let early = request(1, 9, 2);
        assert_eq!(resets.received(early.clone(), free), None);
        assert_eq!(resets.received(early.clone(), free), None, "repeated by the peer: held once");
        assert_eq!(resets.release(free), None);
        assert!(resets.is_under_way(2) && !resets.has_due(free));
        resets.sent(&sack(9), Instant::now());
        assert!(resets.has_due(free));
        assert_eq!(resets.release(|stream| stream == 2), None, "its reader has not taken all");
        assert_eq!(resets.release(free), Some(early));
        assert_eq!(resets.release(free), None);
        let in_time = request(2, 9, 4);
        assert_eq!(resets.received(in_time.clone(), free), Some(in_time));
    }

    #[test]
    fn a_held_reset_that_comes_again_in_time_is_carried_out_once() {
        let mut resets = Resets::default();
        resets.sent(&sack(9), Instant::now());
        let theirs = request(1, 9, 2);
        assert_eq!(resets.received(theirs.clone(), |_| true), None, "its reader has not taken all");
        assert_eq!(resets.received(theirs.clone(), free), Some(theirs));
        assert_eq!(resets.release(free), None);
    }

    #[test]
    fn a_reset_is_repeated_until_it_is_carried_out_and_keeps_its_id() {
        let now = Instant::now();
        let mut resets = Resets::default();
        let ours = request(1, 9, 2);
        resets.sent(&ours, now);
        assert!(resets.is_under_way(2) && !resets.is_under_way(4));
        assert!(resets.received(response(1, 6), free).is_some());
        assert_eq!(resets.repeat(now), None);
        assert_eq!(resets.next_repeat(), Some(now + REPEAT));
        assert_eq!(resets.repeat(now + REPEAT), Some(ours.clone()));
        assert_eq!(resets.repeat(now + REPEAT), None);
        assert_eq!(resets.repeat(now + 2 * REPEAT), Some(ours));
        assert!(resets.is_under_way(2));
        assert!(resets.received(response(1, 1), free).is_some());
        assert!(!resets.is_under_way(2));
        assert_eq!((resets.repeat(now + 9 * REPEAT), resets.next_repeat()), (None, None));
    }

    #[test]
    fn a_reset_that_comes_again_is_answered_again_and_not_carried_out_again() {
        let now = Instant::now();
        let mut resets = Resets::default();
        resets.sent(&sack(9), now);
        let theirs = request(1, 9, 2);
        assert_eq!(resets.received(theirs.clone(), free), Some(theirs.clone()));
        resets.sent(&response(1, 6), now);
        assert_eq!(resets.received(theirs.clone(), free), Some(theirs.clone()), "it was put off");
        resets.sent(&response(1, 1), now);
        assert_eq!(resets.received(theirs.clone(), free), None);
        assert_eq!(resets.received(theirs, free), None);
        assert_eq!((resets.repeat(now), resets.repeat(now)), (Some(response(1, 1)), None));
        let next = request(2, 9, 2);
        assert_eq!(resets.received(next.clone(), free), Some(next));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let now = Instant::now();
        let mut resets = Resets::default();
        resets.sent(&sack(9), now);
        for sequence in 1..=u8::MAX {
            assert!(resets.received(request(sequence, 9, 2), free).is_some());
            resets.sent(&response(sequence, 1), now);
            assert_eq!(resets.received(request(1, 9, 2), free), None, "however long ago it was");
        }
        assert_eq!(resets.answered.len(), ANSWERED_RESETS);
        let mut resets = Resets::default();
        for sequence in 0..=u8::MAX {
            assert_eq!(resets.received(request(sequence, 9, 2), free), None);
        }
        assert_eq!(resets.held.len(), HELD_RESETS);
    }
}
