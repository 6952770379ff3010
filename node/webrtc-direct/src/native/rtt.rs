//! Minimum round-trip time of the path, without queueing delay.
//!
//! SCTP's own estimate does not serve here: a single packet is acknowledged late (delayed SACK), and a packet behind
//! many others includes their queueing delay. So the second of two packets that are sent together is timed, which is
//! acknowledged at once, and the minimum of all samples is used.

use std::time::{Duration, Instant};

use super::packet;

/// Length of the sampling interval. The minimum is taken over the current and the previous interval, so an increase
/// shows after at most two.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct MinRtt {
    /// The packet being timed: its last TSN, and when it was sent.
    timed: Option<(u32, Instant)>,
    /// The highest TSN sent.
    highest: Option<u32>,
    /// Minimum of the current interval.
    least: Option<Duration>,
    /// Minimum of the previous interval.
    before: Option<Duration>,
    /// Start of the current interval.
    since: Instant,
}

impl MinRtt {
    pub(crate) fn new(now: Instant) -> Self {
        Self { timed: None, highest: None, least: None, before: None, since: now }
    }

    /// Packets with data are sent together. Each item is the first and last TSN of a packet.
    ///
    /// Retransmissions are not timed, since the acknowledgement may be that of the original (Karn's algorithm, RFC
    /// 6298).
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

    /// Whether a packet is being timed.
    pub(crate) fn is_timing(&self) -> bool {
        self.timed.is_some()
    }

    /// The peer has acknowledged everything up to this TSN.
    pub(crate) fn acknowledged(&mut self, tsn: u32, now: Instant) {
        let Some((_, sent)) = self.timed.take_if(|(timed, _)| packet::at_most(*timed, tsn)) else { return };
        if now.saturating_duration_since(self.since) >= SAMPLE_INTERVAL {
            (self.before, self.least, self.since) = (self.least.take(), None, now);
        }
        let time = now.saturating_duration_since(sent);
        self.least = Some(self.least.map_or(time, |least| least.min(time)));
    }

    /// The minimum round-trip time; none before the first sample.
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        self.least.into_iter().chain(self.before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Two packets sent together, the second of which ends with this TSN.
    fn pair(tsn: u32) -> impl Iterator<Item = (u32, u32)> {
        [(tsn.wrapping_sub(1), tsn.wrapping_sub(1)), (tsn, tsn)].into_iter()
    }

    #[test]
    fn the_minimum_is_used_and_expires_after_two_intervals() {
        let start = Instant::now();
        let mut rtt = MinRtt::new(start);
        assert_eq!(rtt.min_rtt(), None);
        let mut time = |at: Duration, tsn: u32, takes: Duration| {
            rtt.sent(pair(tsn), start + at);
            rtt.acknowledged(tsn, start + at + takes);
            rtt.min_rtt().unwrap()
        };
        assert_eq!(time(Duration::ZERO, 1, 20 * MILLI), 20 * MILLI);
        assert_eq!(time(SAMPLE_INTERVAL / 2, 2, 5 * MILLI), 5 * MILLI);
        assert_eq!(time(SAMPLE_INTERVAL * 2 / 3, 3, 90 * MILLI), 5 * MILLI, "this sample includes queueing delay");
        assert_eq!(time(SAMPLE_INTERVAL, 4, 70 * MILLI), 5 * MILLI);
        assert_eq!(time(SAMPLE_INTERVAL * 2 + MILLI, 5, 80 * MILLI), 70 * MILLI, "the path has become longer");
    }

    #[test]
    fn a_packet_is_timed_across_the_wrap_of_sequence_numbers() {
        let start = Instant::now();
        let mut rtt = MinRtt::new(start);
        rtt.sent(pair(1), start);
        rtt.sent(pair(7), start + MILLI);
        rtt.acknowledged(u32::MAX, start + 2 * MILLI);
        assert!(rtt.is_timing());
        rtt.acknowledged(3, start + 3 * MILLI);
        assert!(!rtt.is_timing());
        assert_eq!(rtt.min_rtt(), Some(3 * MILLI));
    }

    #[test]
    fn retransmissions_are_not_timed() {
        let start = Instant::now();
        let mut rtt = MinRtt::new(start);
        rtt.sent(pair(2), start);
        rtt.acknowledged(2, start + 100 * MILLI);
        rtt.sent([(3, 3)].into_iter(), start + 100 * MILLI);
        rtt.sent(pair(3), start + 400 * MILLI);
        assert!(!rtt.is_timing());
        rtt.acknowledged(3, start + 401 * MILLI);
        assert_eq!(rtt.min_rtt(), Some(100 * MILLI));
        rtt.sent(pair(5), start + 500 * MILLI);
        assert!(rtt.is_timing());
    }
}
