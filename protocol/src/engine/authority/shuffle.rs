//! What the authority knows of one stage's shuffle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::watch::Standing;
use crate::decisions::State;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::message::Attempts;
use crate::provenance::Provenance;
use crate::ranges::BitSet;
use crate::ring::Assignment;
use crate::segment;
use crate::time::Time;

/// After a new epoch, when nothing of what was accepted before has been committed for so long, tasks that lack segments
/// are opened again: until then replicas may come forward, and new owners pull from them.
const REOPEN_AFTER: Duration = Duration::from_millis(2_500);

/// After a restart of this peer, likewise, until all owners have been reached.
pub(super) const RESUME_GRACE: Duration = Duration::from_secs(10);

/// What is known of one stage's shuffle.
#[derive(Debug)]
pub(super) struct Shuffle {
    pub(super) ring: Assignment,
    /// The leading digest of each task: the accepted one, or else the first that an owner committed.
    digests: Vec<Hash>,
    /// Their authors, as the first owner that committed each of them told.
    authors: Provenance,
    pub(super) accepted: BitSet,
    /// Of which tasks each partition's owner holds the leading digest.
    pub(super) held: Vec<BitSet>,
    /// How many partitions lack each task.
    pub(super) lacking: Vec<u16>,
    /// How many tasks any partition lacks.
    incomplete: u32,
    /// Of tasks without an accepted digest, the others.
    others: BTreeMap<(u32, Hash), Other>,
    pub(super) sealed: BTreeMap<u16, Hash>,
    /// Bytes that were pushed to each owner, those that were lost since included, as they told.
    pushed: BTreeMap<PeerKey, u64>,
    /// How far each owner had come when it last came further.
    pub(super) standings: BTreeMap<PeerKey, (Standing, Time)>,
    /// Over all accepted digests, once there is one of each task.
    root: Option<Hash>,
    /// The epoch with which its generation began: what was said in earlier ones no longer counts.
    pub(super) since: u32,
    /// When each owner opened the job, in its own measure.
    opened: BTreeMap<PeerKey, u64>,
    /// Tasks to be accepted, or of which owners are to be told again.
    accept: Vec<u32>,
    pub(super) accept_at: Time,
    pub(super) accept_failed: Vec<(Time, PeerKey, Attempts)>,
    pub(super) tries: BTreeMap<PeerKey, u32>,
    /// When tasks that lost their segments are opened again.
    pub(super) reopen_at: Time,
}

/// An attempt that is not the leading one of its task.
#[derive(Debug)]
struct Other {
    author: PeerKey,
    /// The partitions whose owners hold it.
    partitions: BTreeSet<u16>,
}

/// No attempt has been committed.
const NONE: Hash = Hash([0; 32]);
/// The last of all digests.
const LAST: Hash = Hash([u8::MAX; 32]);

/// Why a seal is not taken.
pub(super) enum NotSealed {
    /// Not all is here, as far as the authority has heard.
    TooEarly,
    /// It stands for other attempts than those accepted.
    OtherRoot,
}

impl Shuffle {
    pub(super) fn new(ring: Assignment, tasks: u32) -> Self {
        let partitions = ring.partitions();
        Self {
            ring,
            digests: vec![NONE; tasks as usize],
            authors: Provenance::new(tasks),
            accepted: BitSet::new(tasks),
            held: (0..partitions).map(|_| BitSet::new(tasks)).collect(),
            lacking: vec![partitions; tasks as usize],
            incomplete: tasks,
            others: BTreeMap::new(),
            sealed: BTreeMap::new(),
            pushed: BTreeMap::new(),
            root: None,
            standings: BTreeMap::new(),
            since: 0,
            opened: BTreeMap::new(),
            accept: Vec::new(),
            accept_at: Time::NEVER,
            accept_failed: Vec::new(),
            tries: BTreeMap::new(),
            reopen_at: Time::NEVER,
        }
    }

    /// Notes that the owner of `partitions`, of which there is one at least, holds an attempt; says whether the
    /// task is complete with that. The first digest that all owners hold is accepted: one that some of them never
    /// get, because its worker was lost or sent it to them only, is in nobody's way.
    pub(super) fn commit(&mut self, now: Time, task: u32, digest: Hash, author: PeerKey, partitions: &[u16]) -> bool {
        let Some(leading) = self.digests.get_mut(task as usize) else { return false };
        if *leading == NONE {
            *leading = digest;
            self.authors.set(task, author);
        }
        if *leading == digest {
            self.hold(now, task, partitions)
        } else {
            !self.accepted.contains(task) && self.commit_other(now, task, digest, author, partitions)
        }
    }

