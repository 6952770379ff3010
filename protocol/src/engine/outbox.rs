//! Output that is not acknowledged yet: kept until every owner of the newest epoch has it (rule 2, 13).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::core::Core;
use super::pending::{PushRequest, WorkerRequest};
use crate::id::{JobId, PeerKey};
use crate::limits;
use crate::message::{Push, PushEntry, Request};
use crate::ring::Assignment;
use crate::segment::Attempt;
use crate::time::Time;

/// After a push that was not taken, its owner is left alone for so long.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// The attempts of one stage of one job that wait for acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    attempts: BTreeMap<u32, Waiting>,
    queues: BTreeMap<PeerKey, Queue>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    /// Owners that have not acknowledged it, with the places of their segments. Those that get nothing are to know
    /// of it too.
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
    fn segments(&self, owner: &PeerKey) -> impl Iterator<Item = &(u16, Bytes)> {
        let places = self.parts.get(owner).into_iter().flatten();
        places.filter_map(|&place| self.attempt.segments.get(usize::from(place)))
    }

    fn bytes_for(&self, owner: &PeerKey) -> usize {
        self.segments(owner).map(|(_, segment)| segment.len()).sum()
    }
}

/// What is to be pushed to one owner.
#[derive(Debug)]
struct Queue {
    tasks: Vec<u32>,
    bytes: usize,
    /// When it leaves at the latest.
    flush_at: Time,
}

impl Outbox {
    /// Takes a finished attempt.
    pub(super) fn add(&mut self, now: Time, task: u32, attempt: Attempt, ring: &Assignment) {
        self.bytes += attempt.len();
        let waiting = Waiting::new(attempt, ring);
        waiting.parts.keys().for_each(|owner| enqueue(&mut self.queues, now, *owner, task, &waiting));
        if let Some(old) = self.attempts.insert(task, waiting) {
            self.bytes -= old.attempt.len();
        }
    }

    /// Bytes that nobody has acknowledged in full.
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

    /// When the next queue must leave.
    pub(super) fn deadline(&self) -> Time {
        self.queues.values().map(|q| q.flush_at).min().unwrap_or(Time::NEVER)
    }

    /// Sends what is full or due; everything if `all`.
    pub(super) fn flush(&mut self, core: &mut Core, job: JobId, stage: u8, epoch: u32, all: bool) {
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
                self.push(core, (job, stage, epoch), owner, tasks);
            }
        }
    }

    /// Cuts a queue into pushes within the bounds of a message.
    fn batches(&self, tasks: &[u32], owner: PeerKey) -> Vec<Vec<u32>> {
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

    fn push(&self, core: &mut Core, (job, stage, epoch): (JobId, u8, u32), owner: PeerKey, mut tasks: Vec<u32>) {
        tasks.sort_unstable();
        let mut entries = Vec::with_capacity(tasks.len());
        let mut body: Vec<Bytes> = Vec::new();
        for task in &tasks {
            let Some(waiting) = self.attempts.get(task) else { continue };
            let mut segments = Vec::new();
            for (partition, segment) in waiting.segments(&owner) {
                segments.push((*partition, segment.len() as u32));
                body.push(segment.clone());
            }
            entries.push(PushEntry { task: *task, digest: waiting.attempt.digest, segments });
        }
        let push = Push { job, stage, epoch, replica: false, entries, authors: Vec::new() };
        core.request(
            owner,
            Request::Push(push),
            body,
            WorkerRequest::Push(PushRequest { job, stage, owner, epoch, tasks }),
        );
    }

    /// An owner acknowledged a push; gives the tasks that all owners have now.
    pub(super) fn acknowledged(&mut self, owner: PeerKey, tasks: &[u32]) -> Vec<u32> {
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

    /// A push was not taken: it is made again after a pause.
    pub(super) fn refused(&mut self, now: Time, owner: PeerKey, tasks: &[u32]) {
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
    pub(super) fn clear(&mut self) -> Vec<u32> {
        self.queues.clear();
        self.bytes = 0;
        std::mem::take(&mut self.attempts).into_keys().collect()
    }

    /// A new epoch: everything that waits goes to its owners. Those that have it already only say so again.
    pub(super) fn redirect(&mut self, now: Time, ring: &Assignment) {
        self.queues.clear();
        for (&task, waiting) in &mut self.attempts {
            *waiting = Waiting::new(waiting.attempt.clone(), ring);
            waiting.parts.keys().for_each(|owner| enqueue(&mut self.queues, now, *owner, task, waiting));
        }
    }
}

fn enqueue(queues: &mut BTreeMap<PeerKey, Queue>, now: Time, owner: PeerKey, task: u32, waiting: &Waiting) {
    let fresh = Queue { tasks: Vec::new(), bytes: 0, flush_at: now + limits::PUSH_DELAY };
    let queue = queues.entry(owner).or_insert(fresh);
    queue.tasks.push(task);
    queue.bytes += waiting.bytes_for(&owner);
}
