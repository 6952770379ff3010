//! The sans-IO engine: the time and events in, actions out.
//!
//! One [`Engine`] plays all roles of its peer: `worker` claims and runs tasks, `shuffler` holds map output between
//! stages, `authority` makes the few decisions on the jobs that were submitted here. `jobs` tracks the known jobs,
//! `homes` how their homes are reached, `blobs` fetches bytes by their hash. Their shared state is in `core`.

mod authority;
mod blobs;
mod core;
mod gossip_budget;
mod homes;
mod jobs;
mod outbox;
mod packs;
mod pending;
mod shuffler;
mod stage;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

use bytes::Bytes;

use self::authority::Authority;
use self::blobs::Blobs;
use self::core::Core;
use self::homes::Homes;
use self::jobs::Jobs;
use self::pending::{Answer, DiscoveryRequest, Pending, WorkerRequest};
use self::shuffler::Shuffler;
use self::worker::Worker;
use crate::epoch::Epoch;
use crate::id::{JobId, PeerKey};
use crate::io::{Action, Event, NetAction, Notice, RequestId, Token};
use crate::limits;
use crate::membership::{Advert, Directory, Roles};
use crate::message::{self, Gossip, JobNews, PeerStatus, Request, Response, Summary, Topic};
use crate::part::PartitionRef;
use crate::sign::Signed;
use crate::time::Time;

/// Interval of housekeeping (leases, lifetimes, retries).
const TICK: Duration = Duration::from_millis(200);
/// A tick that is late by this much means that this peer did not run: its process was stopped, its machine slept, or
/// its tab was frozen. Shorter than any timeout after which a peer is given up.
const LAPSE: Duration = Duration::from_secs(2);

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer's key.
    pub me: PeerKey,
    /// A number that is greater at each start, such as microseconds of the wall clock. It tells others that a restarted
    /// peer has lost its state.
    pub started: u64,
    /// The peer's advert; its roles are the ones that the engine plays.
    pub advert: Advert,
    /// Memory limits.
    pub memory: Memory,
    /// The version of the guest interface that its executor supports.
    pub interface: u8,
}

/// How much memory a peer gives to each purpose, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Memory of all tasks that run at the same time. A job whose tasks may ask for more is not run here.
    pub tasks: u64,
    /// Inputs of tasks that run or are next. A larger input is fetched only while there is no other.
    pub inputs: u64,
    /// Tables of all shuffles.
    pub tables: usize,
}

impl Memory {
    /// The limits of a native peer with this much memory for its tasks; their inputs may take as much again.
    pub fn native(tasks: u64) -> Self {
        Self { tasks, inputs: tasks, tables: limits::TABLE_BYTES }
    }
}

/// The work that an engine has under way; all zero when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that await an answer.
    pub requests: usize,
    /// Running jobs.
    pub jobs: usize,
    /// Claimed blocks.
    pub claims: usize,
    /// Units of work that run or wait for their input.
    pub runs: usize,
    /// Finished tasks whose output is not acknowledged.
    pub attempts: usize,
}

/// The sans-IO engine of one peer.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    jobs: Jobs,
    homes: Homes,
    blobs: Blobs,
    worker: Worker,
    shuffler: Shuffler,
    authority: Authority,
    tick_at: Time,
    advert_at: Time,
}

impl Engine {
    /// An engine that knows no other peer.
    pub fn new(config: Config) -> Self {
        let mut core = Core::new(config.me, config.started, config.advert, config.interface);
        core.act(NetAction::Subscribe { topic: Topic::Jobs, on: true });
        core.act(NetAction::Subscribe { topic: Topic::Peers, on: true });
        let mut worker = Worker::new(&core.advert, config.memory);
        if core.advert.roles.relay {
            worker.pass_on_claims(&mut core);
        }
        Self {
            worker,
            core,
            jobs: Jobs::default(),
            homes: Homes::default(),
            blobs: Blobs::default(),
            shuffler: Shuffler::new(config.memory.tables),
            authority: Authority::default(),
            tick_at: Time(0),
            advert_at: Time(0),
        }
    }

