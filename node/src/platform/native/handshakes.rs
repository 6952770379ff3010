//! Places for connections whose handshake is pending, shared by the networks that they come from.
//!
//! A newcomer always gets a place. When all are taken, the oldest handshake of the network with the most makes room:
//! one that is silent is the oldest soon, and one that goes on is over by then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;

use crate::net::limits::PENDING_HANDSHAKES;
use crate::net::prefix::Prefix;

/// All places. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    pending: HashMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    from: Option<Prefix>,
    /// Dropped when the place goes to another connection.
    _place: oneshot::Sender<()>,
}

/// The place of one handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    id: u64,
    table: Arc<Mutex<Table>>,
    evicted: oneshot::Receiver<()>,
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // No panic can leave the values half changed.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handshakes {
    /// A place for a connection from a network; `None` is that of all whose address tells none.
    pub(super) fn take(&self, from: Option<Prefix>) -> Handshake {
        let mut table = lock(&self.0);
        if table.pending.len() >= PENDING_HANDSHAKES
            && let Some(victim) = table.victim(from)
        {
            table.pending.remove(&victim);
        }
        let (place, evicted) = oneshot::channel();
        let id = table.next;
        table.next += 1;
        table.pending.insert(id, Pending { from, _place: place });
        Handshake { id, table: Arc::clone(&self.0), evicted }
    }
}

impl Table {
    fn victim(&self, newcomer: Option<Prefix>) -> Option<u64> {
        let mut places: HashMap<Option<Prefix>, usize> = HashMap::from([(newcomer, 1)]);
        for pending in self.pending.values() {
            *places.entry(pending.from).or_default() += 1;
        }
        let order = |(id, pending): (&u64, &Pending)| (places[&pending.from], std::cmp::Reverse(*id));
        self.pending.iter().map(order).max().map(|(_, std::cmp::Reverse(id))| id)
    }
}

impl Handshake {
    /// Completes when the place has gone to another connection.
    pub(super) async fn evicted(&mut self) {
        let _ = (&mut self.evicted).await; // always an error: nothing is ever sent
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        lock(&self.table).pending.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn network(n: u8) -> Option<Prefix> {
        Some(Prefix::of([203, 0, n, 1].into()))
    }

    fn is_evicted(handshake: &mut Handshake) -> bool {
        handshake.evicted().now_or_never().is_some()
    }

    #[test]
    fn silent_connections_keep_no_newcomer_out() {
        let handshakes = Handshakes::default();
        let mut silent: Vec<_> = (0..PENDING_HANDSHAKES).map(|_| handshakes.take(network(1))).collect();
        let mut same_network = handshakes.take(network(1));
        let mut other_network = handshakes.take(network(2));
        assert!(!is_evicted(&mut same_network) && !is_evicted(&mut other_network));
        let evicted: Vec<usize> = (0..silent.len()).filter(|n| is_evicted(&mut silent[*n])).collect();
        assert_eq!(evicted, [0, 1], "the oldest first");
    }

    #[test]
    fn the_network_with_the_most_handshakes_makes_room() {
        let handshakes = Handshakes::default();
        let mut honest = handshakes.take(network(2));
        let strangers: Vec<_> = (0..10 * PENDING_HANDSHAKES).map(|_| handshakes.take(network(1))).collect();
        assert!(!is_evicted(&mut honest));
        assert_eq!(lock(&handshakes.0).pending.len(), PENDING_HANDSHAKES);
        drop((strangers, honest));
        assert!(lock(&handshakes.0).pending.is_empty());
    }
}
