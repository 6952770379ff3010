//! Places for HTTP connections, shared by the networks that they come from.
//!
//! While there is room, everybody gets a place. When all are taken, the network with the most places loses one to a
//! newcomer of another network: first a connection without a request (a keep-alive, or a head that does not end), the
//! oldest one first. Among connections of one network, only those without a request make room, and those whose request
//! takes too long. So neither slow clients nor many of them keep others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::net::prefix::Prefix;

/// Maximum number of connections: a class that opens the page, with some connections for each browser. Each takes a
/// socket and a head's buffer.
pub(super) const CONNECTIONS: usize = 128;
/// A request that takes longer than this, its answer's transfer included, no longer protects its connection when the
/// places run out: enough for the page over a slow line.
const SLOW: Duration = Duration::from_secs(60);

/// All places.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    from: Prefix,
    activity: Arc<Activity>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    table: Arc<Mutex<Table>>,
    activity: Arc<Activity>,
}

/// What a connection does.
#[derive(Debug)]
pub(super) struct Activity {
    doing: Mutex<Doing>,
    evicted: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Doing {
    /// Requests that are being answered.
    requests: u32,
    /// Whether bytes of an answer wait for the client to read.
    unsent: bool,
    /// When it became idle, or stopped being so.
    since: Instant,
}

impl Doing {
    fn is_idle(&self) -> bool {
        self.requests == 0 && !self.unsent
    }
}

/// Marks a request as being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave the values half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// A place for a connection from `from`; evicts another connection if all are taken. `None` if none has to make
    /// room for it.
    pub(super) fn take(&self, from: IpAddr, now: Instant) -> Option<Place> {
        let from = Prefix::of(from);
        let mut table = lock(&self.0);
        if table.taken.len() >= CONNECTIONS {
            let victim = table.victim(from, now)?;
            if let Some(taken) = table.taken.remove(&victim) {
                taken.activity.evicted.notify_one();
            }
        }
        let doing = Doing { requests: 0, unsent: false, since: now };
        let activity = Arc::new(Activity { doing: Mutex::new(doing), evicted: Notify::new() });
        let id = table.next;
        table.next += 1;
        table.taken.insert(id, Taken { from, activity: activity.clone() });
        Some(Place { id, table: self.0.clone(), activity })
    }
}

impl Table {
    /// The connection that makes room for one from `newcomer`.
    fn victim(&self, newcomer: Prefix, now: Instant) -> Option<u64> {
        let mut places: HashMap<Prefix, usize> = HashMap::new();
        for taken in self.taken.values() {
            *places.entry(taken.from).or_default() += 1;
        }
        let places = |of: Prefix| places.get(&of).copied().unwrap_or_default();
        let own = places(newcomer);
        let candidates = self.taken.iter().filter_map(|(id, taken)| {
            let doing = *lock(&taken.activity.doing);
            let age = now.saturating_duration_since(doing.since);
            let spare = doing.is_idle() || age >= SLOW;
            let theirs = places(taken.from);
            // Taking a place from another network must not only turn the two round.
            let gives = if taken.from == newcomer { spare } else { theirs > own + usize::from(!spare) };
            gives.then_some((theirs, spare, age, *id))
        });
        candidates.max().map(|(.., id)| id)
    }
}

impl Place {
    /// What this connection does.
    pub(super) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    /// Completes when the place has been given to another connection.
    pub(super) async fn evicted(&self) {
        self.activity.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.table).taken.remove(&self.id);
    }
}

impl Activity {
    /// A request has arrived.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.change(|doing| doing.requests += 1);
        Answering(self.clone())
    }

    /// Whether bytes of an answer wait for the client to read.
    pub(super) fn unsent(&self, unsent: bool) {
        self.change(|doing| doing.unsent = unsent);
    }

    fn change(&self, how: impl FnOnce(&mut Doing)) {
        let mut doing = lock(&self.doing);
        let was_idle = doing.is_idle();
        how(&mut doing);
        if doing.is_idle() != was_idle {
            doing.since = Instant::now();
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.change(|doing| doing.requests -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(network: u8) -> IpAddr {
        IpAddr::from([192, 0, network, 1])
    }

    /// Fills all places from one network, the first connection being the oldest.
    fn full(places: &Places, network: u8, start: Instant) -> Vec<Place> {
        (0..CONNECTIONS)
            .map(|i| places.take(address(network), start + Duration::from_millis(i as u64)).expect("there is room"))
            .collect()
    }

    fn is_evicted(place: &Place) -> bool {
        !lock(&place.table).taken.contains_key(&place.id)
    }

    #[test]
    fn the_oldest_idle_connection_makes_room() {
        let (places, start) = (Places::default(), Instant::now());
        let old = full(&places, 1, start);
        let busy = old[0].activity().answering();
        let new = places.take(address(1), start + Duration::from_secs(1)).expect("an idle one goes");
        assert!(!is_evicted(&old[0]), "it is being answered");
        assert!(is_evicted(&old[1]));
        assert!(!is_evicted(&old[2]) && !is_evicted(&new));
        drop(busy);
    }

    #[test]
    fn a_network_with_many_places_makes_room_for_others_even_if_all_are_busy() {
        let (places, start) = (Places::default(), Instant::now());
        let many = full(&places, 1, start);
        let busy: Vec<_> = many.iter().map(|place| place.activity().answering()).collect();
        assert!(places.take(address(1), start).is_none(), "its own newcomers wait");
        let other = places.take(address(2), start).expect("another network has a right to a place");
        assert_eq!(many.iter().filter(|place| is_evicted(place)).count(), 1);
        // The newcomer is idle, and its network has the fewest places: it stays.
        let third = places.take(address(3), start).expect("a third network too");
        assert!(!is_evicted(&other) && !is_evicted(&third));
        drop(busy);
    }

    #[test]
    fn networks_with_equal_places_do_not_displace_each_other() {
        let (places, start) = (Places::default(), Instant::now());
        let held: Vec<_> =
            (0..CONNECTIONS).map(|i| places.take(address(i as u8), start).expect("there is room")).collect();
        let busy: Vec<_> = held.iter().map(|place| place.activity().answering()).collect();
        assert!(places.take(address(200), start).is_none());
        drop(busy);
        assert!(places.take(address(200), start).is_some(), "an idle one makes room for a network without a place");
    }

    #[test]
    fn a_request_that_takes_too_long_makes_room_for_its_own_network() {
        let (places, start) = (Places::default(), Instant::now());
        let held = full(&places, 1, start);
        let busy: Vec<_> = held.iter().map(|place| place.activity().answering()).collect();
        let later = Instant::now() + SLOW;
        assert!(places.take(address(1), later).is_some());
        drop(busy);
    }

    #[test]
    fn a_dropped_place_is_free() {
        let (places, start) = (Places::default(), Instant::now());
        let mut held = full(&places, 1, start);
        let kept = held.split_off(1);
        drop(held);
        let _new = places.take(address(1), start).expect("there is room");
        assert!(kept.iter().all(|place| !is_evicted(place)));
    }
}