    /// Handles one event. `now` must not decrease between calls.
    pub fn handle(&mut self, now: Time, event: Event) {
        self.core.now = now;
        let late = now.since(self.tick_at);
        if self.tick_at > Time(0) && late >= LAPSE {
            self.wake(late);
        }
        match event {
            Event::Connected { peer } => self.connected(peer),
            Event::Disconnected { peer } => self.disconnected(peer),
            Event::Rtt { peer, rtt } => {
                self.core.directory.note_sign_of_life(now, &peer);
                self.core.measure_hop(peer, rtt);
            }
            Event::Gossip { from, message } => {
                self.core.directory.note_sign_of_life(now, &from);
                self.gossip(from, message);
            }
            Event::Request { from, token, request, body } => {
                self.core.directory.note_sign_of_life(now, &from);
                self.request(from, token, request, body);
            }
            Event::Response { id, outcome } => self.response(id, outcome),
            Event::BlobLoaded { hash, bytes } => {
                if let Some((hash, bytes)) = self.blobs.loaded(&mut self.core, hash, bytes) {
                    self.worker.on_blob(&mut self.core, hash, bytes);
                }
            }
            Event::RunProgress { run, results, last } => self.worker.on_results(&mut self.core, run, results, last),
            Event::BucketRead { read, records } => {
                self.worker.on_bucket_read(&mut self.core, &self.shuffler, read, records);
            }
            Event::OutputStored { job, task, result } => {
                self.authority.on_stored(&mut self.core, job, task, result);
            }
            Event::Persisted { job, number, result } => {
                self.authority.on_persisted(&mut self.core, job, number, result);
            }
            Event::StoreFailed { job, why } => self.store_failed(job, why),
            Event::InputLost { index, why } => {
                self.authority.on_input_lost(index, &why);
            }
            Event::Submit(submission) => self.authority.submit(&mut self.core, *submission),
            Event::Resume(resumption) => self.authority.resume(&mut self.core, *resumption),
            Event::Cancel { job, key } => self.authority.cancel(&mut self.core, &mut self.jobs, job, &key),
            Event::EndBrought(end) => self.authority.pass_on_end(&mut self.core, &mut self.jobs, *end),
            Event::Capacity { threads, roles } => self.set_capacity(threads, roles),
            Event::Leave => {
                self.authority.leave(&mut self.core, &mut self.jobs);
                self.worker.leave(&mut self.core);
            }
            Event::Tick => {}
        }
        self.drive();
    }

    /// The next action; `None` when there is none until the next event.
    pub fn poll(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }

    /// When to call [`Engine::handle`] with [`Event::Tick`], if nothing happens before.
    pub fn deadline(&self) -> Time {
        self.tick_at
            .min(self.worker.deadline(&self.core))
            .min(self.shuffler.deadline())
            .min(self.authority.deadline(&self.jobs))
    }

    /// The work that this engine has under way.
    pub fn load(&self) -> Load {
        let (claims, runs, attempts) = self.worker.load();
        Load { requests: self.core.pending.len(), jobs: self.jobs.len(), claims, runs, attempts }
    }

    /// The number of requests that await an answer: wait for it to reach 0 before leaving the mesh.
    pub fn requests_under_way(&self) -> usize {
        self.core.pending.len()
    }

    /// The peers that this one knows.
    pub fn directory(&self) -> &Directory {
        &self.core.directory
    }

    /// Changes this peer's addresses and sends its advert again.
    pub fn set_addresses(&mut self, addresses: Vec<String>) {
        self.core.advert.addresses = addresses;
        self.core.advert.addresses.truncate(limits::ADDRESSES);
        self.resend_advert();
    }

    /// Changes this peer's roles and how many threads run tasks.
    fn set_capacity(&mut self, threads: u16, roles: Roles) {
        let core = &mut self.core;
        (core.advert.threads, core.advert.roles) = (threads, roles);
        if roles.worker {
            self.worker.set_threads(core, u32::from(threads));
            for (job, open) in self.jobs.open_jobs(core.interface) {
                self.worker.take_up(core, &mut self.blobs, job, &open);
            }
        } else {
            self.worker.retire(core, &mut self.blobs);
        }
        self.resend_advert();
    }

