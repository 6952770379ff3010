//! Drives the engine: what the network and the host bring goes in, what the engine wants is done.
//!
//! The same code natively and in a tab. What a platform does for the engine (running tasks, holding segments,
//! reading files) stands behind [`Host`].

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use libp2p::Multiaddr;
use tokio::sync::{broadcast, mpsc, oneshot};
use webmesh_protocol::engine::{Config, Engine, Memory};
use webmesh_protocol::io::{
    Action, Event, NetAction, Notice, RequestError, RequestId, Resumption, RunAction, StoreAction, Submission, Token,
};
use webmesh_protocol::membership::{Advert, Roles};
use webmesh_protocol::message::{End, Gossip, Request, Response};
use webmesh_protocol::sign::{Keypair, Signed};
use webmesh_protocol::{JobId, PeerKey, Time, guest, limits};

use crate::net::{Net, NetEvent};
use crate::platform;

/// Commands from handles that wait to be taken.
const COMMANDS: usize = 64;
/// What the host has done and the engine has not seen.
pub const HOST_OUTPUTS: usize = 64;
/// Notices kept for a slow reader; it then misses the oldest.
const NOTICES: usize = 1024;
/// While the host has too much on its hands, the network is not read; it is looked at again after so long.
const HOST_PAUSE: Duration = Duration::from_millis(5);
/// Who leaves waits so long for answers to what it has said.
const LAST_WORDS: Duration = Duration::from_millis(800);
/// Ids from here on belong to requests of handles, not of the engine.
const HANDLE_IDS: u64 = 1 << 63;

/// What a platform does for the engine.
pub trait Host: Send + 'static {
    /// Begins what the engine asks of the stores. Never blocks for long; the outcome comes as a [`HostOutput`].
    fn store(&mut self, action: StoreAction);

    /// Begins what the engine asks of the threads that run tasks. Never blocks for long; the outcome comes as a
    /// [`HostOutput`].
    fn run(&mut self, action: RunAction);

    /// Begins to compile a source for a peer, which is pointless once it is `gone`; `false` if this host has no compiler.
    fn compile(&mut self, token: Token, from: PeerKey, name: String, source: Bytes, gone: Gone) -> bool;

    /// The memory that this peer gives.
    fn memory(&self) -> Memory;

    /// Whether so much lies here undone that peers had better wait.
    fn is_overloaded(&self) -> bool;
}

/// Ends once whoever asked waits for the answer no longer.
pub type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a host has done.
#[derive(Debug)]
pub enum HostOutput {
    /// Something for the engine.
    Event(Event),
    /// The answer to a peer.
    Respond {
        /// Which request.
        token: Token,
        /// The answer.
        response: Response,
        /// The bytes behind it.
        body: Bytes,
    },
}

/// A running peer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    commands: mpsc::Sender<Command>,
    notices: broadcast::Sender<Notice>,
    /// What was told of jobs that go on, until somebody asks for it.
    resumed: Arc<Mutex<Option<broadcast::Receiver<Notice>>>>,
    net: Net,
}

enum Command {
    Event(Event),
    Ask { to: PeerKey, request: Request, body: Bytes, reply: oneshot::Sender<Answer> },
    Members(oneshot::Sender<Vec<(PeerKey, Advert, bool)>>),
    Shutdown(oneshot::Sender<()>),
}

/// What a peer answered to a request of a handle.
pub type Answer = Result<(Response, Bytes), RequestError>;

