//! How far the peer is: the time there and back, without what data waits in queues.
//!
//! SCTP's own estimate is of no use for that. A packet alone is acknowledged late, as its receiver waits for a second
//! one, and a packet behind many others waits for them. Here the second of two packets that go out together is timed,
//! which is acknowledged at once, and the least of all times counts.

use std::time::{Duration, Instant};

use super::packet;

/// The least of so much time, and of as much before it, counts: whoever moves farther away is noticed in two of these.
const MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Distance {
    /// The packet that is timed: its last sequence number, and when it went.
    timed: Option<(u32, Instant)>,
    /// The last sequence number that has gone out.
    highest: Option<u32>,
    least: Option<Duration>,
    /// The least of the time before.
    before: Option<Duration>,
    /// When the time of `least` began.
    since: Instant,
}

impl Distance {
    pub(crate) fn new(now: Instant) -> Self {
        Self { timed: None, highest: None, least: None, before: None, since: now }
    }

    /// Packets with data go out together: each has its first and last sequence number.
    ///
    /// What goes out again is not timed: the acknowledgement may be that of the first time (Karn's algorithm, RFC 6298).
    pub(crate) fn sent(&mut self, packets: impl Iterator<Item = (u32, u32)>, now: Instant) {
        let before = self.highest;
        for (at, (first, last)) in packets.enumerate() {
            let is_new = before.is_none_or(|highest| !packet::at_most(first, highest));
            if at == 1 && is_new {
                self.timed.get_or_insert((last, now));
            }
            if self.highest.is_none_or(|highest| packet::at_most(highest, last)) {
                self.highest = Some(last);
            }
        }
    }

    /// Whether an acknowledgement is waited for.
    pub(crate) fn is_timing(&self) -> bool {
        self.timed.is_some()
    }

    /// The peer has all up to this sequence number.
    pub(crate) fn acknowledged(&mut self, tsn: u32, now: Instant) {
        let Some((_, sent)) = self.timed.take_if(|(timed, _)| packet::at_most(*timed, tsn)) else { return };
        if now.saturating_duration_since(self.since) >= MEMORY {
            (self.before, self.least, self.since) = (self.least.take(), None, now);
        }
        let time = now.saturating_duration_since(sent);
        self.least = Some(self.least.map_or(time, |least| least.min(time)));
    }

    /// The time there and back; none is known at first.
    pub(crate) fn there_and_back(&self) -> Option<Duration> {
        self.least.into_iter().chain(self.before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Two packets that go out together, of which the second ends with this sequence number.
    fn pair(tsn: u32) -> impl Iterator<Item = (u32, u32)> {
        [(tsn.wrapping_sub(1), tsn.wrapping_sub(1)), (tsn, tsn)].into_iter()
    }

    #[test]
    fn the_least_time_counts_and_is_forgotten_in_the_end() {
        let start = Instant::now();
        let mut distance = Distance::new(start);
        assert_eq!(distance.there_and_back(), None);
        let mut time = |at: Duration, tsn: u32, takes: Duration| {
            distance.sent(pair(tsn), start + at);
            distance.acknowledged(tsn, start + at + takes);
            distance.there_and_back().unwrap()
        };
        assert_eq!(time(Duration::ZERO, 1, 20 * MILLI), 20 * MILLI);
        assert_eq!(time(MEMORY / 2, 2, 5 * MILLI), 5 * MILLI);
        assert_eq!(time(MEMORY * 2 / 3, 3, 90 * MILLI), 5 * MILLI, "it waited behind others");
        assert_eq!(time(MEMORY, 4, 70 * MILLI), 5 * MILLI);
        assert_eq!(time(MEMORY * 2 + MILLI, 5, 80 * MILLI), 70 * MILLI, "the peer is far away now");
    }

    #[test]
    fn a_packet_is_timed_until_it_is_acknowledged_across_the_end_of_the_numbers() {
        let start = Instant::now();
        let mut distance = Distance::new(start);
        distance.sent(pair(1), start);
        distance.sent(pair(7), start + MILLI);
        distance.acknowledged(u32::MAX, start + 2 * MILLI);
        assert!(distance.is_timing());
        distance.acknowledged(3, start + 3 * MILLI);
        assert!(!distance.is_timing());
        assert_eq!(distance.there_and_back(), Some(3 * MILLI));
    }

    #[test]
    fn what_goes_out_again_is_not_timed() {
        let start = Instant::now();
        let mut distance = Distance::new(start);
        distance.sent(pair(2), start);
        distance.acknowledged(2, start + 100 * MILLI);
        distance.sent([(3, 3)].into_iter(), start + 100 * MILLI);
        distance.sent(pair(3), start + 400 * MILLI);
        assert!(!distance.is_timing());
        distance.acknowledged(3, start + 401 * MILLI);
        assert_eq!(distance.there_and_back(), Some(100 * MILLI));
        distance.sent(pair(5), start + 500 * MILLI);
        assert!(distance.is_timing());
    }
}