    /// Sends this peer's advert to its neighbours at once, and to everybody at the next interval.
    fn resend_advert(&mut self) {
        self.advert_at = self.advert_at.min(self.core.now);
        for peer in self.core.directory.connected() {
            let hello = Request::Hello(self.core.advert.clone());
            self.core.request(peer, hello, vec![], DiscoveryRequest::Hello(peer));
        }
    }

    /// Resumes after this peer did not run for as long as `asleep`. Timeouts must not count that time as other peers'
    /// silence: nothing could be received.
    fn wake(&mut self, asleep: Duration) {
        let core = &mut self.core;
        core.woke = Some(core.now);
        core.log(format!("this peer did not run for {} s; it resumes", asleep.as_secs()));
        self.jobs.woke(core.now);
        self.authority.woke(core.now, asleep);
        self.worker.woke(core, asleep);
    }

    /// Does what the last event or the passing of time has made possible.
    fn drive(&mut self) {
        let core = &mut self.core;
        if core.now >= self.tick_at {
            self.tick_at = core.now + TICK;
            core.directory.expire(core.now, advert_interval(&core.directory) * limits::ADVERT_LIFETIMES);
            core.count_workers();
            self.jobs.set_workers(core.workers);
            self.jobs.ask_silent_homes(core);
            for job in self.jobs.expire(core.now) {
                core.act(Notice::Log(format!("job {} was not announced for too long and is forgotten", job.short())));
            }
            self.blobs.tick(core);
            self.worker.tick(core, &mut self.blobs);
            if is_looked_for(&core.advert) && core.now >= self.advert_at {
                self.advert_at = core.now + advert_interval(&core.directory);
                let advert = Gossip::Advert(core.advert.clone());
                core.act(NetAction::Publish { topic: Topic::Peers, message: advert });
            }
        }
        for (job, of) in self.authority.drive(core, &mut self.jobs) {
            // A submitter that works takes the last place itself.
            self.worker.place(core, job, of.saturating_sub(1), of);
        }
        for (job, change) in self.jobs.changes() {
            self.shuffler.on_job(core, &job, &change);
            self.worker.on_job(core, &mut self.blobs, &job, &change);
        }
        self.shuffler.drive(core);
        for seals in std::mem::take(&mut core.own_seals) {
            self.worker.on_seals(core, core.me, &seals);
        }
        self.worker.drive(core, &mut self.blobs, &self.shuffler);
    }

    fn connected(&mut self, peer: PeerKey) {
        let core = &mut self.core;
        core.directory.set_connected(core.now, peer, true);
        core.request(peer, Request::Hello(core.advert.clone()), vec![], DiscoveryRequest::Hello(peer));
        self.authority.on_connected(peer);
    }

    fn disconnected(&mut self, peer: PeerKey) {
        self.core.directory.set_connected(self.core.now, peer, false);
        self.core.forget_hop(&peer);
        self.worker.on_broken(&mut self.core, &peer);
        self.authority.on_disconnected(&self.core, peer);
    }

    /// Handles the loss of segments that this peer had acknowledged. It drops all of the job's segments and resigns
    /// until the job's authority continues without it; if this peer is the authority, the job ends.
    fn store_failed(&mut self, job: JobId, why: String) {
        match self.jobs.home(&job) {
            Some(home) if home == self.core.me => {
                let why = format!("intermediate data cannot be kept: {why}");
                self.authority.fail(job, why);
            }
            Some(home) => self.shuffler.resign(&mut self.core, job, home, why),
            None => {}
        }
    }

    fn gossip(&mut self, from: PeerKey, message: Gossip) {
        let core = &mut self.core;
        match message {
            Gossip::Jobs(news) => {
                for news in news {
                    match news {
                        JobNews::Lives(announce) => {
                            let job = announce.job;
                            self.jobs.announced(core, from, announce);
                            self.homes.on_announced(core, &self.jobs, &job);
                        }
                        JobNews::Ended(end) => {
                            self.authority.on_ended(core, &mut self.jobs, &end);
                        }
                    }
                }
            }
            Gossip::Claims(claims) => {
                for claim in &claims {
                    self.authority.on_claim(from, claim);
                    self.worker.on_claim(core, from, claim);
                }
            }
            Gossip::Seals(seals) => self.worker.on_seals(core, from, &seals),
            Gossip::Advert(advert) => core.directory.heard(core.now, from, advert),
        }
    }