impl Node {
    /// Starts driving an engine over a network that has just been started. It goes on with the jobs of `resumed` before it
    /// hears of anybody.
    pub fn start(
        net: Net,
        events: mpsc::Receiver<NetEvent>,
        mut advert: Advert,
        host: impl Host,
        outputs: mpsc::Receiver<HostOutput>,
        resumed: Vec<Resumption>,
    ) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (notices, first) = broadcast::channel(NOTICES);
        let first = Arc::new(Mutex::new((!resumed.is_empty()).then_some(first)));
        let node = Self { commands, notices: notices.clone(), resumed: first, net: net.clone() };
        advert.addresses = texts(&net.told_addresses());
        let config = Config {
            me: net.peer(),
            started: platform::wall_micros(),
            advert,
            memory: host.memory(),
            interface: guest::INTERFACE,
        };
        let driver = Driver {
            engine: Engine::new(config),
            net,
            host,
            notices,
            asked: HashMap::new(),
            next_ask: HANDLE_IDS,
            started: platform::Instant::now(),
        };
        platform::spawn(driver.run(events, outputs, receiver, resumed));
        node
    }

    /// The network beneath.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What the engine has told its user since it was started with jobs to go on with, at the first call; from now on, at
    /// any other.
    pub fn notices_of_resumed(&self) -> broadcast::Receiver<Notice> {
        // A panic of another holder leaves it usable.
        let first = self.resumed.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.notices())
    }

    /// What the engine tells its user, from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Submits a job; what becomes of it is told by notices.
    pub async fn submit(&self, submission: Submission) {
        self.command(Command::Event(Event::Submit(Box::new(submission)))).await;
    }

    /// Takes a job back.
    pub async fn cancel(&self, job: JobId, key: Keypair) {
        self.command(Command::Event(Event::Cancel { job, key: Box::new(key) })).await;
    }

    /// Passes on the end of a job, whose owner signed it, where this peer knows the job.
    pub async fn bring_end(&self, end: Signed<End>) {
        self.command(Command::Event(Event::EndBrought(Box::new(end)))).await;
    }

    /// Changes the number of threads that run tasks, and this peer's roles.
    pub async fn set_capacity(&self, threads: u16, roles: Roles) {
        self.command(Command::Event(Event::Capacity { threads, roles })).await;
    }

    /// Asks a peer, or this one.
    pub async fn ask(&self, to: PeerKey, request: Request, body: Bytes) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Ask { to, request, body, reply }).await;
        answer.await.unwrap_or(Err(RequestError::Unreachable))
    }

    /// The peers known, with whether there is a connection to each.
    pub async fn members(&self) -> Vec<(PeerKey, Advert, bool)> {
        let (reply, members) = oneshot::channel();
        self.command(Command::Members(reply)).await;
        members.await.unwrap_or_default()
    }

    /// Leaves the mesh in order: claims released, goodbyes said, connections closed.
    pub async fn shutdown(&self) {
        let (done, closed) = oneshot::channel();
        self.command(Command::Shutdown(done)).await;
        // An error says that the driver was gone already.
        let _ = closed.await;
    }

    async fn command(&self, command: Command) {
        // Fails only after the end, when nobody is left to obey.
        let _ = self.commands.send(command).await;
    }
}

struct Driver<H> {
    engine: Engine,
    net: Net,
    host: H,
    notices: broadcast::Sender<Notice>,
    /// Requests of handles.
    asked: HashMap<RequestId, oneshot::Sender<Answer>>,
    next_ask: u64,
    started: platform::Instant,
}

