//! Faults and churn: peers that end, restart, sleep, leave, or are cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use super::exec::Executor;
use super::gossip::Router;
use super::net::Side;
use super::scenario::Fault;
use super::store::Store;
use super::world::{SimEvent, World};
use crate::io::Event;

impl World {
    pub(super) fn on_churn(&mut self) {
        let Some(every) = self.scenario.churn else { return };
        self.after(every, SimEvent::Churn);
        let first = self.worker(self.scenario.shufflers);
        let alive: Vec<u32> =
            (first..self.peers.len() as u32).filter(|&p| self.peers[p as usize].engine.is_some()).collect();
        if let [victim] = self.rng.sample(&alive, 1)[..] {
            self.kill(victim);
        }
        let fresh = self.add_peer();
        self.arrive(fresh);
    }

    pub(super) fn on_fault(&mut self, number: usize) {
        match self.scenario.faults[number].1.clone() {
            Fault::Kill(worker) => self.kill(self.worker(worker)),
            Fault::KillShuffler(place) => self.shuffler(place).into_iter().for_each(|peer| self.kill(peer)),
            Fault::RestartShuffler(place) => self.shuffler(place).into_iter().for_each(|peer| self.restart(peer)),
            Fault::FailStore(place) => {
                if let (Some(peer), Some(job)) = (self.shuffler(place), self.oracle.id_of(0)) {
                    self.peers[peer as usize].store.drop_job(job);
                    self.oracle.dead.insert(peer);
                    self.feed(peer, Event::StoreFailed { job, why: "a simulated disk is full".to_owned() });
                }
            }
            Fault::HangShuffler(place) => {
                if let Some(peer) = self.shuffler(place) {
                    self.peers[peer as usize].hangs = true;
                    self.oracle.dead.insert(peer);
                }
            }
            Fault::CutShuffler(place) => {
                if let Some(peer) = self.shuffler(place) {
                    self.cut(peer..peer + 1);
                }
            }
            Fault::FillDisks(workers) => {
                for worker in workers {
                    let peer = self.worker(worker) as usize;
                    self.peers[peer].is_full = true;
                }
            }
            Fault::RestartHome(down, damage) => self.kill_home(down, damage),
            Fault::Sleep(worker, time) => self.sleep(self.worker(worker), time),
            Fault::SubmitterSleeps(submitter, time) => self.sleep(submitter, time),
            Fault::Leave(worker) => self.leave(self.worker(worker)),
            Fault::Join(count) => {
                for _ in 0..count {
                    let peer = self.add_peer();
                    self.arrive(peer);
                }
            }
            Fault::Cut(workers) => self.cut(self.worker(workers.start)..self.worker(workers.end)),
            Fault::Strangers { .. } => self.on_strangers(number, 0),
            Fault::Heal => {
                let apart: Vec<u32> =
                    (0..self.peers.len() as u32).filter(|&p| self.peers[p as usize].side != Side::Main).collect();
                apart.iter().for_each(|&p| self.peers[p as usize].side = Side::Main);
                apart.into_iter().for_each(|p| self.join(p));
            }
        }
    }

    /// A shuffler of the first job. Never a submitter that shuffles for its own job, which would be lost.
    fn shuffler(&self, place: usize) -> Option<u32> {
        let key = self.oracle.fates.first()?.shufflers.get(place)?;
        let peer = self.index.get(key).copied()?;
        (peer >= self.scenario.submitters && self.peers[peer as usize].engine.is_some()).then_some(peer)
    }

    /// Kills a peer and restarts it at once with only its key.
    fn restart(&mut self, number: u32) {
        self.end_engine(number);
        self.peers[number as usize].store = Store::default();
        self.arrive(number);
    }

    /// Ends a peer's process; its neighbours notice at once. Returns whether it was running.
    pub(super) fn end_engine(&mut self, number: u32) -> bool {
        let peer = &mut self.peers[number as usize];
        let ran = peer.engine.take().is_some();
        peer.exec = Executor::new(self.scenario.threads);
        peer.router = Router::new();
        peer.tick_at = u64::MAX;
        peer.sleeps_until = 0;
        self.asked.retain(|(asker, _), _| *asker != number);
        self.oracle.dead.insert(number);
        for other in std::mem::take(&mut self.peers[number as usize].connected) {
            self.broken(other, number);
        }
        ran
    }

    /// When the submitter of a job wakes, if it sleeps.
    pub(super) fn sleeps_until(&self, job: usize) -> Option<u64> {
        let until = self.peers[self.scenario.jobs[job].submitter as usize].sleeps_until;
        (until > self.now).then_some(until)
    }

    /// Puts a peer to sleep for a while.
    fn sleep(&mut self, number: u32, time: Duration) {
        let peer = &mut self.peers[number as usize];
        if peer.engine.is_none() || peer.hangs {
            return;
        }
        peer.sleeps_until = peer.sleeps_until.max(self.now + time.as_micros() as u64);
        let until = peer.sleeps_until;
        // Its running tasks run again elsewhere, and count as repeated after a fault.
        self.oracle.dead.insert(number);
        let silence = self.scenario.links.silence;
        let before = if time > silence { peer.connected.clone() } else { BTreeSet::new() };
        for &other in &before {
            self.after(silence, SimEvent::Broken(other, number));
        }
        self.at(until, SimEvent::Wake(number, before));
    }

    pub(super) fn wake(&mut self, number: u32, before: BTreeSet<u32>) {
        if self.peers[number as usize].sleeps_until != self.now {
            // It was restarted meanwhile.
            return;
        }
        for other in before {
            let this = &mut self.peers[number as usize];
            if this.connected.remove(&other) {
                this.router.disconnected(other);
                self.peers[other as usize].connected.remove(&number);
                let peer = self.peers[other as usize].key;
                self.feed(number, Event::Disconnected { peer });
            }
        }
        self.feed(number, Event::Tick);
        self.join(number);
    }

    /// Kills a peer. Its neighbours notice later.
    fn kill(&mut self, number: u32) {
        let peer = &mut self.peers[number as usize];
        if peer.engine.take().is_none() {
            return;
        }
        peer.exec = Executor::new(0);
        self.oracle.dead.insert(number);
        let neighbours = std::mem::take(&mut self.peers[number as usize].connected);
        for other in neighbours {
            let noticed = self.scenario.links.detection + self.rng.up_to(self.scenario.links.detection / 4);
            self.after(noticed, SimEvent::Broken(other, number));
        }
    }

    /// A peer leaves in order, as the node does: it releases its claims, says goodbye and closes its connections.
    fn leave(&mut self, number: u32) {
        self.feed(number, Event::Leave);
        let neighbours: Vec<u32> = self.peers[number as usize].connected.iter().copied().collect();
        for &other in &neighbours {
            self.say_goodbye(number, other);
        }
        let peer = &mut self.peers[number as usize];
        peer.engine = None;
        peer.exec = Executor::new(0);
        self.oracle.dead.insert(number);
        for other in std::mem::take(&mut self.peers[number as usize].connected) {
            let closed = self.round_trip(number, other) * 2;
            self.after(closed, SimEvent::Broken(other, number));
        }
    }
}
