//! Runs the engine: feeds it events of the network and the host, and carries out its actions.
//!
//! The same code runs natively and in a tab. What a platform does for the engine (running tasks, holding segments,
//! reading files) is behind [`Host`].

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

/// Capacity of the command channel from handles.
const COMMANDS: usize = 64;
/// Capacity of the channel of host outputs that the engine has not seen.
pub const HOST_OUTPUTS: usize = 64;
/// Notices kept for a slow reader; beyond that it misses the oldest.
const NOTICES: usize = 1024;
/// Poll interval while the host is overloaded; until it no longer is, the network is not read.
const HOST_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Shutdown grace period for pending responses.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(800);
/// Request ids from here on belong to handles, not to the engine.
const HANDLE_IDS: u64 = 1 << 63;

/// What a platform does for the engine.
pub trait Host: Send + 'static {
    /// Starts an action of the stores. Never blocks for long; the outcome comes as a [`HostOutput`].
    fn store(&mut self, action: StoreAction);

    /// Starts an action of the threads that run tasks. Never blocks for long; the outcome comes as a
    /// [`HostOutput`].
    fn run(&mut self, action: RunAction);

    /// Starts compiling a source for a peer; the work is pointless once `gone` completes. `false` if this host has no
    /// compiler.
    fn compile(&mut self, token: Token, from: PeerKey, name: String, source: Bytes, gone: RequesterGone) -> bool;

    /// The memory that this peer contributes.
    fn memory(&self) -> Memory;

    /// Whether it can run single tasks of this peer's own jobs even while the peer does not work.
    fn confirms(&self) -> bool;

    /// Whether the backlog of this host is full, so that requests of peers should wait.
    fn is_overloaded(&self) -> bool;
}

/// Completes once the requester no longer waits for the answer.
pub type RequesterGone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An output of the host.
#[derive(Debug)]
pub enum HostOutput {
    /// An event for the engine.
    Event(Event),
    /// An answer for a peer.
    Respond {
        /// The request's token.
        token: Token,
        /// The answer.
        response: Response,
        /// Its body; empty if it has none.
        body: Bytes,
    },
}

/// A running peer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    commands: mpsc::Sender<Command>,
    notices: broadcast::Sender<Notice>,
    /// The notices of resumed jobs, until somebody asks for them.
    resumed: Arc<Mutex<Option<broadcast::Receiver<Notice>>>>,
    net: Net,
}

enum Command {
    Event(Event),
    Ask { to: PeerKey, request: Request, body: Bytes, reply: oneshot::Sender<Answer> },
    Members(oneshot::Sender<Vec<(PeerKey, Advert, bool)>>),
    Shutdown(oneshot::Sender<()>),
}

/// A peer's answer to a request of a handle.
pub type Answer = Result<(Response, Bytes), RequestError>;

impl Node {
    /// Starts driving an engine over a network that has just been started. The jobs in `resumed` continue before the
    /// engine sees any network event.
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
            confirms: host.confirms(),
        };
        let driver = Driver {
            engine: Engine::new(config),
            net,
            host,
            notices,
            pending: HashMap::new(),
            next_request: HANDLE_IDS,
            started: platform::Instant::now(),
        };
        platform::spawn(driver.run(events, outputs, receiver, resumed));
        node
    }

    /// The underlying network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// At the first call, the engine's notices since it was started with jobs to resume; at any later call, those from
    /// now on.
    pub fn notices_of_resumed(&self) -> broadcast::Receiver<Notice> {
        // If another holder panics, it is still usable.
        let first = self.resumed.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.notices())
    }

    /// The engine's notices to the user, from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Submits a job; its outcome comes as notices.
    pub async fn submit(&self, submission: Submission) {
        self.command(Command::Event(Event::Submit(Box::new(submission)))).await;
    }

    /// Cancels a job.
    pub async fn cancel(&self, job: JobId, key: Keypair) {
        self.command(Command::Event(Event::Cancel { job, key: Box::new(key) })).await;
    }

    /// Passes on the end of a job, signed by its owner, if this peer knows the job.
    pub async fn bring_end(&self, end: Signed<End>) {
        self.command(Command::Event(Event::EndBrought(Box::new(end)))).await;
    }

    /// Changes the number of threads that run tasks, and this peer's roles.
    pub async fn set_capacity(&self, threads: u16, roles: Roles) {
        self.command(Command::Event(Event::Capacity { threads, roles })).await;
    }

    /// Sends a request to a peer, or to this one.
    pub async fn ask(&self, to: PeerKey, request: Request, body: Bytes) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Ask { to, request, body, reply }).await;
        answer.await.unwrap_or(Err(RequestError::Unreachable))
    }

    /// The known peers, with whether each is connected.
    pub async fn members(&self) -> Vec<(PeerKey, Advert, bool)> {
        let (reply, members) = oneshot::channel();
        self.command(Command::Members(reply)).await;
        members.await.unwrap_or_default()
    }

    /// Leaves the mesh in order: releases claims, says goodbye, closes connections.
    pub async fn shutdown(&self) {
        let (done, closed) = oneshot::channel();
        self.command(Command::Shutdown(done)).await;
        // Fails if the driver has already ended.
        let _ = closed.await;
    }

    async fn command(&self, command: Command) {
        // Fails only after the driver has ended.
        let _ = self.commands.send(command).await;
    }
}

