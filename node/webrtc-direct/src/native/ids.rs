//! Allocation and reuse of SCTP stream ids for the channels that this side opens.

use std::collections::VecDeque;

/// Even ids belong to the DTLS client, odd ones to the server (RFC 8832, section 6).
#[derive(Debug)]
pub(crate) struct Ids {
    next: u16,
    released: VecDeque<u16>,
}

impl Ids {
    /// Ids for a dialer (from 2, since 0 is the handshake's) or for a listener (from 1).
    pub(crate) fn new(dialer: bool) -> Self {
        Self { next: if dialer { 2 } else { 1 }, released: VecDeque::new() }
    }

    /// Takes an id below `limit`: one that was released and `is_free`, or one that was never used.
    pub(crate) fn take(&mut self, limit: u16, mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
        // The first released is the most likely to be free. If it is not, try a few more.
        let at = (0..self.released.len().min(8)).find(|&at| is_free(self.released[at]));
        if let Some(id) = at.and_then(|at| self.released.remove(at)) {
            return Some(id);
        }
        let id = self.next;
        if id >= limit {
            return None;
        }
        self.next = id.checked_add(2)?;
        Some(id)
    }

    /// This side no longer uses one of its ids.
    pub(crate) fn release(&mut self, id: u16) {
        self.released.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_sides_parity_and_are_reused_when_free() {
        let mut ids = Ids::new(true);
        assert_eq!([ids.take(9, |_| true), ids.take(9, |_| true)], [Some(2), Some(4)]);
        ids.release(2);
        assert_eq!(ids.take(9, |id| id != 2), Some(6), "the peer has not reset stream 2 yet");
        assert_eq!(ids.take(9, |_| true), Some(2));
        assert_eq!(Ids::new(false).take(9, |_| true), Some(1));
    }

    #[test]
    fn ids_stay_below_the_peers_limit() {
        let mut ids = Ids::new(true);
        assert_eq!([(); 3].map(|()| ids.take(5, |_| true)), [Some(2), Some(4), None]);
        ids.release(4);
        assert_eq!(ids.take(5, |_| true), Some(4));
    }
}
