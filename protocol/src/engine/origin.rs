//! Where jobs come from, and shares of places among them.

use std::collections::BTreeMap;

use crate::id::PeerKey;
use crate::membership::Network;

/// Where a job comes from, by what costs most to have many of: addresses in several networks, peers, keys of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    /// The network of the job's home; `None` while it is not connected, or behind a relay.
    pub(super) network: Option<Network>,
    /// The job's home.
    pub(super) home: PeerKey,
    /// The job's owner.
    pub(super) owner: PeerKey,
}

/// What an origin consists of, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Network,
    Home,
    Owner,
}

impl Origin {
    /// The outermost level at which two origins differ; `None` if they are equal.
    pub(super) fn parts_from(&self, other: &Origin) -> Option<Level> {
        if self.network != other.network {
            Some(Level::Network)
        } else if self.home != other.home {
            Some(Level::Home)
        } else if self.owner != other.owner {
            Some(Level::Owner)
        } else {
            None
        }
    }
}

/// How many places the origins of jobs hold.
#[derive(Debug, Default)]
pub(super) struct Places {
    networks: BTreeMap<Option<Network>, usize>,
    homes: BTreeMap<(Option<Network>, PeerKey), usize>,
    owners: BTreeMap<Origin, usize>,
}

impl FromIterator<Origin> for Places {
    fn from_iter<I: IntoIterator<Item = Origin>>(holders: I) -> Self {
        let mut places = Self::default();
        for holder in holders {
            *places.networks.entry(holder.network).or_default() += 1;
            *places.homes.entry((holder.network, holder.home)).or_default() += 1;
            *places.owners.entry(holder).or_default() += 1;
        }
        places
    }
}

impl Places {
    /// The number of places of an origin's network, of its home and of its owner there. Of several origins, the one
    /// for which this is least has the best right to a further place.
    pub(super) fn of(&self, origin: &Origin) -> [usize; 3] {
        [
            self.networks.get(&origin.network).copied().unwrap_or(0),
            self.homes.get(&(origin.network, origin.home)).copied().unwrap_or(0),
            self.owners.get(origin).copied().unwrap_or(0),
        ]
    }

    /// The numbers of places of `holder` and of `newcomer` where they part: of their networks, of their homes if these
    /// share a network, or of their owners if they share a home. `None` if they have one origin.
    pub(super) fn where_they_part(&self, holder: &Origin, newcomer: &Origin) -> Option<(usize, usize)> {
        let level = holder.parts_from(newcomer)? as usize;
        Some((self.of(holder)[level], self.of(newcomer)[level]))
    }

    /// Whether `holder` gives one of its places to `newcomer`: it still has as many as the newcomer afterwards, so the
    /// newcomer never has to give the place back.
    pub(super) fn yields(&self, holder: &Origin, newcomer: &Origin) -> bool {
        self.where_they_part(holder, newcomer).is_some_and(|(theirs, own)| theirs > own + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(network: u8, home: u8, owner: u8) -> Origin {
        let network = Some(Network([network; 8]));
        Origin { network, home: PeerKey([home; 32]), owner: PeerKey([owner; 32]) }
    }

    #[test]
    fn many_owners_at_one_peer_share_the_places_of_that_peer() {
        let places: Places = (0..100).map(|owner| origin(1, 1, owner)).collect();
        assert!(places.yields(&origin(1, 1, 7), &origin(1, 2, 200)));
        assert!(places.yields(&origin(1, 1, 7), &origin(2, 2, 200)));
        assert!(!places.yields(&origin(1, 1, 7), &origin(1, 1, 200)), "equal owners would take places in turn");
    }

    #[test]
    fn many_peers_in_one_network_share_the_places_of_that_network() {
        let places: Places = (0..100).map(|home| origin(1, home, home)).collect();
        assert!(places.yields(&origin(1, 7, 7), &origin(2, 200, 200)));
        assert!(!places.yields(&origin(1, 7, 7), &origin(1, 200, 200)));
    }

    #[test]
    fn a_place_is_not_taken_from_an_origin_that_would_take_it_back() {
        let places: Places = [origin(1, 1, 1), origin(1, 1, 1), origin(2, 2, 2)].into_iter().collect();
        assert!(!places.yields(&origin(1, 1, 1), &origin(2, 2, 2)));
        assert!(places.yields(&origin(1, 1, 1), &origin(3, 3, 3)));
        assert!(!places.yields(&origin(2, 2, 2), &origin(3, 3, 3)));
    }
}
