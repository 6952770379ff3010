//! The ring of a job: which shufflers own which partitions, computed from an epoch alone (rule 2).
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads",
//! 2016, arXiv:1608.01350). Every shuffler has many points on a circle; a partition goes to the first shuffler
//! clockwise from its own point that has capacity left. The capacity is 5/4 of the shuffler's fair share, so loads
//! follow weights however the points fall. Only integers are used, so that every peer, native or tab, computes the
//! same.
//!
//! When a shuffler leaves, its own partitions move, and those of others that the bound displaces. The paper bounds the
//! latter by O(1/ε²) for each of the former, where ε is the slack of 1/4. In the tests with random rings, the average
//! is less than a third for equal weights, and less than two thirds for three or more shufflers with weights from 1 to
//! 8; at most 0.4 of all partitions are displaced at once.
//!
//! The bound applies to owners only. A partition's replicas are the next shufflers on the circle, so that the one that
//! takes over nearly always has a copy; a light shuffler next to a heavy one may hold twice its share of copies.

use std::cmp::Reverse;

use crate::epoch::Epoch;
use crate::id::{Hash, JobId, PeerKey};
use crate::part::{PartitionId, StageId};

/// Points on the circle for each unit of weight. The arc of a shuffler of weight one then deviates from its mean by
/// about an eighth (1/√64), less than the slack.
const POINTS_PER_WEIGHT: usize = 64;
/// The bound on loads: a shuffler owns up to `SLACK.0 / SLACK.1` of its fair share.
const SLACK: (u64, u64) = (5, 4);
/// No shuffler owns more than one in this many partitions, while there are that many shufflers (rule 2).
const LARGEST_SHARE: u64 = 3;

/// Peers on a circle of 2⁶⁴ positions, each with a number of points proportional to its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The peers with their weights, ascending.
    peers: Vec<(PeerKey, u8)>,
    /// Positions, ascending, each with the index of its peer in `peers`.
    points: Vec<(u64, u16)>,
}

impl Circle {
    /// The circle of peers with their weights, given in any order. For a peer that is given twice, the greater weight
    /// counts; of more than 65,536 peers, those with the smallest keys count.
    pub fn new(peers: impl IntoIterator<Item = (PeerKey, u8)>) -> Self {
        let mut peers: Vec<(PeerKey, u8)> = peers.into_iter().collect();
        peers.sort_unstable_by_key(|&(peer, weight)| (peer, Reverse(weight)));
        peers.dedup_by_key(|&mut (peer, _)| peer);
        let mut points = Vec::new();
        for (place, &(peer, weight)) in (0..=u16::MAX).zip(&peers) {
            // Point i is bytes 8i to 8i + 8 of the extended output: a greater weight adds points and moves none.
            let mut hasher = blake3::Hasher::new_derive_key("webmesh 1 points on the ring");
            let mut output = hasher.update(&peer.0).finalize_xof();
            let mut point = [0; 8];
            for _ in 0..POINTS_PER_WEIGHT * usize::from(weight) {
                output.fill(&mut point);
                points.push((u64::from_le_bytes(point), place));
            }
        }
        points.sort_unstable();
        Self { peers, points }
    }

    /// The first `n` distinct peers clockwise from `key`; fewer if the circle has fewer.
    pub fn successors(&self, key: Hash, n: usize) -> Vec<PeerKey> {
        self.walk(key.draw()).take(n).map(|i| self.peers[i].0).collect()
    }

    /// The indices in `peers` of all distinct peers clockwise from `position`.
    fn walk(&self, position: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|&(at, _)| at < position);
        let (before, after) = self.points.split_at(start);
        let mut met = vec![false; self.peers.len()];
        let all = after.iter().chain(before).map(|&(_, i)| usize::from(i));
        all.filter(move |&i| !std::mem::replace(&mut met[i], true)).take(self.peers.len())
    }
}

/// The shufflers of one epoch on their circle.
#[derive(Clone, Debug)]
pub struct Ring {
    job: JobId,
    circle: Circle,
}

