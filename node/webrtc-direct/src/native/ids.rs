//! Which stream ids are ours to open channels on, and when they may be used again.

use std::collections::VecDeque;

/// Even ids belong to the DTLS client, odd ones to the server (RFC 8832, section 6).
#[derive(Debug)]
pub(crate) struct Ids {
    next: u16,
    released: VecDeque<u16>,
}

impl Ids {
    /// Ids of a dialer, which begin after channel 0, or of a listener.
    pub(crate) fn new(dialer: bool) -> Self {
        Self { next: if dialer { 2 } else { 1 }, released: VecDeque::new() }
    }

    /// An id below `limit`: one that was released and that `is_free`, or one that was never used.
    pub(crate) fn take(&mut self, limit: u16, mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
        // The longest released is the likeliest to be free; if it is not, a few of the next are.
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

    /// Our side has let go of one of our ids.
    pub(crate) fn release(&mut self, id: u16) {
        self.released.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_ones_own_parity_and_come_back_when_free() {
        let mut ids = Ids::new(true);
        assert_eq!([ids.take(9, |_| true), ids.take(9, |_| true)], [Some(2), Some(4)]);
        ids.release(2);
        assert_eq!(ids.take(9, |id| id != 2), Some(6), "the peer has not let go of 2");
        assert_eq!(ids.take(9, |_| true), Some(2));
        assert_eq!(Ids::new(false).take(9, |_| true), Some(1));
    }

    #[test]
    fn there_are_no_more_than_the_peer_allows() {
        let mut ids = Ids::new(true);
        assert_eq!([(); 3].map(|()| ids.take(5, |_| true)), [Some(2), Some(4), None]);
        ids.release(4);
        assert_eq!(ids.take(5, |_| true), Some(4));
    }
}
