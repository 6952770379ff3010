//! One engine driven by a test, and documents for it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::engine::{Config, Engine, Memory};
use webmesh_protocol::epoch::{Epoch, Shuffler};
use webmesh_protocol::io::{Action, Event, NetAction, Notice, RequestId, Submission, Token};
use webmesh_protocol::manifest::{
    Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
};
use webmesh_protocol::membership::{Advert, Kind, Roles};
use webmesh_protocol::message::{Announce, AttemptId, Attempts, Commit, Outcome, Push, PushEntry, Request, Response};
use webmesh_protocol::sign::{Keypair, Signed};
use webmesh_protocol::time::Time;
use webmesh_protocol::{Hash, JobId, PeerKey, ShuffleShape, StageId, TaskId, guest, version};

/// Tasks of the jobs in these tests; `PARTITIONS` are those of their shuffles.
pub(super) const TASKS: u32 = 4;
pub(super) const PARTITIONS: u16 = 8;

/// An engine with its actions that no test has looked at yet.
pub(super) struct Peer {
    pub(super) engine: Engine,
    now: Time,
    tokens: u64,
    actions: Vec<Action>,
}

/// The key of the peer with this number.
pub(super) fn key(number: u8) -> PeerKey {
    PeerKey(Hash::of(&[number]).0)
}

/// The key of the owner of all jobs in these tests.
pub(super) fn owner() -> Keypair {
    Keypair::from_secret([7; 32])
}

pub(super) const SHUFFLER: Roles =
    Roles { worker: false, shuffler: true, compiler: false, relay: false, steward: false };
pub(super) const WORKER: Roles = Roles { worker: true, shuffler: false, compiler: false, relay: false, steward: false };
pub(super) const NOTHING: Roles =
    Roles { worker: false, shuffler: false, compiler: false, relay: false, steward: false };

pub(super) fn advert(roles: Roles) -> Advert {
    Advert {
        kind: Kind::Node,
        roles,
        threads: 1,
        weight: 1,
        addresses: vec![],
        agent: "test".to_owned(),
        minor: version::MINOR,
    }
}

impl Peer {
    pub(super) fn new(number: u8, roles: Roles) -> Self {
        Self::started(number, roles, 1)
    }

    /// A peer whose clock shows this many microseconds.
    pub(super) fn started(number: u8, roles: Roles, started: u64) -> Self {
        Self::with(number, roles, started, false)
    }

    /// A peer that tries tasks of its own jobs itself before it lets them fail.
    pub(super) fn confirming(number: u8, roles: Roles) -> Self {
        Self::with(number, roles, 1, true)
    }

    fn with(number: u8, roles: Roles, started: u64, confirms: bool) -> Self {
        let engine = Engine::new(Config {
            me: key(number),
            started,
            advert: advert(roles),
            memory: Memory::native(u64::MAX, u64::MAX),
            // Those that run tasks support all that a manifest can ask for.
            interface: if confirms { u8::MAX } else { guest::INTERFACE },
            confirms,
        });
        let mut peer = Self { engine, now: Time(1), tokens: 0, actions: Vec::new() };
        peer.feed(Event::Tick);
        peer
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.engine.handle(self.now, event);
        self.actions.extend(std::iter::from_fn(|| self.engine.poll()));
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.engine.deadline() < until {
            self.now = self.now.max(self.engine.deadline());
            self.feed(Event::Tick);
        }
        self.now = until;
        self.feed(Event::Tick);
    }

    /// Lets time pass without running the engine: its process is stopped, or its machine sleeps.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.now = self.now + time;
        self.feed(Event::Tick);
    }

    /// The actions since the last call.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The requests since the last call; all other actions are discarded.
    pub(super) fn requests(&mut self) -> Vec<(RequestId, PeerKey, Request)> {
        let request = |action| match action {
            Action::Net(NetAction::Request { id, to, request, .. }) => Some((id, to, request)),
            _ => None,
        };
        self.actions().into_iter().filter_map(request).collect()
    }

    /// Answers a request of the engine's.
    pub(super) fn answer(&mut self, id: RequestId, response: Response) {
        self.feed(Event::Response { id, outcome: Ok((response, Bytes::new())) });
    }

    /// Sends the engine a request; `None` if it left the answer to the driver or to later.
    pub(super) fn ask(&mut self, from: PeerKey, request: Request, body: Bytes) -> Option<Response> {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.feed(Event::Request { from, token, request, body });
        let answer = |a: &Action| matches!(a, Action::Net(NetAction::Respond { token: of, .. }) if *of == token);
        let place = self.actions.iter().position(answer)?;
        match self.actions.remove(place) {
            Action::Net(NetAction::Respond { response, .. }) => Some(response),
            _ => None,
        }
    }

    /// Connects a peer and sends its advert.
    pub(super) fn meet(&mut self, peer: PeerKey, roles: Roles) {
        self.feed(Event::Connected { peer, network: None });
        assert!(matches!(self.ask(peer, Request::Hello(advert(roles)), Bytes::new()), Some(Response::Hello(_))));
    }

    /// Submits a job at this peer; returns its announcement as offered to others.
    pub(super) fn submit(&mut self, manifest: Manifest) -> Announce {
        self.feed(Event::Submit(Box::new(Submission { manifest, key: owner(), kept: false })));
        let offered = self.actions.iter().rev().find_map(|a| match a {
            Action::Net(NetAction::Request { request: Request::Offer { announce, .. }, .. }) => Some(announce.clone()),
            _ => None,
        });
        offered.expect("the job is offered to somebody")
    }

    /// How a job ended; `None` if it has not.
    pub(super) fn ended(&self) -> Option<Outcome> {
        self.actions.iter().find_map(|a| match a {
            Action::Notify(Notice::Ended { outcome, .. }) => Some(outcome.clone()),
            _ => None,
        })
    }
}

