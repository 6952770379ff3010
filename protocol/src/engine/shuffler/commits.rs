//! Reports to the authority of the attempts that lie here.

use super::shuffle::Shuffle;
use crate::engine::core::Core;
use crate::engine::pending::ShufflerRequest;
use crate::message::{Attempts, AuthoredAttempt, Commit, Request};
use crate::part::{PartitionId, StageRef, TaskId};

/// Most attempts in one commit: their digests make a quarter of a mebibyte.
pub(super) const COMMIT_ATTEMPTS: usize = 8192;

impl Shuffle {
    pub(super) fn commit_partition(&self, core: &mut Core, partition: PartitionId) {
        for part in split_by_task(self.attempts_of(partition, TaskId(0))) {
            self.send_commit(core, vec![partition], Attempts::pack_authored(&part));
        }
    }

    /// Reports attempts that lie here to the authority, for some partitions or for all that this peer owns.
    pub(super) fn send_commit(&self, core: &mut Core, partitions: Vec<PartitionId>, attempts: Attempts) {
        let (StageRef { job, stage }, epoch, opened, bytes) = (self.id, self.epoch.number, self.opened, self.pushed);
        let commit = Commit { job, stage, epoch, opened, partitions, attempts, bytes };
        let request = Request::Commit(commit.clone());
        core.request(self.manifest.home, request, vec![], ShufflerRequest::Commit(commit));
    }
}

/// Splits attempts into parts that name no task twice (attempts that differ go in separate parts) and fit into a
/// message.
pub(super) fn split_by_task(attempts: Vec<AuthoredAttempt>) -> Vec<Vec<AuthoredAttempt>> {
    let mut parts: Vec<Vec<AuthoredAttempt>> = Vec::new();
    for attempt in attempts {
        let room = |part: &&mut Vec<AuthoredAttempt>| {
            part.len() < COMMIT_ATTEMPTS && part.last().is_none_or(|last| last.task < attempt.task)
        };
        match parts.iter_mut().rev().find(room) {
            Some(part) => part.push(attempt),
            None => parts.push(vec![attempt]),
        }
    }
    parts
}