    fn hello(&mut self, peer: PeerKey, advert: Advert) {
        let works = advert.roles.worker;
        self.core.directory.heard(self.core.now, peer, advert);
        if works {
            self.authority.offer_all_jobs(&mut self.core, peer);
        }
    }

    fn request(&mut self, from: PeerKey, token: Token, request: Request, body: Bytes) {
        let core = &mut self.core;
        match request {
            Request::Hello(advert) => {
                core.respond(token, Response::Hello(core.advert.clone()));
                self.hello(from, advert);
            }
            Request::Offer { announce, slot, of } => {
                core.respond(token, Response::Ok);
                let job = announce.job;
                if let Some(end) = self.jobs.end_of(&job) {
                    // A home that continues a job which is over has lost the end of its log.
                    core.request(from, Request::Ended(end), vec![], Pending::Ignored);
                }
                let epoch = announce.epoch.clone();
                self.jobs.announced(core, from, announce);
                self.told_of_epoch(from, &epoch);
                let core = &mut self.core;
                // An offer of a job that is not accepted must not take up room.
                if self.jobs.home(&job) == Some(from) {
                    self.worker.place(core, job, slot, of);
                }
            }
            Request::Manifest { job } => {
                // Peers that remember a resumed job are told of it although it is not open again yet.
                let manifest = self.jobs.signed_manifest(&job).or_else(|| self.authority.signed_manifest(&job));
                let answer = manifest.map_or(Response::Missing, Response::Manifest);
                core.respond(token, answer);
            }
            Request::Summary(shard) => self.authority.on_summary(core, from, token, shard),
            Request::Claims(shard) => {
                let standings = self.worker.standings(core, shard);
                core.respond(token, standings.map_or(Response::Missing, Response::Claims));
            }
            Request::Blob { hash } => self.blobs.serve(core, from, token, hash),
            Request::Push(push) => self.shuffler.on_push(core, from, token, push, body),
            Request::Commit(commit) => {
                let answer = self.authority.on_commit(core, from, &commit);
                core.respond(token, answer);
            }
            Request::Accept(accept) => {
                let answer = self.shuffler.on_accept(core, from, &accept);
                core.respond(token, answer);
            }
            Request::Sealed(sealed) => {
                let answer = self.authority.on_sealed(core, from, &sealed);
                core.respond(token, answer);
            }
            Request::NewEpoch(epoch) => {
                self.jobs.take_epoch(core, &epoch);
                core.respond(token, Response::Ok);
                self.told_of_epoch(from, &epoch);
            }
            Request::Pull { job, stage, partition, from: task } => {
                self.shuffler.on_pull(core, token, PartitionRef { job, stage, partition }, task);
            }
            Request::Held { job, stage, partition, from: task } => {
                let answer = self.shuffler.on_held(PartitionRef { job, stage, partition }, task);
                core.respond(token, answer);
            }
            Request::Bucket(piece) => self.shuffler.on_bucket(core, token, &piece),
            Request::Output(output) => {
                self.authority.on_output(core, from, token, &output, body);
            }
            Request::Failed(failure) => {
                core.respond(token, Response::Ok);
                self.authority.on_failure(core, from, failure);
            }
            Request::Decline { job, memory, minor } => {
                core.respond(token, Response::Ok);
                self.authority.on_declined(core, from, job, memory, minor);
            }
            Request::Resign { job, why } => {
                core.respond(token, Response::Ok);
                self.authority.on_resigned(core, from, job, &why);
            }
            Request::Ended(end) => {
                core.respond(token, Response::Ok);
                self.authority.on_ended(core, &mut self.jobs, &end);
            }
            Request::Jobs => core.respond(token, Response::Jobs(self.jobs.statuses(core.now))),
            Request::Peers => {
                let peers = core.directory.iter().map(|(&peer, member)| PeerStatus {
                    peer,
                    advert: member.advert.clone(),
                    connected: member.connected,
                });
                // Connected peers come first, as not all may fit into an answer.
                let (near, far): (Vec<PeerStatus>, Vec<PeerStatus>) = peers.partition(|p| p.connected);
                let peers = message::as_many_as_fit(near.into_iter().chain(far), PeerStatus::size);
                core.respond(token, Response::Peers(peers));
            }
            Request::Homes { wanted } => core.respond(token, Homes::answer(core, &self.jobs, from, wanted)),
            // The driver handles compile requests if it has a compiler; otherwise they reach the engine.
            Request::Compile { .. } => {
                core.respond(token, Response::Refused("this peer has no compiler; ask one with the role".into()));
            }
            Request::Goodbye => {
                core.respond(token, Response::Ok);
                core.directory.forget(&from);
                self.jobs.home_left(core.now, from);
                self.worker.on_goodbye(core, &from);
                self.authority.on_goodbye(core, from);
            }
        }
    }

