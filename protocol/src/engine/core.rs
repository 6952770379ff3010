//! State that all roles of an engine share: the time, the queue of actions, the known peers and the requests under way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::gossip_budget::GossipBudget;
use super::origin::Origin;
use super::pending::Pending;
use crate::id::PeerKey;
use crate::io::{Action, NetAction, Notice, ReadId, RequestId, RunId, Token};
use crate::limits;
use crate::membership::{Advert, Directory};
use crate::message::{Gossip, Request, Response, Seals, Topic};
use crate::part::TaskRef;
use crate::time::Time;

/// Estimate for one gossip hop before a round trip has been measured: typical of a home network.
const FIRST_HOP: Duration = Duration::from_millis(10);

/// Time to notice broken connections and to make new ones.
const RECONNECT: Duration = Duration::from_secs(10);

/// State that all roles of an engine share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) now: Time,
    /// When this peer last resumed after it did not run for a while; `None` if that never happened.
    pub(super) resumed_at: Option<Time>,
    pub(super) me: PeerKey,
    /// A number that is greater at each start of this peer.
    pub(super) started: u64,
    pub(super) advert: Advert,
    /// The version of the guest interface that tasks here speak.
    pub(super) interface: u8,
    pub(super) directory: Directory,
    pub(super) actions: VecDeque<Action>,
    /// Seals that this peer published, for its own worker: gossip is not delivered to its publisher.
    pub(super) own_seals: Vec<Seals>,
    /// The largest memory limit, in bytes, of a task that this peer can run for a job of its own even while it does not
    /// work: see [`Config::confirms`](super::Config::confirms).
    pub(super) confirms: u64,
    /// Tasks of this peer's own jobs that its worker tries, because they failed at other workers.
    pub(super) to_confirm: Vec<TaskRef>,
    /// Requests under way, each with what its answer is for.
    pub(super) pending: BTreeMap<RequestId, Pending>,
    /// The worker's budget for gossip about its claims, shared by all its jobs.
    pub(super) gossip_budget: GossipBudget,
    /// Known peers that run tasks, this one included; recounted periodically.
    pub(super) workers: u32,
    /// One-way delay to each neighbour: the smoothed mean and its mean deviation.
    hops: BTreeMap<PeerKey, (Duration, Duration)>,
    /// The one-way delay that holds for most neighbours.
    hop: Duration,
    next_id: u64,
}

impl Core {
    pub(super) fn new(me: PeerKey, started: u64, advert: Advert, interface: u8) -> Self {
        Self {
            now: Time(0),
            resumed_at: None,
            me,
            started,
            advert,
            interface,
            directory: Directory::default(),
            actions: VecDeque::new(),
            own_seals: Vec::new(),
            confirms: 0,
            to_confirm: Vec::new(),
            pending: BTreeMap::new(),
            gossip_budget: GossipBudget::default(),
            workers: 1,
            hops: BTreeMap::new(),
            hop: FIRST_HOP,
            // Request ids start at a number that no earlier run of this peer has reached, so that late answers to it
            // match nothing.
            next_id: started,
        }
    }

    /// Whether this peer has just resumed: its connections may be broken without its knowledge.
    pub(super) fn has_just_resumed(&self) -> bool {
        self.resumed_at.is_some_and(|at| self.now.since(at) < RECONNECT)
    }

    pub(super) fn act(&mut self, action: impl Into<Action>) {
        self.actions.push_back(action.into());
    }

    pub(super) fn log(&mut self, text: String) {
        self.act(Notice::Log(text));
    }

    pub(super) fn publish(&mut self, topic: Topic, message: Gossip) {
        self.act(NetAction::Publish { topic, message });
    }

    pub(super) fn request(&mut self, to: PeerKey, request: Request, body: Vec<Bytes>, pending: impl Into<Pending>) {
        let id = RequestId(self.next_id());
        self.pending.insert(id, pending.into());
        self.act(NetAction::Request { id, to, request, body });
    }