impl<H: Host> Driver<H> {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<NetEvent>,
        mut outputs: mpsc::Receiver<HostOutput>,
        mut commands: mpsc::Receiver<Command>,
        resumed: Vec<Resumption>,
    ) {
        self.engine.handle(self.now(), Event::Tick);
        for resumption in resumed {
            self.engine.handle(self.now(), Event::Resume(Box::new(resumption)));
        }
        self.carry_out().await;
        loop {
            let overloaded = self.host.is_overloaded();
            let mut wait = Duration::from_micros(self.engine.deadline().0.saturating_sub(self.now().0));
            if overloaded {
                wait = wait.min(HOST_PAUSE);
            }
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Shutdown(done)) => {
                        self.leave(&mut events, &mut outputs).await;
                        // Nobody may wait for it any more.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.obey(command),
                    None => return self.leave(&mut events, &mut outputs).await,
                },
                Some(output) = outputs.recv() => self.take_output(output),
                event = events.recv(), if !overloaded => match event {
                    Some(event) => self.take_event(event).await,
                    None => return,
                },
                () = platform::sleep(wait) => self.engine.handle(self.now(), Event::Tick),
            }
            self.carry_out().await;
        }
    }

    fn now(&self) -> Time {
        Time(0) + self.started.elapsed()
    }

    /// Says what is left to say (the end of a job, above all), and goes.
    async fn leave(&mut self, events: &mut mpsc::Receiver<NetEvent>, outputs: &mut mpsc::Receiver<HostOutput>) {
        self.engine.handle(self.now(), Event::Leave);
        self.carry_out().await;
        let until = self.now() + LAST_WORDS;
        while self.engine.requests_under_way() > 0 && self.now() < until {
            tokio::select! {
                Some(output) = outputs.recv() => self.take_output(output),
                Some(event) = events.recv() => self.take_event(event).await,
                () = platform::sleep(until.since(self.now())) => {}
            }
            self.carry_out().await;
        }
        self.net.shutdown().await;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Event(event) => self.engine.handle(self.now(), event),
            Command::Ask { to, request, body, reply } => {
                let id = RequestId(self.next_ask);
                self.next_ask += 1;
                self.asked.insert(id, reply);
                let parts = if body.is_empty() { vec![] } else { vec![body] };
                self.net.request(id, to, request, parts);
            }
            Command::Members(reply) => {
                let members = self.engine.directory().iter();
                // The asker may have gone.
                let _ = reply.send(members.map(|(&peer, m)| (peer, m.advert.clone(), m.connected)).collect());
            }
            Command::Shutdown(_) => {}
        }
    }

    fn take_output(&mut self, output: HostOutput) {
        match output {
            HostOutput::Event(event) => self.engine.handle(self.now(), event),
            HostOutput::Respond { token, response, body } => self.respond(token, response, body),
        }
    }

    fn respond(&self, token: Token, response: Response, body: Bytes) {
        let parts = if body.is_empty() { vec![] } else { vec![body] };
        self.net.respond(token, response, parts);
    }

    async fn take_event(&mut self, event: NetEvent) {
        let event = match event {
            NetEvent::Connected { peer } => Event::Connected { peer },
            NetEvent::Disconnected { peer } => Event::Disconnected { peer },
            NetEvent::Rtt { peer, rtt } => Event::Rtt { peer, rtt },
            NetEvent::Gossip { from, message } => {
                if let Gossip::Advert(advert) = &message {
                    learn_addresses(&self.net, from, &advert.addresses).await;
                }
                Event::Gossip { from, message }
            }
            NetEvent::Request { from, token, request: Request::Compile { name }, body } => {
                let gone = Box::pin(self.net.abandoned(token));
                if self.host.compile(token, from, name.clone(), body.clone(), gone) {
                    return;
                }
                Event::Request { from, token, request: Request::Compile { name }, body }
            }
            NetEvent::Request { from, token, request, body } => {
                if let Request::Hello(advert) = &request {
                    learn_addresses(&self.net, from, &advert.addresses).await;
                }
                Event::Request { from, token, request, body }
            }
            NetEvent::Response { id, outcome } => {
                if let Some(reply) = self.asked.remove(&id) {
                    // The asker may have gone.
                    let _ = reply.send(outcome);
                    return;
                }
                Event::Response { id, outcome }
            }
            NetEvent::Incompatible { peer, why } => {
                let text = format!("peer {} was turned away: {why}", peer.short());
                // Without a listener there is nobody to tell.
                let _ = self.notices.send(Notice::Log(text));
                return;
            }
            NetEvent::Listening { .. } | NetEvent::NotListening { .. } => {
                let addresses = texts(&self.net.told_addresses());
                self.engine.set_addresses(addresses);
                Event::Tick
            }
        };
        self.engine.handle(self.now(), event);
    }

    async fn carry_out(&mut self) {
        while let Some(action) = self.engine.poll() {
            match action {
                Action::Net(action) => self.send(action).await,
                Action::Store(action) => self.host.store(action),
                Action::Run(action) => self.host.run(action),
                Action::Notify(notice) => {
                    // Without a listener there is nobody to tell.
                    let _ = self.notices.send(notice);
                }
            }
        }
    }

    async fn send(&self, action: NetAction) {
        match action {
            NetAction::Publish { topic, message } => self.net.publish(topic, &message).await,
            NetAction::Learn { peer, addresses } => learn_addresses(&self.net, peer, &addresses).await,
            NetAction::Subscribe { topic, on } => self.net.subscribe(topic, on).await,
            NetAction::Request { id, to, request, body } => self.net.request(id, to, request, body),
            NetAction::Respond { token, response, body } => self.respond(token, response, body),
        }
    }
}

async fn learn_addresses(net: &Net, peer: PeerKey, addresses: &[String]) {
    let addresses: Vec<Multiaddr> = addresses.iter().filter_map(|a| a.parse().ok()).collect();
    if !addresses.is_empty() {
        net.add_address(peer, addresses).await;
    }
}

/// Addresses as adverts have them. A single one that is too long would spoil all.
fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    let texts = addresses.iter().map(ToString::to_string).filter(|text| text.len() <= limits::ADDRESS_BYTES);
    texts.take(limits::ADDRESSES).collect()
}