impl Ring {
    /// The ring of an epoch that has passed its check.
    pub fn new(epoch: &Epoch) -> Self {
        let shufflers = epoch.shufflers.iter().map(|s| (s.peer, s.weight));
        Self { job: epoch.job, circle: Circle::new(shufflers) }
    }

    /// The first `n` distinct shufflers clockwise from `key`; fewer if there are fewer.
    pub fn successors(&self, key: Hash, n: usize) -> Vec<PeerKey> {
        self.circle.successors(key, n)
    }

    /// The holders of the partitions of stage `stage`'s shuffle: `replicas` copies of each including the owner's, but
    /// at least one, and at most one for each shuffler.
    pub fn owners(&self, stage: StageId, partitions: u16, replicas: u8) -> Assignment {
        let peers = &self.circle.peers;
        let copies = usize::from(replicas.max(1)).min(peers.len());
        let mut room = self.capacities(partitions);
        let mut holders = Vec::with_capacity(usize::from(partitions) * copies);
        for partition in PartitionId::below(partitions) {
            let parts = [&self.job.0[..], &[stage.0], &partition.0.to_le_bytes()];
            let position = Hash::of_parts("webmesh 1 partition on the ring", &parts).draw();
            let clockwise: Vec<usize> = self.circle.walk(position).collect();
            let Some(first) = clockwise.iter().position(|&i| room[i] > 0) else { break };
            room[clockwise[first]] -= 1;
            // Copies go to the next shufflers after the owner: the one that takes over from it is most likely among
            // them.
            let from_owner = clockwise.iter().cycle().skip(first);
            holders.extend(from_owner.take(copies).map(|&i| peers[i].0));
        }
        Assignment::new(copies, holders)
    }

    /// How many of `partitions` each shuffler may own. They add up to at least `partitions`, as each is at least the
    /// shuffler's fair share, and fair shares add up to the whole.
    fn capacities(&self, partitions: u16) -> Vec<u16> {
        let partitions = u64::from(partitions);
        let most = match self.circle.peers.len() as u64 {
            n if n >= LARGEST_SHARE => partitions.div_ceil(LARGEST_SHARE),
            _ => partitions,
        };
        let shares = self.fair_shares();
        let with_slack = |(over, under): (u64, u64)| (partitions * over * SLACK.0).div_ceil(under * SLACK.1);
        shares.into_iter().map(|share| with_slack(share).min(most) as u16).collect()
    }

    /// Each shuffler's fair share as a fraction: by weight, but at most a third; the others share the rest by weight.
    fn fair_shares(&self) -> Vec<(u64, u64)> {
        let weights: Vec<u64> = self.circle.peers.iter().map(|&(_, weight)| u64::from(weight)).collect();
        let mut rest: u64 = weights.iter().sum();
        if (weights.len() as u64) < LARGEST_SHARE {
            return weights.iter().map(|&weight| (weight, rest)).collect();
        }
        // Thirds that are not assigned yet, to be shared by the `rest` of the weight.
        let mut thirds = LARGEST_SHARE;
        let mut by_weight: Vec<usize> = (0..weights.len()).collect();
        by_weight.sort_unstable_by_key(|&i| Reverse(weights[i]));
        let mut capped = 0;
        while let Some(&i) = by_weight.get(capped).filter(|&&i| thirds > 0 && thirds * weights[i] >= rest) {
            capped += 1;
            thirds -= 1;
            rest -= weights[i];
        }
        let mut shares = vec![(1, LARGEST_SHARE); weights.len()];
        for &i in &by_weight[capped..] {
            shares[i] = (thirds * weights[i], LARGEST_SHARE * rest);
        }
        shares
    }
}

/// The holders of the partitions of one shuffle under one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The number of holders of each partition.
    copies: usize,
    /// The holders of partition 0, the owner first, then those of partition 1, and so on.
    holders: Vec<PeerKey>,
    /// The owners, ascending.
    owners: Vec<PeerKey>,
}