    pub(super) fn respond(&mut self, token: Token, response: Response) {
        self.act(NetAction::Respond { token, response, body: Bytes::new() });
    }

    pub(super) fn next_run(&mut self) -> RunId {
        RunId(self.next_id())
    }

    pub(super) fn next_read(&mut self) -> ReadId {
        ReadId(self.next_id())
    }

    /// An id that this engine has not used before.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The one-way delay of a message to most neighbours.
    pub(super) fn hop(&self) -> Duration {
        self.hop
    }

    /// Smooths a measured round trip into the time of one hop, as TCP does for its retransmissions (RFC 6298).
    pub(super) fn measure_hop(&mut self, peer: PeerKey, rtt: Duration) {
        if !self.directory.is_connected(&peer) {
            return;
        }
        let hop = rtt / 2;
        let (mean, strays) = self.hops.entry(peer).or_insert((hop, hop / 2));
        let stray = hop.abs_diff(*mean);
        (*mean, *strays) = ((*mean * 7 + hop) / 8, (*strays * 3 + stray) / 4);
        self.set_hop();
    }

    /// Forgets the delay to a peer whose connection is gone.
    pub(super) fn forget_hop(&mut self, peer: &PeerKey) {
        if self.hops.remove(peer).is_some() {
            self.set_hop();
        }
    }

    /// Takes the third quartile: neither a few slow neighbours nor one that deliberately answers slowly slow down the
    /// rest.
    fn set_hop(&mut self) {
        let mut hops: Vec<Duration> = self.hops.values().map(|&(mean, strays)| mean + 2 * strays).collect();
        hops.sort_unstable();
        let third_quartile = hops.get(hops.len().saturating_sub(1) * 3 / 4);
        self.hop = third_quartile.map_or(FIRST_HOP, |&hop| hop.min(limits::HOP));
    }

    /// Where a job of this home and owner comes from.
    pub(super) fn origin(&self, home: PeerKey, owner: PeerKey) -> Origin {
        Origin { network: self.directory.network_of(&home), home, owner }
    }

    /// Recounts the known workers.
    pub(super) fn count_workers(&mut self) {
        let me = u32::from(self.advert.roles.worker);
        let others = self.directory.with_role(|r| r.worker).filter(|(peer, _)| **peer != self.me).count();
        self.workers = me + others as u32;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::guest;
    use crate::membership::{Kind, Roles};

    /// A core without neighbours.
    pub(in crate::engine) fn core() -> Core {
        let agent = String::new();
        let advert = Advert {
            kind: Kind::Node,
            roles: Roles::default(),
            threads: 1,
            weight: 1,
            addresses: vec![],
            agent,
            minor: 0,
        };
        Core::new(PeerKey([0; 32]), 1, advert, guest::INTERFACE)
    }

    fn core_with(neighbours: u8) -> Core {
        let mut core = core();
        for n in 1..=neighbours {
            core.directory.connect(Time(0), PeerKey([n; 32]), None);
            for _ in 0..50 {
                core.measure_hop(PeerKey([n; 32]), Duration::from_millis(40));
            }
        }
        core
    }

    #[test]
    fn one_slow_neighbour_among_many_does_not_slow_jobs() {
        let mut core = core_with(8);
        let before = core.hop();
        assert!(before >= Duration::from_millis(20) && before < Duration::from_millis(25), "{before:?}");
        for _ in 0..50 {
            core.measure_hop(PeerKey([8; 32]), Duration::from_secs(20));
        }
        assert!(core.hop() < before * 11 / 10, "{:?}", core.hop());
    }

    #[test]
    fn a_single_slow_neighbour_slows_a_job_up_to_a_limit_and_only_while_connected() {
        let mut core = core_with(1);
        core.measure_hop(PeerKey([1; 32]), Duration::from_secs(3_600));
        assert_eq!(core.hop(), limits::HOP);
        core.forget_hop(&PeerKey([1; 32]));
        assert_eq!(core.hop(), FIRST_HOP);
    }
}