/// A map of [`TASKS`] tasks into [`PARTITIONS`] partitions, and a reduce.
pub(super) fn manifest() -> Manifest {
    let limits = TaskLimits { millis: 10_000, memory: 1 << 20, output: 1 << 16, retries: 3 };
    let buckets = u32::from(PARTITIONS);
    let map = Stage {
        operator: Operator::Map,
        source: Source::Inputs,
        further: Vec::new(),
        sink: Sink::Shuffle(ShuffleShape { partitions: PARTITIONS, buckets }),
        tasks: TASKS,
        task_bytes: 1,
        shards: 1,
        block: 1,
        limits,
    };
    let reduce = Stage {
        operator: Operator::Reduce,
        source: Source::Shuffle { stage: StageId(0) },
        further: Vec::new(),
        sink: Sink::Collect,
        tasks: buckets,
        ..map.clone()
    };
    Manifest {
        owner: owner().public(),
        home: key(0),
        nonce: 1,
        name: "test".to_owned(),
        minor: 0,
        module: BlobRef { hash: Hash::of(b"module"), len: 6 },
        inputs: Inputs::Numbers,
        stages: vec![map, reduce],
        authority: Authority::Owner,
        verify: Verify::Off,
        replicas: 2,
    }
}

/// The announcement of the job of [`manifest`] by its home (peer 0) with these shufflers.
pub(super) fn announced(manifest: &Manifest, number: u32, shufflers: &[PeerKey]) -> Announce {
    announced_by(&owner(), manifest, number, shufflers)
}

/// The announcement of a job of another owner.
pub(super) fn announced_by(owner: &Keypair, manifest: &Manifest, number: u32, shufflers: &[PeerKey]) -> Announce {
    let signed = owner.sign(manifest);
    let job = Manifest::id_of(&signed);
    Announce {
        job,
        owner: owner.public(),
        home: manifest.home,
        manifest: Some(signed),
        epoch: epoch_by(owner, job, number, shufflers),
        done: vec![0, 0],
        tasks: vec![TASKS, u32::from(PARTITIONS)],
        reopened: 0,
        age: 0,
    }
}

/// A job of a home and an owner with these numbers.
pub(super) fn job_of(home: u8, owner: u8, nonce: u64) -> Announce {
    let keypair = Keypair::from_secret([owner; 32]);
    announced_by(&keypair, &Manifest { nonce, home: key(home), owner: keypair.public(), ..manifest() }, 0, &[key(1)])
}

pub(super) fn epoch(job: JobId, number: u32, shufflers: &[PeerKey]) -> Signed<Epoch> {
    epoch_by(&owner(), job, number, shufflers)
}

fn epoch_by(owner: &Keypair, job: JobId, number: u32, shufflers: &[PeerKey]) -> Signed<Epoch> {
    let mut shufflers: Vec<Shuffler> = shufflers.iter().map(|&peer| Shuffler { peer, weight: 1 }).collect();
    shufflers.sort_unstable_by_key(|s| s.peer);
    let previous = (number > 0).then(|| digest("the epoch before"));
    owner.sign(&Epoch { job, number, previous, shufflers, generations: vec![] })
}

/// A digest that an attempt might have.
pub(super) fn digest(what: &str) -> Hash {
    Hash::of(what.as_bytes())
}

/// An attempt at a task of the first stage.
pub(super) fn attempt(task: u32, what: &str) -> AttemptId {
    AttemptId { task: TaskId(task), digest: digest(what) }
}

/// Attempts at tasks of the first stage, all with one digest.
pub(super) fn attempts(tasks: Range<u32>, what: &str) -> Vec<AttemptId> {
    tasks.map(|task| attempt(task, what)).collect()
}

/// A shuffler's commit of attempts for all that it owns.
pub(super) fn commit(job: JobId, epoch: u32, attempts: &[AttemptId]) -> Request {
    Request::Commit(committed(job, epoch, attempts))
}

/// The same, to be changed before it is sent.
pub(super) fn committed(job: JobId, epoch: u32, attempts: &[AttemptId]) -> Commit {
    let authored: Vec<_> = attempts.iter().map(|attempt| attempt.by(key(50))).collect();
    let attempts = Attempts::pack_authored(&authored);
    Commit { job, stage: StageId(0), epoch, opened: 1, partitions: vec![], attempts, bytes: 0 }
}

/// The commit with which a shuffler introduces itself: it opened the job at `opened`, and holds nothing yet.
pub(super) fn greeting(job: JobId, epoch: u32, opened: u64) -> Request {
    Request::Commit(Commit { opened, ..committed(job, epoch, &[]) })
}

/// A push of attempts without segments.
pub(super) fn push(job: JobId, epoch: u32, attempts: &[AttemptId]) -> Request {
    Request::Push(Push {
        job,
        stage: StageId(0),
        epoch,
        replica: false,
        entries: attempts.iter().copied().map(PushEntry::without_segments).collect(),
        authors: vec![],
    })
}