struct Driver<H> {
    engine: Engine,
    net: Net,
    host: H,
    notices: broadcast::Sender<Notice>,
    /// Pending requests of handles.
    pending: HashMap<RequestId, oneshot::Sender<Answer>>,
    next_request: u64,
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
        self.perform_actions().await;
        loop {
            let overloaded = self.host.is_overloaded();
            let mut wait = Duration::from_micros(self.engine.deadline().0.saturating_sub(self.now().0));
            if overloaded {
                wait = wait.min(HOST_POLL_INTERVAL);
            }
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Shutdown(done)) => {
                        self.leave(&mut events, &mut outputs).await;
                        // Nobody may be waiting for it any more.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.on_command(command),
                    None => return self.leave(&mut events, &mut outputs).await,
                },
                Some(output) = outputs.recv() => self.on_output(output),
                event = events.recv(), if !overloaded => match event {
                    Some(event) => self.on_event(event).await,
                    None => return,
                },
                () = platform::sleep(wait) => self.engine.handle(self.now(), Event::Tick),
            }
            self.perform_actions().await;
        }
    }

    fn now(&self) -> Time {
        Time(0) + self.started.elapsed()
    }

    /// Sends the remaining messages (above all, the end of a job), and leaves.
    async fn leave(&mut self, events: &mut mpsc::Receiver<NetEvent>, outputs: &mut mpsc::Receiver<HostOutput>) {
        self.engine.handle(self.now(), Event::Leave);
        self.perform_actions().await;
        let until = self.now() + SHUTDOWN_GRACE;
        while self.engine.requests_under_way() > 0 && self.now() < until {
            tokio::select! {
                Some(output) = outputs.recv() => self.on_output(output),
                Some(event) = events.recv() => self.on_event(event).await,
                () = platform::sleep(until.since(self.now())) => {}
            }
            self.perform_actions().await;
        }
        self.net.shutdown().await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Event(event) => self.engine.handle(self.now(), event),
            Command::Ask { to, request, body, reply } => {
                let id = RequestId(self.next_request);
                self.next_request += 1;
                self.pending.insert(id, reply);
                let parts = if body.is_empty() { vec![] } else { vec![body] };
                self.net.request(id, to, request, parts);
            }
            Command::Members(reply) => {
                let members = self.engine.directory().iter();
                // The requester may have gone away.
                let _ = reply.send(members.map(|(&peer, m)| (peer, m.advert.clone(), m.connected)).collect());
            }
            Command::Shutdown(_) => {}
        }
    }

    fn on_output(&mut self, output: HostOutput) {
        match output {
            HostOutput::Event(event) => self.engine.handle(self.now(), event),
            HostOutput::Respond { token, response, body } => respond(&self.net, token, response, body),
        }
    }

    async fn on_event(&mut self, event: NetEvent) {
        let event = match event {
            NetEvent::Connected { peer, network } => Event::Connected { peer, network },
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
                if let Some(reply) = self.pending.remove(&id) {
                    // The requester may have gone away.
                    let _ = reply.send(outcome);
                    return;
                }
                Event::Response { id, outcome }
            }
            NetEvent::Incompatible { peer, why } => {
                let text = format!("peer {} was turned away: {why}", peer.short());
                // Fails only without a subscriber.
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

    async fn perform_actions(&mut self) {
        while let Some(action) = self.engine.poll() {
            match action {
                Action::Net(action) => send(&self.net, action).await,
                Action::Store(action) => self.host.store(action),
                Action::Run(action) => self.host.run(action),
                Action::Notify(notice) => {
                    // Fails only without a subscriber.
                    let _ = self.notices.send(notice);
                }
            }
        }
    }
}

async fn send(net: &Net, action: NetAction) {
    match action {
        NetAction::Publish { topic, message } => net.publish(topic, &message).await,
        NetAction::Learn { peer, addresses } => learn_addresses(net, peer, &addresses).await,
        NetAction::Subscribe { topic, on } => net.subscribe(topic, on).await,
        NetAction::Request { id, to, request, body } => net.request(id, to, request, body),
        NetAction::Respond { token, response, body } => respond(net, token, response, body),
    }
}

fn respond(net: &Net, token: Token, response: Response, body: Bytes) {
    let parts = if body.is_empty() { vec![] } else { vec![body] };
    net.respond(token, response, parts);
}

async fn learn_addresses(net: &Net, peer: PeerKey, addresses: &[String]) {
    let addresses: Vec<Multiaddr> = addresses.iter().filter_map(|a| a.parse().ok()).collect();
    if !addresses.is_empty() {
        net.add_address(peer, addresses).await;
    }
}

/// Addresses in the text form of adverts. A single one that is too long would invalidate the whole advert.
fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    let texts = addresses.iter().map(ToString::to_string).filter(|text| text.len() <= limits::ADDRESS_BYTES);
    texts.take(limits::ADDRESSES).collect()
}
