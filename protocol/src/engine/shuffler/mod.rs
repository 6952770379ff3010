//! The shuffler: holds segments by task and digest until the authority accepts them, then seals partitions.
//!
//! A partition completes on its own (rule 12): once every task of the stage has an accepted digest and its segments lie
//! here, the owner seals the partition, and the reduces over it may begin. There is no barrier.

mod attempts;
mod commits;
mod pulls;
mod replicas;
mod responses;
mod shuffle;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use self::replicas::Copy;
use self::shuffle::Shuffle;
use super::Memory;
use super::core::Core;
use super::jobs::Change;
use super::pending::Pending;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{BucketRef, SegmentAction, StoreAction, Token};
use crate::limits;
use crate::message::{Accept, BucketPiece, Push, PushEntry, Request, Response, cut_text, runs_of_authors};
use crate::part::{PartitionRef, StageId, StageRef, TaskId};
use crate::time::Time;

/// Pause before a message to the authority that was not acknowledged is sent again.
const RETRY: Duration = Duration::from_millis(300);
/// Interval at which a peer that lost a job's segments resigns again, until an epoch continues without it.
const RESIGN_AGAIN: Duration = Duration::from_secs(1);

/// The shuffler role of this peer.
#[derive(Debug)]
pub(super) struct Shuffler {
    /// Memory limit for the tables of all shuffles here, in bytes.
    tables: usize,
    /// Limit for the segments of all shuffles here, in bytes.
    segments: u64,
    jobs: BTreeMap<JobId, Vec<Option<Shuffle>>>,
    /// Jobs whose segments were lost here.
    resigned: BTreeMap<JobId, Resigned>,
}

/// A job whose segments were lost here.
#[derive(Debug)]
struct Resigned {
    home: PeerKey,
    /// How they were lost.
    why: String,
    /// When the home is told next: `NEVER` once an epoch continues without this peer.
    tell_at: Time,
}

impl Shuffler {
    pub(super) fn new(memory: Memory) -> Self {
        Self { tables: memory.tables, segments: memory.segments, jobs: BTreeMap::new(), resigned: BTreeMap::new() }
    }

    /// Handles a change of a job.
    pub(super) fn on_job(&mut self, core: &mut Core, job: &JobId, change: &Change) {
        match change {
            Change::Open { manifest, epoch, signed_epoch, done, .. } => {
                if !core.advert.roles.shuffler && manifest.home != core.me {
                    // An epoch that names this peer all the same is a mistake or malicious.
                    return;
                }
                let mut stages: Vec<Option<Shuffle>> = manifest
                    .stage_ids()
                    .map(|stage| Shuffle::new(core, StageRef { job: *job, stage }, manifest, epoch, signed_epoch))
                    .collect();
                for (shuffle, done) in stages.iter_mut().zip(done) {
                    if let Some(shuffle) = shuffle {
                        shuffle.open(core, *done > 0);
                    }
                }
                self.jobs.insert(*job, stages);
            }
            Change::Epoch { epoch, signed_epoch } => {
                if let Some(resigned) = self.resigned.get_mut(job) {
                    // A restarted home may have forgotten the resignation, and name this peer again.
                    let is_named = epoch.shufflers.iter().any(|s| s.peer == core.me);
                    resigned.tell_at = if is_named { core.now } else { Time::NEVER };
                }
                for shuffle in self.jobs.get_mut(job).into_iter().flatten().flatten() {
                    shuffle.new_epoch(core, epoch, signed_epoch);
                }
            }
            Change::Reopened(_) | Change::Newer { .. } => {}
            Change::Over => {
                self.jobs.remove(job);
                self.resigned.remove(job);
                core.act(StoreAction::DropJob { job: *job });
            }
        }
    }

    /// Handles the loss of a job's segments. Nothing more is held or served: a missing segment would be taken for an
    /// empty one.
    pub(super) fn resign(&mut self, core: &mut Core, job: JobId, home: PeerKey, why: String) {
        if self.jobs.remove(&job).is_some() {
            self.resigned.insert(job, Resigned { home, why: cut_text(why), tell_at: core.now });
            core.act(StoreAction::DropJob { job });
        }
    }

