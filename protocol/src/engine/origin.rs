//! Where jobs come from, and shares of places among them.

use crate::id::PeerKey;
use crate::membership::Network;

/// Where a job comes from, by what costs most to have many of: addresses in several networks, peers, keys of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The network of the job's home; `None` while it is not connected, or behind a relay.
    pub(super) network: Option<Network>,
    /// The job's home.
    pub(super) home: PeerKey,
    /// The job's owner.
    pub(super) owner: PeerKey,
}

/// What origins have in common: a network, a home in it, or an owner there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Party {
    network: Option<Network>,
    home: Option<PeerKey>,
    owner: Option<PeerKey>,
}

impl Origin {
    /// The parties that a job is of, the outermost first.
    pub(super) fn parties(&self) -> [Party; 3] {
        let Self { network, home, owner } = *self;
        let of_network = Party { network, home: None, owner: None };
        let of_home = Party { home: Some(home), ..of_network };
        [of_network, of_home, Party { owner: Some(owner), ..of_home }]
    }
}

/// A number for each party. A sorted list: it takes far less code than a map, and a peer knows few parties.
#[derive(Debug, Default)]
pub(super) struct Amounts(Vec<(Party, u64)>);

impl Amounts {
    /// How many of these origins are of each party. Sorts once: a table of strangers' jobs has thousands of parties.
    pub(super) fn count(origins: impl Iterator<Item = Origin>) -> Self {
        let mut parties: Vec<Party> = origins.flat_map(|origin| origin.parties()).collect();
        parties.sort_unstable();
        Self(parties.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as u64)).collect())
    }

    fn place_of(&self, party: &Party) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(party))
    }

    /// The number of a party, if it has one.
    pub(super) fn of(&self, party: &Party) -> Option<u64> {
        Some(self.0[self.place_of(party).ok()?].1)
    }

    /// Sets the number of a party.
    pub(super) fn set(&mut self, party: Party, amount: u64) {
        match self.place_of(&party) {
            Ok(place) => self.0[place].1 = amount,
            Err(place) => self.0.insert(place, (party, amount)),
        }
    }

    /// Adds to the numbers of all parties of an origin.
    pub(super) fn add(&mut self, origin: &Origin, amount: u64) {
        for party in origin.parties() {
            self.set(party, self.of(&party).unwrap_or(0).saturating_add(amount));
        }
    }

    /// Forgets the parties that `others` does not have.
    pub(super) fn retain(&mut self, others: &Amounts) {
        self.0.retain(|(party, _)| others.place_of(party).is_ok());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// How many places the origins of jobs hold.
#[derive(Debug)]
pub(super) struct Places(Amounts);

impl Places {
    /// One place for each of these origins.
    pub(super) fn of_all(holders: impl Iterator<Item = Origin>) -> Self {
        Self(Amounts::count(holders))
    }

    /// The number of places of an origin's network, of its home and of its owner there. Of several origins, the one
    /// for which this is least has the best right to a further place.
    pub(super) fn of(&self, origin: &Origin) -> [u64; 3] {
        origin.parties().map(|party| self.0.of(&party).unwrap_or(0))
    }

    /// The numbers of places of `holder` and of `newcomer` where they part: of their networks, of their homes if these
    /// share a network, or of their owners if they share a home. `None` if they have one origin.
    pub(super) fn where_they_part(&self, holder: &Origin, newcomer: &Origin) -> Option<(u64, u64)> {
        let (theirs, own) = (holder.parties(), newcomer.parties());
        let level = (0..3).find(|&level| theirs[level] != own[level])?;
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
        let places = Places::of_all((0..100).map(|owner| origin(1, 1, owner)));
        assert!(places.yields(&origin(1, 1, 7), &origin(1, 2, 200)));
        assert!(places.yields(&origin(1, 1, 7), &origin(2, 2, 200)));
        assert!(!places.yields(&origin(1, 1, 7), &origin(1, 1, 200)), "equal owners would take places in turn");
    }

    #[test]
    fn many_peers_in_one_network_share_the_places_of_that_network() {
        let places = Places::of_all((0..100).map(|home| origin(1, home, home)));
        assert!(places.yields(&origin(1, 7, 7), &origin(2, 200, 200)));
        assert!(!places.yields(&origin(1, 7, 7), &origin(1, 200, 200)));
    }

    #[test]
    fn a_place_is_not_taken_from_an_origin_that_would_take_it_back() {
        let places = Places::of_all([origin(1, 1, 1), origin(1, 1, 1), origin(2, 2, 2)].into_iter());
        assert!(!places.yields(&origin(1, 1, 1), &origin(2, 2, 2)));
        assert!(places.yields(&origin(1, 1, 1), &origin(3, 3, 3)));
        assert!(!places.yields(&origin(2, 2, 2), &origin(3, 3, 3)));
    }
}
