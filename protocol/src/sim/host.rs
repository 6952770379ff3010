//! Carries out the actions of a simulated peer's engine, as the node's driver does.

use bytes::Bytes;

use super::rng::draw;
use super::scenario::Job;
use super::store::framed;
use super::world::{DISK, SimEvent, World};
use crate::codec;
use crate::id::{Hash, PeerKey};
use crate::io::{
    Action, BlobAction, Event, NetAction, Notice, ReadError, RunAction, SegmentAction, StoreAction, Submission,
};
use crate::limits;
use crate::manifest::BlobRef;
use crate::message::{Gossip, JobNews, Request, Response};
use crate::pack::{self, Index, PackRef};
use crate::sign::Keypair;

/// The module of all simulated jobs.
const MODULE: &[u8] = b"what a simulated module would be";
/// Size of the pieces in which buckets are served: so small that every bucket has several.
const PIECE: usize = 1_000;

impl World {
    pub(super) fn act(&mut self, peer: u32, action: Action) {
        match action {
            Action::Net(action) => self.send(peer, action),
            Action::Store(StoreAction::Blobs(action)) => self.blob_action(peer, action),
            Action::Store(StoreAction::Segments(action)) => self.segment_action(peer, action),
            Action::Store(StoreAction::Persist { job, number, bytes, .. }) => {
                if let Some(of) = self.submitting.take() {
                    self.oracle.opens(self.now, of, job);
                }
                self.oracle.writes(&job, number, bytes);
                self.after(DISK, SimEvent::Event(peer, Box::new(Event::Persisted { job, number, result: Ok(()) })));
            }
            Action::Store(StoreAction::StoreOutput { job, task, bytes }) => {
                self.oracle.stored(&job, task, bytes);
                self.after(DISK, SimEvent::Event(peer, Box::new(Event::OutputStored { job, task, result: Ok(()) })));
            }
            Action::Store(StoreAction::DropJob { job }) => self.peers[peer as usize].store.drop_job(job),
            Action::Run(RunAction::Start(work)) => {
                let tasks = work.tasks;
                self.tell(peer, || format!("begins tasks {}..{} of stage {}", tasks.start, tasks.end(), work.stage));
                self.note(&[tasks.start.0.to_le_bytes(), tasks.end().0.to_le_bytes()].concat());
                self.run(peer, work);
            }
            Action::Run(RunAction::Cancel { run }) => {
                self.peers[peer as usize].exec.stop(|work| work.run == run);
                self.use_threads(peer);
            }
            Action::Run(RunAction::Stop { job }) => {
                self.peers[peer as usize].exec.stop(|work| work.job == job);
                self.use_threads(peer);
            }
            Action::Notify(notice) => self.on_notice(peer, notice),
        }
    }

    fn send(&mut self, peer: u32, action: NetAction) {
        match action {
            NetAction::Publish { topic, message } => {
                self.watch_gossip(peer, &message);
                self.gossip_publish(peer, topic, message);
            }
            // Simulated peers find each other without it.
            NetAction::Learn { .. } => {}
            NetAction::Subscribe { topic, on } => self.gossip_subscribe(peer, topic, on),
            NetAction::Request { id, to, request, body } => {
                if let Request::Accept(accept) = &request {
                    self.oracle.accepted(accept);
                }
                self.request(peer, id, to, request, &body);
            }
            NetAction::Respond { token, response, body } => self.respond(peer, token, response, body),
        }
    }

    fn blob_action(&mut self, peer: u32, action: BlobAction) {
        match action {
            BlobAction::Serve { token, hash } => match self.blob(peer, &hash) {
                Some(bytes) => self.respond(peer, token, Response::Body, bytes),
                None => self.respond(peer, token, Response::Missing, Bytes::new()),
            },
            BlobAction::Load { hash } => {
                let bytes = self.blob(peer, &hash);
                self.after(DISK, SimEvent::Event(peer, Box::new(Event::BlobLoaded { hash, bytes })));
            }
            BlobAction::Store { hash, bytes, .. } => {
                if Hash::of(&bytes) != hash {
                    self.oracle.violation(format!("peer {peer} stores a blob under a hash that is not its own"));
                }
                self.peers[peer as usize].store.blobs.insert(hash);
            }
        }
    }

    fn segment_action(&mut self, peer: u32, action: SegmentAction) {
        match action {
            SegmentAction::Stage { push, .. } if self.peers[peer as usize].is_full => {
                self.oracle.dead.insert(peer);
                let why = "no space left on the simulated disk".to_owned();
                self.after(DISK, SimEvent::Event(peer, Box::new(Event::StoreFailed { job: push.job, why })));
            }
            SegmentAction::Stage { push, keep, body } => {
                self.peers[peer as usize].store.stage(&push, &keep, &body);
            }
            SegmentAction::Drop { partition, attempt } => {
                self.peers[peer as usize].store.drop_segment(partition, attempt);
            }
            SegmentAction::ReadBucket { read, bucket, .. } => {
                let records = self.peers[peer as usize].store.bucket(&bucket);
                if records.is_none() {
                    self.oracle.violation(format!("peer {peer} reads {bucket:?} that is not settled"));
                }
                let records = records.ok_or_else(|| ReadError::Failed("not settled".to_owned()));
                self.after(DISK, SimEvent::Event(peer, Box::new(Event::BucketRead { read, records })));
            }
            SegmentAction::ServeBucket { token, bucket, from, .. } => {
                match self.peers[peer as usize].store.bucket(&bucket) {
                    Some(records) => {
                        let whole = framed(&records);
                        let start = whole.len().min(from as usize);
                        let piece = whole.slice(start..whole.len().min(start + PIECE));
                        self.respond(peer, token, Response::Piece { of: whole.len() as u64 }, piece);
                    }
                    None => self.oracle.violation(format!("peer {peer} serves {bucket:?} that is not settled")),
                }
            }
            SegmentAction::ServePull { token, partition, from } => {
                let (push, body, next) = self.peers[peer as usize].store.pull(partition, from);
                self.respond(peer, token, Response::Pulled { push, next }, body);
            }
            SegmentAction::DropJob { job } => self.peers[peer as usize].store.drop_job(job),
        }
    }