    fn hold(&mut self, now: Time, task: u32, partitions: &[u16]) -> bool {
        let fresh = partitions.iter().filter(|p| self.held[usize::from(**p)].insert(task)).count() as u16;
        let lacking = &mut self.lacking[task as usize];
        *lacking -= fresh;
        let complete = fresh > 0 && *lacking == 0;
        if fresh > 0 && self.reopen_at != Time::NEVER && self.accepted.contains(task) {
            // More is still coming forward. What is done for the first time says nothing of that, and may go on for as
            // long as the stage takes.
            self.reopen_at = self.reopen_at.max(now + REOPEN_AFTER);
        }
        if complete {
            self.accepted.insert(task);
            self.incomplete -= 1;
            self.accept.push(task);
            self.others.extract_if((task, NONE)..=(task, LAST), |_, _| true).for_each(drop);
        }
        complete
    }

    fn commit_other(&mut self, now: Time, task: u32, digest: Hash, author: PeerKey, partitions: &[u16]) -> bool {
        if self.others.len() >= limits::OTHER_DIGESTS && !self.others.contains_key(&(task, digest)) {
            return false;
        }
        let of = self.others.entry((task, digest)).or_insert_with(|| Other { author, partitions: BTreeSet::new() });
        of.partitions.extend(partitions);
        if of.partitions.len() < self.held.len() {
            return false;
        }
        let all: Vec<u16> = of.partitions.iter().copied().collect();
        self.digests[task as usize] = digest;
        self.authors.set(task, of.author);
        self.lacking[task as usize] = all.len() as u16;
        self.held.iter_mut().for_each(|held| {
            held.remove(task);
        });
        self.hold(now, task, &all)
    }

    /// Takes over what an earlier run of this peer accepted. Nobody holds any of it until owners say so.
    /// What nobody has by `reopen_at` is opened again.
    pub(super) fn restore(&mut self, reopen_at: Time, stage: u8, state: &State) {
        let Some(decided) = state.stage(stage) else { return };
        for task in decided.accepted().iter() {
            if let (Some(digest), Some(author)) = (decided.digest(task), state.author(stage, task)) {
                self.digests[task as usize] = digest;
                self.authors.set(task, author);
                self.accepted.insert(task);
            }
        }
        self.reopen_at = reopen_at;
    }

    /// Whether an attempt differs from the accepted one of its task, of which some partition has been lost.
    pub(super) fn contradicts(&self, task: u32, digest: Hash) -> bool {
        let other = self.digests.get(task as usize).is_some_and(|leading| *leading != digest);
        other && self.accepted.contains(task) && self.lacking[task as usize] > 0
    }