    /// Handles an epoch from another peer: the job's home, or a peer that shows this home what it has lost.
    fn told_of_epoch(&mut self, from: PeerKey, epoch: &Signed<Epoch>) {
        let Ok(home) = epoch.peek(|e| self.jobs.home(&e.job)) else { return };
        if home == Some(self.core.me) {
            self.authority.on_epoch_shown(epoch);
        } else if home == Some(from) {
            self.jobs.show_lost_epoch(&mut self.core, epoch);
        }
    }

    fn response(&mut self, id: RequestId, answer: Answer) {
        let Some(pending) = self.core.pending.remove(&id) else { return };
        let core = &mut self.core;
        match &answer {
            Ok((Response::NotOwner(epoch) | Response::Summary(Summary { epoch, .. }), _)) => {
                self.jobs.take_epoch(core, epoch);
                if pending.asks_home() {
                    self.jobs.show_lost_epoch(core, epoch);
                }
            }
            Ok((Response::Missing, _)) => {
                if let Pending::Worker(WorkerRequest::Summary(shard)) = pending {
                    self.jobs.gone(shard.job);
                }
            }
            _ => {}
        }
        match pending {
            Pending::Ignored => {}
            Pending::Discovery(DiscoveryRequest::Hello(peer)) => {
                if let Ok((Response::Hello(advert), _)) = answer {
                    self.homes.on_hello(core, &self.jobs, peer);
                    self.hello(peer, advert);
                }
            }
            Pending::Discovery(DiscoveryRequest::Homes(wanted)) => {
                if let Ok((Response::Peers(peers), _)) = answer {
                    Homes::on_answer(core, wanted, peers);
                }
            }
            Pending::Jobs(request) => self.jobs.on_response(core, &request, answer),
            Pending::Blobs(request) => {
                if let Some((hash, bytes)) = self.blobs.on_response(core, &request, answer) {
                    self.worker.on_blob(core, hash, bytes);
                }
            }
            Pending::Worker(request) => self.worker.on_response(core, &self.shuffler, request, answer),
            Pending::Shuffler(request) => self.shuffler.on_response(core, request, answer),
            Pending::Authority(request) => self.authority.on_response(core, request, &answer),
        }
    }
}

/// Whether peers that do not know this one search for it by its roles. Not for workers: they find the jobs themselves,
/// and their neighbours know them from their hello.
fn is_looked_for(advert: &Advert) -> bool {
    let roles = advert.roles;
    roles.shuffler || roles.compiler || roles.relay || roles.steward
}

/// Interval at which each peer repeats its advert, within bounds. Adverts reach everybody, so the interval grows with
/// the number of peers and all of them together stay far below the message budget.
fn advert_interval(directory: &Directory) -> Duration {
    let by_peers = Duration::from_secs(2) * directory.iter().count() as u32;
    by_peers.clamp(limits::ADVERT_INTERVAL, limits::ADVERT_INTERVAL_MOST)
}
