//! Partitions that a new holder pulls from the holders before it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::commits::split_by_task;
use super::shuffle::Shuffle;
use crate::engine::core::Core;
use crate::engine::pending::ShufflerRequest;
use crate::id::PeerKey;
use crate::io::{RequestError, SegmentAction};
use crate::message::{AttemptId, Attempts, Push, PushEntry, Request, Response};
use crate::part::{PartitionId, StageRef, TaskId};
use crate::ring::Assignment;

/// A partition being pulled from other holders.
#[derive(Debug, Default)]
pub(super) struct Pulling {
    /// The holders to ask, the next one last.
    pub(super) holders: Vec<PeerKey>,
    /// The first task of the last request. Each answer must make progress, or the pull would never end.
    from: TaskId,
    /// Attempts that the current holder has, with their authors, and whose segments have not arrived; in the end, those
    /// that wrote nothing for the partition.
    pub(super) listed: BTreeMap<AttemptId, PeerKey>,
}

impl Shuffle {
    /// Pulls a partition's segments from those of the `holders` that still shuffle, one after another, starting with
    /// the last.
    pub(super) fn pull(&mut self, core: &mut Core, partition: PartitionId, mut holders: Vec<PeerKey>) {
        let mut known = BTreeSet::from([core.me]);
        holders.retain(|peer| self.epoch.shufflers.iter().any(|s| s.peer == *peer) && known.insert(*peer));
        self.pulling.insert(partition, Pulling { holders, ..Pulling::default() });
        self.ask_held(core, partition, TaskId(0));
    }

    /// Pulls the partitions that this peer holds under the newest epoch and did not hold under the one before, and
    /// restarts unfinished pulls from the holders that are left.
    pub(super) fn pull_new_partitions(&mut self, core: &mut Core, before: &Assignment) {
        let unfinished = std::mem::take(&mut self.pulling);
        for partition in self.ring.all_partitions() {
            let owns = self.ring.owns(core.me, partition);
            let new = if owns { !before.owns(core.me, partition) } else { !before.holds(core.me, partition) };
            let begun = unfinished.get(&partition);
            if self.ring.holds(core.me, partition) && (new || begun.is_some()) {
                let mut holders = begun.map(|pulling| pulling.holders.clone()).unwrap_or_default();
                holders.extend(before.replicas(partition));
                self.pull(core, partition, holders);
            }
        }
    }

    /// Requests the list of attempts that the next holder has, including those without a segment: a listed attempt is
    /// in its store by the time segments are requested.
    pub(super) fn ask_held(&mut self, core: &mut Core, partition: PartitionId, from: TaskId) {
        let Some(pulling) = self.pulling.get_mut(&partition) else { return };
        let Some(&to) = pulling.holders.last() else {
            self.pulling.remove(&partition);
            return;
        };
        pulling.from = from;
        let StageRef { job, stage } = self.id;
        let request = Request::Held { job, stage, partition, from };
        let (partition, epoch) = (self.id.partition(partition), self.epoch.number);
        core.request(to, request, vec![], ShufflerRequest::Held { partition, epoch });
    }

    pub(super) fn on_held_list(
        &mut self,
        core: &mut Core,
        partition: PartitionId,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        let tasks = self.tasks();
        let Some(pulling) = self.pulling.get_mut(&partition) else { return };
        match outcome {
            // A holder that does not know the generation yet may hold attempts computed from an older one.
            Ok((Response::Pulled { push, next }, _)) if push.epoch >= self.since => {
                let holder = pulling.holders.last().copied().unwrap_or(core.me);
                let listed = push.entries.iter().zip(push.authors_or(holder)).filter(|(e, _)| e.task.0 < tasks);
                pulling.listed.extend(listed.map(|(e, author)| (e.attempt(), author)));
                match next {
                    Some(next) if next > pulling.from => self.ask_held(core, partition, next),
                    Some(_) => self.next_holder(core, partition),
                    None => self.ask_segments(core, partition, TaskId(0)),
                }
            }
            _ => self.next_holder(core, partition),
        }
    }

    pub(super) fn next_holder(&mut self, core: &mut Core, partition: PartitionId) {
        if let Some(pulling) = self.pulling.get_mut(&partition) {
            pulling.holders.pop();
            pulling.listed.clear();
        }
        self.ask_held(core, partition, TaskId(0));
    }

    pub(super) fn ask_segments(&mut self, core: &mut Core, partition: PartitionId, from: TaskId) {
        let Some(pulling) = self.pulling.get_mut(&partition) else { return };
        let Some(&to) = pulling.holders.last() else { return };
        pulling.from = from;
        let StageRef { job, stage } = self.id;
        let request = Request::Pull { job, stage, partition, from };
        let (partition, epoch) = (self.id.partition(partition), self.epoch.number);
        core.request(to, request, vec![], ShufflerRequest::Pull { partition, epoch });
    }

    pub(super) fn on_pulled(
        &mut self,
        core: &mut Core,
        partition: PartitionId,
        outcome: Result<(Response, Bytes), RequestError>,
    ) {
        let Some(pulling) = self.pulling.get_mut(&partition) else { return };
        let fits = |push: &Push, body: &Bytes| {
            let ours = push.stage_ref() == self.id && push.body_len() == body.len() as u64;
            ours && push.entries.iter().all(|e| e.segments.iter().all(|s| s.0 == partition))
        };
        let (push, next, body) = match outcome {
            Ok((Response::Pulled { push, next }, body))
                if fits(&push, &body) && next.is_none_or(|next| next > pulling.from) =>
            {
                (push, next, body)
            }
            _ => return self.next_holder(core, partition),
        };
        // The store that sends segments knows no authors. Those of attempts that came after the list are attributed to
        // the holder.
        let holder = pulling.holders.last().copied().unwrap_or(core.me);
        let listed = &mut pulling.listed;
        let author = |entry: &PushEntry| listed.remove(&entry.attempt()).unwrap_or(holder);
        let authors: Vec<PeerKey> = push.entries.iter().map(author).collect();
        self.take_pulled(core, partition, push, &authors, body);
        match next {
            Some(next) => self.ask_segments(core, partition, next),
            None => {
                let rest = self.pulling.remove(&partition).map(|p| p.listed).unwrap_or_default();
                let authors: Vec<PeerKey> = rest.values().copied().collect();
                let entries = rest.into_keys().map(PushEntry::without_segments).collect();
                let (StageRef { job, stage }, epoch) = (self.id, self.epoch.number);
                let push = Push { job, stage, epoch, replica: true, entries, authors: Vec::new() };
                self.take_pulled(core, partition, push, &authors, Bytes::new());
                self.seal_complete_partitions(core);
            }
        }
    }

    /// Holds attempts that were pulled, and commits them if this peer owns the partition.
    fn take_pulled(
        &mut self,
        core: &mut Core,
        partition: PartitionId,
        mut push: Push,
        authors: &[PeerKey],
        body: Bytes,
    ) {
        push.epoch = self.epoch.number;
        let staged = self.stage_entries(&push, authors, &[partition]);
        if !staged.keep.is_empty() {
            core.act(SegmentAction::Stage { push, keep: staged.keep, body });
        }
        if self.owned.contains(&partition) {
            for commits in split_by_task(staged.noted) {
                self.send_commit(core, vec![partition], Attempts::pack_authored(&commits));
            }
        }
    }
}