    /// Whether this peer sealed a partition under a root, and still owns it.
    pub(super) fn has_sealed(&self, partition: PartitionRef, root: Hash) -> bool {
        let shuffle = self.get(partition.stage_ref());
        shuffle.is_some_and(|s| s.sealed.get(&partition.partition) == Some(&root))
    }

    /// Whether a shuffle fits, with its tables and this many more bytes of segments. The jobs of one home or owner may
    /// take up as much as all jobs together leave free: one alone gets a half, and there is always room for others
    /// (dynamic thresholds: Choudhury and Hahne, 1998).
    fn has_room(&self, stage: StageRef, bytes: usize) -> bool {
        let Some(shuffle) = self.get(stage) else { return true };
        let tables = if shuffle.is_prepared() { 0 } else { shuffle.table_bytes() };
        let (mut all, mut own) = ((tables, bytes as u64), (tables, bytes as u64));
        for other in self.jobs.values().flatten().flatten().filter(|s| s.is_prepared()) {
            let (tables, bytes) = (other.table_bytes(), other.staged);
            all = (all.0.saturating_add(tables), all.1 + bytes);
            if other.manifest.owner == shuffle.manifest.owner || other.manifest.home == shuffle.manifest.home {
                own = (own.0.saturating_add(tables), own.1 + bytes);
            }
        }
        all.0.saturating_add(own.0) <= self.tables && all.1.saturating_add(own.1) <= self.segments
    }

    fn get(&self, of: StageRef) -> Option<&Shuffle> {
        self.jobs.get(&of.job)?.get(of.stage.index())?.as_ref()
    }

    fn get_mut(&mut self, of: StageRef) -> Option<&mut Shuffle> {
        self.jobs.get_mut(&of.job)?.get_mut(of.stage.index())?.as_mut()
    }

    /// Handles attempts from a worker, or copies from an owner.
    pub(super) fn on_push(&mut self, core: &mut Core, from: PeerKey, token: Token, push: Push, body: Bytes) {
        let shuffles = self.jobs.values().flatten().flatten();
        let copying: usize = shuffles.flat_map(|s| s.copies.values()).map(Copy::bytes).sum();
        let has_room = self.has_room(push.stage_ref(), body.len());
        let answer = match self.get_mut(push.stage_ref()) {
            None if !core.advert.roles.shuffler => Response::Refused("this peer is not a shuffler".to_owned()),
            Some(_) if !has_room => Response::Busy,
            // Its advert may still be on its way here. Only the home tries tasks without being a worker.
            Some(shuffle) if !push.replica && !may_write(core, shuffle, &from) => Response::Busy,
            // Replicas are slower than workers: the workers have to wait.
            Some(shuffle) if copying > limits::COPY_BYTES && shuffle.manifest.replicas > 1 && !push.replica => {
                Response::Busy
            }
            // The announcement may still be on its way here.
            None => Response::Busy,
            Some(_) if push.body_len() != body.len() as u64 => {
                Response::Refused("the segments' length differs from the one in the push".to_owned())
            }
            Some(shuffle) if !shuffle.is_within_limits(&push) => {
                Response::Refused("a task wrote more than its job allows".to_owned())
            }
            Some(shuffle) => shuffle.take_push(core, from, push, body),
        };
        core.respond(token, answer);
    }

    /// Handles the digests that the authority accepts.
    pub(super) fn on_accept(&mut self, core: &mut Core, from: PeerKey, accept: &Accept) -> Response {
        let has_room = self.has_room(accept.stage_ref(), 0);
        let Some(shuffle) = self.get_mut(accept.stage_ref()).filter(|_| has_room) else { return Response::Busy };
        if from != shuffle.manifest.home {
            return Response::Refused("only the job's authority accepts attempts".to_owned());
        }
        if accept.epoch > shuffle.epoch.number || shuffle.owned.is_empty() {
            // The epoch that makes this peer an owner is on its way here.
            return Response::Busy;
        }
        if accept.epoch < shuffle.since {
            // Sent before a revocation, and received after it.
            return Response::NotOwner(shuffle.signed_epoch.clone());
        }
        shuffle.prepare();
        for attempt in accept.attempts.iter() {
            shuffle.accept(core, attempt);
        }
        if let Some(width) = accept.width {
            shuffle.set_split(width);
        }
        shuffle.seal_complete_partitions(core);
        Response::Ok
    }

