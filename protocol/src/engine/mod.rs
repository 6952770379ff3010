//! The sans-IO engine: the time and events in, actions out.
//!
//! One [`Engine`] plays all roles of its peer: `worker` claims and runs tasks, `shuffler` holds map output between
//! stages, `authority` makes the few decisions on the jobs that were submitted here. `jobs` tracks the known jobs,
//! `homes` how their homes are reached, `blobs` fetches bytes by their hash. Their shared state is in `core`.

mod authority;
mod blobs;
mod config;
mod core;
mod dispatch;
mod gossip_budget;
mod homes;
mod jobs;
mod origin;
mod outbox;
mod packs;
mod pending;
mod shuffler;
mod stage;
mod starting_place;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

use self::authority::Authority;
use self::blobs::Blobs;
pub use self::config::{Config, Load, Memory};
use self::core::Core;
use self::homes::Homes;
use self::jobs::Jobs;
use self::pending::DiscoveryRequest;
use self::shuffler::Shuffler;
use self::starting_place::StartingPlace;
use self::worker::Worker;
use crate::id::JobId;
use crate::io::{Action, Event, NetAction, Notice};
use crate::limits;
use crate::membership::{Advert, Directory, Roles};
use crate::message::{Gossip, Request, Topic};
use crate::time::Time;

/// Interval of housekeeping (leases, lifetimes, retries).
const TICK: Duration = Duration::from_millis(200);
/// A tick that is late by this much means that this peer did not run: its process was stopped, its machine slept, or
/// its tab was frozen. Shorter than any timeout after which a peer is given up.
const LAPSE: Duration = Duration::from_secs(2);

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
        if config.confirms {
            core.confirms = config.memory.tasks;
        }
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
            shuffler: Shuffler::new(config.memory),
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
            self.on_resumed(late);
        }
        match event {
            Event::Connected { peer, network } => self.connected(peer, network),
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
    fn on_resumed(&mut self, asleep: Duration) {
        let core = &mut self.core;
        core.resumed_at = Some(core.now);
        core.log(format!("this peer did not run for {} s; it resumes", asleep.as_secs()));
        self.jobs.on_resumed(core.now);
        self.authority.on_resumed(core.now, asleep);
        self.worker.on_resumed(core, asleep);
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
            self.worker.place(core, job, StartingPlace { slot: of.saturating_sub(1), of });
        }
        for (job, change) in self.jobs.changes() {
            self.shuffler.on_job(core, &job, &change);
            self.worker.on_job(core, &mut self.blobs, &job, &change);
        }
        for confirm in std::mem::take(&mut core.to_confirm) {
            let open = self.jobs.open_job(&confirm.job, core.interface);
            self.worker.confirm(core, confirm, open.as_ref());
        }
        self.shuffler.drive(core);
        for seals in std::mem::take(&mut core.own_seals) {
            self.worker.on_seals(core, core.me, &seals);
        }
        self.worker.drive(core, &mut self.blobs, &self.shuffler);
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