    fn on_notice(&mut self, peer: u32, notice: Notice) {
        match notice {
            Notice::Submitted { job } => {
                if let Some(number) = self.submitting.take() {
                    self.oracle.opens(self.now, number, job);
                }
            }
            Notice::SubmitRefused { why, .. } => self.oracle.violation(format!("a job was refused: {why}")),
            Notice::CancelRefused { why, .. } => self.oracle.violation(format!("a cancel was refused: {why}")),
            Notice::Ended { job, outcome, failure } => self.oracle.ended(self.now, &job, outcome, failure),
            Notice::Revoked { job, .. } => self.oracle.revoked(&job),
            Notice::Log(text) => self.log.push((self.now, peer, text)),
            Notice::Progress(progress) => self.oracle.progressed(self.now, &progress),
            Notice::Waiting { job, why, .. } => {
                self.oracle.waits(self.now, &job, &why);
                self.log.push((self.now, peer, format!("waiting: {why}")));
            }
            Notice::WaitingOver { .. } => self.log.push((self.now, peer, "went on".to_owned())),
            Notice::TaskFailed { .. } => {}
        }
    }

    fn watch_gossip(&mut self, peer: u32, message: &Gossip) {
        match message {
            Gossip::Claims(claims) => {
                for claim in claims {
                    self.tell(peer, || format!("claims {claim:?}"));
                    self.oracle.claimed(peer, claim);
                }
            }
            Gossip::Jobs(news) => {
                let lives = news.iter().filter_map(|n| if let JobNews::Lives(job) = n { Some(job) } else { None });
                for announce in lives {
                    let shufflers: Result<Vec<PeerKey>, _> =
                        announce.epoch.peek(|e| e.shufflers.iter().map(|s| s.peer).collect());
                    if let Ok(shufflers) = shufflers {
                        self.oracle.announced(&announce.job, announce.reopened, shufflers);
                    }
                }
            }
            _ => {}
        }
    }

    fn blob(&self, peer: u32, hash: &Hash) -> Option<Bytes> {
        let here = self.peers[peer as usize].store.blobs.contains(hash);
        self.blobs.get(hash).filter(|_| here).cloned()
    }

    fn add_blob(&mut self, peer: u32, bytes: Bytes) -> BlobRef {
        let blob = BlobRef { hash: Hash::of(&bytes), len: bytes.len() as u64 };
        self.blobs.insert(blob.hash, bytes);
        self.peers[peer as usize].store.blobs.insert(blob.hash);
        blob
    }

    pub(super) fn owner_key(&self, submitter: u32) -> Keypair {
        Keypair::from_secret(Hash::of(&draw(&[self.scenario.seed, 6, u64::from(submitter)]).to_le_bytes()).0)
    }

    pub(super) fn submit(&mut self, number: usize) {
        let plan: Job = self.scenario.jobs[number].clone();
        if self.delivered_before.is_empty() {
            self.delivered_before = self.peers.iter().map(|p| p.router.delivered).collect();
        }
        let peer = plan.submitter;
        let module = self.add_blob(peer, Bytes::from_static(MODULE));
        if plan.warm {
            self.peers.iter_mut().for_each(|p| {
                p.store.blobs.insert(module.hash);
            });
        }
        let index = plan.pack.map(|per_pack| {
            let mut packs = Vec::new();
            for first in (0..plan.tasks).step_by(per_pack as usize) {
                let documents: Vec<String> =
                    (first..plan.tasks.min(first + per_pack)).map(|task| task.to_string()).collect();
                let bytes = pack::build(documents.iter().map(String::as_bytes));
                let blob = self.add_blob(peer, bytes.into());
                packs.push(PackRef { blob, documents: documents.len() as u32, docs_per_task: 1 });
            }
            let index = codec::encode(&Index { packs });
            assert!(index.len() <= limits::INDEX_BYTES, "a scenario with too many packs");
            self.add_blob(peer, index.into())
        });
        let manifest = plan.manifest(number as u64, module, index);
        self.submitting = Some(number);
        let submission = Submission { manifest, key: self.owner_key(peer), kept: plan.kept };
        self.feed(peer, Event::Submit(Box::new(submission)));
    }

    pub(super) fn cancel(&mut self, number: usize) {
        let submitter = self.scenario.jobs[number].submitter;
        if let Some(job) = self.oracle.id_of(number) {
            self.feed(submitter, Event::Cancel { job, key: Box::new(self.owner_key(submitter)) });
        }
    }
}