    /// The tasks of which an attempt is accepted and some partition has been lost.
    pub(super) fn accepted_and_lost(&self) -> impl Iterator<Item = u32> + '_ {
        self.accepted.iter().filter(|&task| self.lacking[task as usize] > 0)
    }

    /// Acceptances do not stand any more, other than those of `standing`: the first attempt that all owners hold is
    /// accepted next. A new generation begins with epoch `since`.
    pub(super) fn revoke(&mut self, standing: &BitSet, since: u32) {
        let revoked: Vec<u32> = self.accepted.iter().filter(|&task| !standing.contains(task)).collect();
        for task in revoked {
            self.accepted.remove(task);
            if self.lacking[task as usize] == 0 {
                // It counts again only once it is committed again.
                self.incomplete += 1;
                self.lacking[task as usize] = self.held.len() as u16;
                self.held.iter_mut().for_each(|held| {
                    held.remove(task);
                });
            }
        }
        self.since = since;
        self.sealed.clear();
        self.root = None;
        self.accept.clear();
        self.accept_failed.clear();
        self.tries.clear();
    }

    /// Everything that lies with owners was computed from what no longer stands.
    pub(super) fn reset(&mut self, since: u32) {
        let tasks = self.accepted.size();
        let (ring, opened) = (self.ring.clone(), std::mem::take(&mut self.opened));
        let pushed = std::mem::take(&mut self.pushed);
        *self = Self { since, opened, pushed, ..Self::new(ring, tasks) };
    }

    /// An owner tells how many bytes were pushed to it.
    pub(super) fn note_pushed(&mut self, owner: PeerKey, bytes: u64) {
        let known = self.pushed.entry(owner).or_default();
        *known = bytes.max(*known);
    }

    /// How many bytes were written, as far as owners have told; tasks that ran twice may count twice.
    pub(super) fn written(&self) -> u64 {
        self.pushed.values().fold(0, |sum, &bytes| sum.saturating_add(bytes))
    }

    /// Whether an attempt of every task lies with all owners.
    pub(super) fn is_complete(&self) -> bool {
        self.incomplete == 0
    }

    /// The tasks whose acceptance is due, ascending, with their digests and authors.
    pub(super) fn due_acceptances(&mut self) -> Vec<(u32, Hash, PeerKey)> {
        self.accept_at = Time::NEVER;
        let mut tasks = std::mem::take(&mut self.accept);
        tasks.sort_unstable();
        tasks.dedup();
        let named = |task: u32| Some((task, self.digests[task as usize], self.authors.author(task)?));
        tasks.into_iter().filter(|&task| self.accepted.contains(task)).filter_map(named).collect()
    }

    /// How many acceptances are due.
    pub(super) fn due(&self) -> usize {
        self.accept.len()
    }

    /// Takes a seal from a partition's owner.
    pub(super) fn seal(&mut self, partition: u16, root: Hash) -> Result<(), NotSealed> {
        if !self.accepted.is_full() {
            return Err(NotSealed::TooEarly);
        }
        // No accepted digest changes within a generation.
        if *self.root.get_or_insert_with(|| segment::root(&self.digests)) != root {
            return Err(NotSealed::OtherRoot);
        }
        // Its owner vouches for the whole of it, whatever commits were lost or were made to an earlier run of this peer.
        let held = &mut self.held[usize::from(partition)];
        for task in held.iter_missing().collect::<Vec<u32>>() {
            held.insert(task);
            self.lacking[task as usize] -= 1;
            self.incomplete -= u32::from(self.lacking[task as usize] == 0);
        }
        self.sealed.insert(partition, root);
        Ok(())
    }

    /// Whether an owner still knows what it commits: it opened the job then, and not again. If it did so just now, it
    /// has lost all that it held before.
    pub(super) fn is_of_this_life(&mut self, now: Time, owner: PeerKey, opened: u64) -> bool {
        let is_first = !self.opened.contains_key(&owner);
        let known = *self.opened.entry(owner).or_insert(opened);
        if is_first
            && self.reopen_at != Time::NEVER
            && self.ring.owners().iter().all(|owner| self.opened.contains_key(owner))
        {
            // All owners have been reached: what they hold follows at once.
            self.reopen_at = self.reopen_at.min(now + REOPEN_AFTER);
        }
        if opened > known {
            self.opened.insert(owner, opened);
            self.ring.partitions_of(owner).collect::<Vec<_>>().into_iter().for_each(|p| self.forget(p));
            self.reopen_at = now + REOPEN_AFTER;
        }
        opened >= known
    }

    /// Nobody holds anything, until owners say that they do.
    pub(super) fn forget_all(&mut self, now: Time) {
        (0..self.ring.partitions()).for_each(|partition| self.forget(partition));
        self.reopen_at = now + REOPEN_AFTER;
    }

    /// Nobody holds a partition any more.
    fn forget(&mut self, partition: u16) {
        self.sealed.remove(&partition);
        let held = &mut self.held[usize::from(partition)];
        for task in held.iter() {
            self.incomplete += u32::from(self.lacking[task as usize] == 0);
            self.lacking[task as usize] += 1;
        }
        *held = BitSet::new(held.size());
        self.others.retain(|_, of| {
            of.partitions.remove(&partition);
            !of.partitions.is_empty()
        });
    }

    /// The authority did nothing for as long as `asleep`, and heard of nothing that was done meanwhile.
    pub(super) fn woke(&mut self, asleep: Duration) {
        self.standings.values_mut().for_each(|(_, since)| *since = *since + asleep);
        // `NEVER` stays what it is: it is the end of time.
        self.reopen_at = self.reopen_at + asleep;
    }

    /// Partitions whose owner changed are held by nobody until their new owners say otherwise.
    pub(super) fn new_ring(&mut self, now: Time, ring: Assignment) {
        let before = std::mem::replace(&mut self.ring, ring);
        for partition in 0..self.ring.partitions() {
            if before.owner(partition) != self.ring.owner(partition) {
                self.forget(partition);
            }
        }
        self.accept_failed.retain(|(_, to, _)| self.ring.owners().contains(to));
        self.tries.clear();
        self.standings.clear();
        self.opened.retain(|owner, _| self.ring.owners().contains(owner));
        self.reopen_at = now + REOPEN_AFTER;
    }
}