    /// Serves what a task reads.
    pub(super) fn on_bucket(&mut self, core: &mut Core, token: Token, piece: &BucketPiece) {
        let me = core.me;
        let &BucketPiece { job, stage, task, width, root, from } = piece;
        let found = self.get(StageRef { job, stage }).and_then(|shuffle| {
            let place = shuffle.split.filter(|split| split.width() == width)?.place(task)?;
            if !shuffle.ring.owns(me, place.partition) {
                return Some(Err(Response::NotOwner(shuffle.signed_epoch.clone())));
            }
            (shuffle.sealed.get(&place.partition) == Some(&root)).then_some(())?;
            let memory = |reader: StageId| shuffle.manifest.stages[reader.index()].limits.memory;
            let most = shuffle.manifest.readers_of(stage).map(memory).max()?;
            Some(Ok((BucketRef { job, stage, place }, most)))
        });
        match found {
            Some(Ok((bucket, most))) => core.act(SegmentAction::ServeBucket { token, bucket, from, most }),
            Some(Err(answer)) => core.respond(token, answer),
            None => core.respond(token, Response::Missing),
        }
    }

    /// Serves a partition's segments to a new holder.
    pub(super) fn on_pull(&mut self, core: &mut Core, token: Token, partition: PartitionRef, from: TaskId) {
        let held = self.get(partition.stage_ref()).and_then(|shuffle| shuffle.held.get(&partition.partition));
        if held.is_some_and(|held| held.count() > 0) {
            core.act(SegmentAction::ServePull { token, partition, from });
        } else {
            core.respond(token, Response::Missing);
        }
    }

    /// Lists the attempts of a partition for a new holder.
    pub(super) fn on_held(&self, of: PartitionRef, from: TaskId) -> Response {
        let PartitionRef { job, stage, partition } = of;
        let Some(shuffle) = self.get(StageRef { job, stage }) else { return Response::Missing };
        if !shuffle.held.contains_key(&partition) {
            return Response::Missing;
        }
        let attempts = shuffle.attempts_of(partition, from);
        let next = attempts.get(limits::PUSH_ENTRIES).map(|attempt| attempt.task);
        let told = &attempts[..attempts.len().min(limits::PUSH_ENTRIES)];
        let push = Push {
            job,
            stage,
            epoch: shuffle.epoch.number,
            replica: true,
            entries: told.iter().map(|attempt| PushEntry::without_segments(attempt.id())).collect(),
            authors: runs_of_authors(told.iter().map(|attempt| attempt.author)),
        };
        Response::Pulled { push, next }
    }

    pub(super) fn drive(&mut self, core: &mut Core) {
        for shuffle in self.jobs.values_mut().flatten().flatten() {
            shuffle.drive(core);
        }
        let now = core.now;
        for (&job, Resigned { home, why, tell_at }) in self.resigned.iter_mut().filter(|(_, r)| r.tell_at <= now) {
            *tell_at = now + RESIGN_AGAIN;
            core.request(*home, Request::Resign { job, why: why.clone() }, vec![], Pending::Ignored);
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let shuffles = self.jobs.values().flatten().flatten().map(Shuffle::deadline);
        shuffles.chain(self.resigned.values().map(|r| r.tell_at)).min().unwrap_or(Time::NEVER)
    }
}

/// Whether a peer is one whose output is held: a worker, or the home of the job.
fn may_write(core: &Core, shuffle: &Shuffle, peer: &PeerKey) -> bool {
    let works = || core.directory.get(peer).is_some_and(|member| member.advert.roles.worker);
    *peer == shuffle.manifest.home || *peer == core.me || works()
}
