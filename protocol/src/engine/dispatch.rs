//! Passes what comes from other peers (connections, gossip, requests, answers) to the roles that it concerns.

use bytes::Bytes;

use super::Engine;
use super::homes::Homes;
use super::pending::{Answer, DiscoveryRequest, Pending, WorkerRequest};
use super::starting_place::StartingPlace;
use crate::epoch::Epoch;
use crate::id::PeerKey;
use crate::io::{RequestId, Token};
use crate::membership::{Advert, Network};
use crate::message::{self, Gossip, JobNews, PeerStatus, Request, Response, Summary};
use crate::part::PartitionRef;
use crate::sign::Signed;

impl Engine {
    pub(super) fn connected(&mut self, peer: PeerKey, network: Option<Network>) {
        let core = &mut self.core;
        core.directory.connect(core.now, peer, network);
        core.request(peer, Request::Hello(core.advert.clone()), vec![], DiscoveryRequest::Hello(peer));
        self.authority.on_connected(peer);
    }

    pub(super) fn disconnected(&mut self, peer: PeerKey) {
        self.core.directory.disconnect(&peer);
        self.core.forget_hop(&peer);
        self.worker.on_broken(&mut self.core, &peer);
        self.authority.on_disconnected(&self.core, peer);
    }

    pub(super) fn gossip(&mut self, from: PeerKey, message: Gossip) {
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
                    self.authority.on_claim(core, from, claim);
                    self.worker.on_claim(core, from, claim);
                }
            }
            Gossip::Seals(seals) => self.worker.on_seals(core, from, &seals),
            Gossip::Advert(advert) => core.directory.on_advert(core.now, from, advert),
        }
    }

    fn hello(&mut self, peer: PeerKey, advert: Advert) {
        let works = advert.roles.worker;
        self.core.directory.on_advert(self.core.now, peer, advert);
        if works {
            self.authority.offer_all_jobs(&mut self.core, peer);
        }
    }

    pub(super) fn request(&mut self, from: PeerKey, token: Token, request: Request, body: Bytes) {
        let core = &mut self.core;
        match request {
            Request::Hello(advert) => {
                core.respond(token, Response::Hello(core.advert.clone()));
                self.hello(from, advert);
            }
            Request::Offer { announce, slot, of } => {
                let job = announce.job;
                if let Some(end) = self.jobs.end_of(&job) {
                    // A home that continues a job which is over has lost the end of its log.
                    core.request(from, Request::Ended(end), vec![], Pending::Ignored);
                }
                let epoch = announce.epoch.clone();
                self.jobs.announced(core, from, announce);
                self.on_epoch(from, &epoch);
                let core = &mut self.core;
                core.respond(token, if self.jobs.is_full_for(&job) { Response::Busy } else { Response::Ok });
                // An offer of a job that is not accepted must not take up room.
                if self.jobs.home(&job) == Some(from) {
                    self.worker.place(core, job, StartingPlace { slot, of });
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
                self.on_epoch(from, &epoch);
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
    fn on_epoch(&mut self, from: PeerKey, epoch: &Signed<Epoch>) {
        let Ok(home) = epoch.peek(|e| self.jobs.home(&e.job)) else { return };
        if home == Some(self.core.me) {
            self.authority.on_epoch_shown(epoch);
        } else if home == Some(from) {
            self.jobs.show_lost_epoch(&mut self.core, epoch);
        }
    }

    pub(super) fn response(&mut self, id: RequestId, answer: Answer) {
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
                    self.jobs.on_gone(shard.job);
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
