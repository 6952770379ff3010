//! Output that is not acknowledged yet: kept until every owner of the newest epoch has it (rules 2 and 13).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::core::Core;
use super::pending::{PushRequest, WorkerRequest};
use crate::id::PeerKey;
use crate::limits;
use crate::message::{Push, PushEntry, Request};
use crate::part::{PartitionId, StageRef, TaskId};
use crate::ring::Assignment;
use crate::segment::Attempt;
use crate::time::Time;

/// Pause before the next push to an owner that refused one.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// The attempts of one stage of one job that wait for acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    attempts: BTreeMap<TaskId, Waiting>,
    queues: BTreeMap<PeerKey, Queue>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    /// Owners that have not acknowledged it, with the indices of their segments. Owners without a segment must learn of
    /// the attempt too.
    parts: BTreeMap<PeerKey, Vec<u16>>,
}

impl Waiting {
    fn new(attempt: Attempt, ring: &Assignment) -> Self {
        let mut parts: BTreeMap<PeerKey, Vec<u16>> = ring.owners().iter().map(|&owner| (owner, Vec::new())).collect();
        for ((partition, _), place) in attempt.segments.iter().zip(0..) {
            parts.entry(ring.owner(*partition)).or_default().push(place);
        }
        Self { attempt, parts }
    }

    /// The segments for one owner.
    fn segments(&self, owner: &PeerKey) -> impl Iterator<Item = &(PartitionId, Bytes)> {
        let places = self.parts.get(owner).into_iter().flatten();
        places.filter_map(|&place| self.attempt.segments.get(usize::from(place)))
    }

    fn bytes_for(&self, owner: &PeerKey) -> usize {
        self.segments(owner).map(|(_, segment)| segment.len()).sum()
    }
}

/// The tasks whose output is to be pushed to one owner.
#[derive(Debug)]
struct Queue {
    tasks: Vec<TaskId>,
    bytes: usize,
    /// When it is sent at the latest.
    flush_at: Time,
}

impl Outbox {
    /// Adds a finished attempt.
    pub(super) fn add(&mut self, now: Time, task: TaskId, attempt: Attempt, ring: &Assignment) {
        self.bytes += attempt.len();
        let waiting = Waiting::new(attempt, ring);
        waiting.parts.keys().for_each(|owner| enqueue(&mut self.queues, now, *owner, task, &waiting));
        if let Some(old) = self.attempts.insert(task, waiting) {
            self.bytes -= old.attempt.len();
        }
    }

    /// Bytes of the attempts that some owner has not acknowledged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many attempts wait.
    pub(super) fn len(&self) -> usize {
        self.attempts.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// When the next queue must be sent.
    pub(super) fn deadline(&self) -> Time {
        self.queues.values().map(|q| q.flush_at).min().unwrap_or(Time::NEVER)
    }

    /// Sends the queues that are full or due, or all of them if `all`; none that is paused after a refusal.
    pub(super) fn flush(&mut self, core: &mut Core, stage: StageRef, epoch: u32, all: bool) {
        let due: Vec<PeerKey> = self
            .queues
            .iter()
            .filter(|(_, q)| {
                let full = q.bytes >= limits::PUSH_BYTES || q.tasks.len() >= limits::PUSH_ENTRIES;
                let paused = q.flush_at > core.now + limits::PUSH_DELAY;
                (full || all || q.flush_at <= core.now) && !paused
            })
            .map(|(&owner, _)| owner)
            .collect();
        for owner in due {
            let Some(queue) = self.queues.remove(&owner) else { continue };
            for tasks in self.batches(&queue.tasks, owner) {
                self.push(core, PushRequest { stage, owner, epoch, tasks });
            }
        }
    }

    /// Cuts a queue into pushes within the bounds of a message.
    fn batches(&self, tasks: &[TaskId], owner: PeerKey) -> Vec<Vec<TaskId>> {
        let mut batches = vec![Vec::new()];
        let mut bytes = 0;
        for &task in tasks {
            let Some(waiting) = self.attempts.get(&task) else { continue };
            let len = waiting.bytes_for(&owner);
            let last = batches.len() - 1;
            if !batches[last].is_empty()
                && (bytes + len > 2 * limits::PUSH_BYTES || batches[last].len() >= limits::PUSH_ENTRIES)
            {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += len;
            let last = batches.len() - 1;
            batches[last].push(task);
        }
        batches.retain(|b| !b.is_empty());
        batches
    }

    fn push(&self, core: &mut Core, mut request: PushRequest) {
        request.tasks.sort_unstable();
        let PushRequest { stage: StageRef { job, stage }, owner, epoch, ref tasks } = request;
        let mut entries = Vec::with_capacity(tasks.len());
        let mut body: Vec<Bytes> = Vec::new();
        for task in tasks {
            let Some(waiting) = self.attempts.get(task) else { continue };
            let mut segments = Vec::new();
            for (partition, segment) in waiting.segments(&owner) {
                segments.push((*partition, segment.len() as u32));
                body.push(segment.clone());
            }
            entries.push(PushEntry { task: *task, digest: waiting.attempt.digest, segments });
        }
        let push = Push { job, stage, epoch, replica: false, entries, authors: Vec::new() };
        core.request(owner, Request::Push(push), body, WorkerRequest::Push(request));
    }

    /// An owner acknowledged a push; gives the tasks that all owners have now.
    pub(super) fn acknowledged(&mut self, owner: PeerKey, tasks: &[TaskId]) -> Vec<TaskId> {
        let mut finished = Vec::new();
        for &task in tasks {
            let Some(waiting) = self.attempts.get_mut(&task) else { continue };
            waiting.parts.remove(&owner);
            if waiting.parts.is_empty() {
                self.bytes -= waiting.attempt.len();
                self.attempts.remove(&task);
                finished.push(task);
            }
        }
        finished
    }

    /// An owner refused a push, which is repeated after a pause.
    pub(super) fn refused(&mut self, now: Time, owner: PeerKey, tasks: &[TaskId]) {
        for task in tasks {
            if let Some(waiting) = self.attempts.get(task).filter(|w| w.parts.contains_key(&owner)) {
                enqueue(&mut self.queues, now, owner, *task, waiting);
            }
        }
        if let Some(queue) = self.queues.get_mut(&owner) {
            queue.flush_at = now + RETRY;
        }
    }

    /// Forgets everything; gives the tasks.
    pub(super) fn clear(&mut self) -> Vec<TaskId> {
        self.queues.clear();
        self.bytes = 0;
        std::mem::take(&mut self.attempts).into_keys().collect()
    }

    /// Queues all waiting attempts for the owners of a new epoch. Owners that have one already just acknowledge it
    /// again.
    pub(super) fn redirect(&mut self, now: Time, ring: &Assignment) {
        self.queues.clear();
        for (&task, waiting) in &mut self.attempts {
            *waiting = Waiting::new(waiting.attempt.clone(), ring);
            waiting.parts.keys().for_each(|owner| enqueue(&mut self.queues, now, *owner, task, waiting));
        }
    }
}

fn enqueue(queues: &mut BTreeMap<PeerKey, Queue>, now: Time, owner: PeerKey, task: TaskId, waiting: &Waiting) {
    let fresh = Queue { tasks: Vec::new(), bytes: 0, flush_at: now + limits::PUSH_DELAY };
    let queue = queues.entry(owner).or_insert(fresh);
    queue.tasks.push(task);
    queue.bytes += waiting.bytes_for(&owner);
}