impl Assignment {
    fn new(copies: usize, holders: Vec<PeerKey>) -> Self {
        let mut owners: Vec<PeerKey> = holders.iter().step_by(copies.max(1)).copied().collect();
        owners.sort_unstable();
        owners.dedup();
        Self { copies, holders, owners }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        self.holders.len().checked_div(self.copies).unwrap_or(0) as u16
    }

    /// All partitions, ascending.
    pub fn all_partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        PartitionId::below(self.partitions())
    }

    /// The owner of a partition.
    ///
    /// # Panics
    /// For a partition that does not exist: use [`Assignment::owns`] for numbers from the network.
    pub fn owner(&self, partition: PartitionId) -> PeerKey {
        self.replicas(partition)[0]
    }

    /// The holders of a partition: its owner, then its replicas, all distinct. Empty if it does not exist.
    pub fn replicas(&self, partition: PartitionId) -> &[PeerKey] {
        let start = partition.index() * self.copies;
        self.holders.get(start..start + self.copies).unwrap_or_default()
    }

    /// The shufflers that own any partition, ascending.
    pub fn owners(&self) -> Vec<PeerKey> {
        self.owners.clone()
    }

    /// Whether `peer` owns `partition`. Nobody owns one that does not exist.
    pub fn owns(&self, peer: PeerKey, partition: PartitionId) -> bool {
        self.replicas(partition).first() == Some(&peer)
    }

    /// Whether `peer` holds `partition`, as its owner or as a replica.
    pub fn holds(&self, peer: PeerKey, partition: PartitionId) -> bool {
        self.replicas(partition).contains(&peer)
    }

    /// The partitions that `peer` owns, ascending.
    pub fn partitions_of(&self, peer: PeerKey) -> impl Iterator<Item = PartitionId> + '_ {
        self.all_partitions().filter(move |&partition| self.owns(peer, partition))
    }

    /// The partitions that `peer` holds without owning them, ascending.
    pub fn replica_partitions_of(&self, peer: PeerKey) -> impl Iterator<Item = PartitionId> + '_ {
        self.all_partitions().filter(move |&partition| self.replicas(partition).iter().skip(1).any(|&p| p == peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Shuffler;
    use crate::limits;
    use proptest::prelude::*;

    /// An epoch of a job drawn from `seed` with one shuffler for each weight.
    fn epoch(seed: u64, weights: &[u8]) -> Epoch {
        let key = |kind: &str, i: u64| Hash::of_parts(kind, &[&seed.to_le_bytes(), &i.to_le_bytes()]).0;
        let shuffler = |(i, &weight): (usize, &u8)| Shuffler { peer: PeerKey(key("peer", i as u64)), weight };
        let mut shufflers: Vec<Shuffler> = weights.iter().enumerate().map(shuffler).collect();
        shufflers.sort_unstable_by_key(|s| s.peer);
        Epoch { job: JobId(key("job", 0)), number: 0, previous: None, shufflers, generations: vec![] }
    }

    fn loads(epoch: &Epoch, assignment: &Assignment) -> Vec<usize> {
        epoch.shufflers.iter().map(|s| assignment.partitions_of(s.peer).count()).collect()
    }

    fn weights() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=limits::WEIGHT, 1..=limits::SHUFFLERS)
    }

    proptest! {
        #[test]
        fn every_partition_has_an_owner_and_distinct_replicas(
            seed: u64, weights in weights(), stage: u8, partitions in 0..=limits::PARTITIONS, replicas in 0u8..=5,
        ) {
            let epoch = epoch(seed, &weights);
            let assignment = Ring::new(&epoch).owners(StageId(stage), partitions, replicas);
            prop_assert_eq!(assignment.partitions(), partitions);
            for partition in PartitionId::below(partitions) {
                let holders = assignment.replicas(partition);
                prop_assert_eq!(holders.len(), usize::from(replicas.max(1)).min(weights.len()));
                prop_assert_eq!(holders[0], assignment.owner(partition));
                prop_assert!(assignment.owns(holders[0], partition));
                let mut distinct = holders.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), holders.len());
                prop_assert!(holders.iter().all(|h| epoch.shufflers.iter().any(|s| s.peer == *h)));
            }
            prop_assert!(assignment.replicas(PartitionId(partitions)).is_empty());
            prop_assert_eq!(loads(&epoch, &assignment).iter().sum::<usize>(), usize::from(partitions));
            let copies: usize = epoch.shufflers.iter().map(|s| assignment.replica_partitions_of(s.peer).count()).sum();
            let each = usize::from(replicas.max(1)).min(weights.len()) - 1;
            prop_assert_eq!(copies, usize::from(partitions) * each);
        }

        #[test]
        fn no_shuffler_owns_over_a_third_nor_much_over_its_share(
            seed: u64, weights in weights(), partitions in 1..=limits::PARTITIONS,
        ) {
            let epoch = epoch(seed, &weights);
            let loads = loads(&epoch, &Ring::new(&epoch).owners(StageId(0), partitions, 1));
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            // Where the cap of a third applies, the others own more than their share by weight.
            let capped = weights.iter().any(|&w| 3.0 * f64::from(w) >= total);
            for (shuffler, &load) in epoch.shufflers.iter().zip(&loads) {
                if weights.len() >= 3 {
                    prop_assert!(load <= usize::from(partitions).div_ceil(3), "{} of {}", load, partitions);
                }
                if weights.len() < 3 || !capped {
                    let fair = f64::from(partitions) * f64::from(shuffler.weight) / total;
                    prop_assert!(load as f64 <= (1.25 * fair).ceil(), "{} where {} is fair", load, fair);
                }
            }
        }

        #[test]
        fn the_order_of_shufflers_does_not_matter(seed: u64, weights in weights(), turn in 0usize..16) {
            let sorted = epoch(seed, &weights);
            let mut turned = sorted.clone();
            turned.shufflers.reverse();
            turned.shufflers.rotate_left(turn % weights.len());
            prop_assert_eq!(Ring::new(&sorted).owners(StageId(1), 64, 3), Ring::new(&turned).owners(StageId(1), 64, 3));
        }

        #[test]
        fn capacities_suffice_and_fair_shares_add_up_to_the_whole(seed: u64, weights in weights(), partitions: u16) {
            let ring = Ring::new(&epoch(seed, &weights));
            let shares: f64 = ring.fair_shares().iter().map(|&(over, under)| over as f64 / under as f64).sum();
            prop_assert!((shares - 1.0).abs() < 1e-9, "{}", shares);
            let room: u64 = ring.capacities(partitions).iter().map(|&c| u64::from(c)).sum();
            prop_assert!(room >= u64::from(partitions));
        }

        #[test]
        fn successors_are_distinct_and_keep_their_order_when_a_peer_leaves(
            seed: u64, count in 1usize..40, n in 0usize..50, key: [u8; 32],
        ) {
            let peers: Vec<PeerKey> = epoch(seed, &vec![1; count]).shufflers.iter().map(|s| s.peer).collect();
            let circle = Circle::new(peers.iter().map(|&p| (p, 1)));
            let found = circle.successors(Hash(key), n);
            prop_assert_eq!(found.len(), n.min(count));
            let without = Circle::new(peers.iter().filter(|&&p| p != peers[0]).map(|&p| (p, 1)));
            let all = circle.successors(Hash(key), count);
            prop_assert!(all.starts_with(&found));
            let others: Vec<PeerKey> = all.into_iter().filter(|&p| p != peers[0]).collect();
            prop_assert_eq!(others, without.successors(Hash(key), count));
        }
    }

    #[test]
    fn loads_follow_weights() {
        let (mut heavy, mut light) = (0, 0);
        for seed in 0..40 {
            let epoch = epoch(seed, &[1, 1, 1, 1, 4, 4, 4, 4]);
            let assignment = Ring::new(&epoch).owners(StageId(0), 240, 1);
            for (shuffler, load) in epoch.shufflers.iter().zip(loads(&epoch, &assignment)) {
                *(if shuffler.weight == 4 { &mut heavy } else { &mut light }) += load;
            }
        }
        let ratio = f64::from(heavy as u32) / f64::from(light as u32);
        assert!((3.2..5.0).contains(&ratio), "weights of 4 to 1 gave loads of {ratio} to 1");
    }

    #[test]
    fn light_shufflers_share_what_the_cap_takes_from_heavy_ones() {
        let shares = Ring::new(&epoch(7, &[8, 1, 1, 1])).fair_shares();
        let mut shares: Vec<f64> = shares.iter().map(|&(over, under)| over as f64 / under as f64).collect();
        shares.sort_by(f64::total_cmp);
        for (share, expected) in shares.iter().zip([2.0 / 9.0, 2.0 / 9.0, 2.0 / 9.0, 1.0 / 3.0]) {
            assert!((share - expected).abs() < 1e-9, "{shares:?}");
        }
    }

    /// For each shuffler of twenty random epochs: its key, the ring with it, and the ring after it has left.
    fn departures(weights: &[u8]) -> impl Iterator<Item = (PeerKey, Ring, Ring)> {
        (0..20).map(|seed| epoch(seed, weights)).flat_map(|before| {
            let ring = Ring::new(&before);
            before.shufflers.clone().into_iter().map(move |gone| {
                let mut after = before.clone();
                after.shufflers.retain(|s| s.peer != gone.peer);
                (gone.peer, ring.clone(), Ring::new(&after))
            })
        })
    }

    /// How many partitions of others move when a shuffler leaves: the average for each one that it owned, and the
    /// maximum as a fraction of all partitions.
    fn moved_by_a_departure(weights: &[u8], partitions: u16) -> (f64, f64) {
        let (mut owned, mut moved, mut most) = (0, 0, 0);
        for (gone, old, new) in departures(weights) {
            let (old, new) = (old.owners(StageId(0), partitions, 1), new.owners(StageId(0), partitions, 1));
            let kept = old.all_partitions().filter(|&p| !old.owns(gone, p));
            let displaced = kept.filter(|&p| old.owner(p) != new.owner(p)).count();
            owned += old.partitions_of(gone).count();
            moved += displaced;
            most = most.max(displaced);
        }
        (moved as f64 / owned as f64, most as f64 / f64::from(partitions))
    }

    const MIXED: [u8; 16] = [8, 1, 4, 2, 8, 1, 4, 2, 8, 1, 4, 2, 8, 1, 4, 2];

    #[test]
    fn few_partitions_of_others_move_when_a_shuffler_leaves() {
        for count in [4, 5, 6, 8, 12, 16] {
            let (average, most) = moved_by_a_departure(&vec![1; count], limits::PARTITIONS);
            assert!(
                average < 1.0 / 3.0 && most < 1.0 / 6.0,
                "{count} of equal weight: {average} for each, {most} at most"
            );
        }
        for (count, partitions) in [(3, 48), (4, 64), (6, 64), (8, 128), (16, 256), (16, 64)] {
            let (average, most) = moved_by_a_departure(&MIXED[..count], partitions);
            assert!(average < 2.0 / 3.0 && most < 0.4, "{count} of mixed weights: {average} for each, {most} at most");
        }
    }

    #[test]
    fn the_next_owner_of_a_partition_nearly_always_holds_a_copy() {
        for weights in [&[1; 4][..], &[1; 16], &MIXED] {
            let (mut all, mut copied) = (0, 0);
            for (gone, old, new) in departures(weights) {
                let (old, new) = (old.owners(StageId(0), 128, 2), new.owners(StageId(0), 128, 2));
                all += old.partitions_of(gone).count();
                copied += old.partitions_of(gone).filter(|&p| old.holds(new.owner(p), p)).count();
            }
            assert!(copied * 10 > all * 8, "{copied} of {all}");
        }
    }
}
