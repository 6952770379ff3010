//! What JavaScript sees.

mod blobs;
mod host;
mod runner;
mod storage;
mod submit;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use js_sys::Uint8Array;
use libp2p::Multiaddr;
use serde_json::json;
use wasm_bindgen::prelude::*;
use webmesh_node::driver::Node;
use webmesh_node::net::{Net, NetConfig, identity, peer_id_of};
use webmesh_protocol::membership::{Advert, Kind, Roles};
use webmesh_protocol::message::{End, Outcome, Request};
use webmesh_protocol::{Hash, JobId, codec, limits, sign, version};

use self::host::{HostHandle, TabHost};
use self::runner::Runner;
use self::storage::StorageWorker;

/// A tab connects to so many peers of its own accord: each connection costs it a part of a megabyte.
const WANTED_PEERS: usize = 6;
/// Bytes of frames that a tab holds at a time, each way: two of the largest packs. Larger frames come one by one.
const BODY_BUDGET: usize = 2 * limits::PACK_BYTES;

/// This tab as a peer.
#[wasm_bindgen]
pub struct Tab {
    node: Node,
    host: HostHandle,
    /// Whether it runs tasks.
    works: Cell<bool>,
    /// Signs the jobs that are submitted here.
    owner: sign::Keypair,
    /// The jobs that were submitted here and go on.
    running: RefCell<BTreeSet<JobId>>,
}

/// The owner's key belongs to the person, the peer's to the tab; a browser keeps one secret for both.
const OWNER_KEY: &str = "webmesh 1 a tab's key as an owner of jobs";

/// Why the jobs of a tab that closes end. Nothing tells it whether it is closed or loaded anew.
const CLOSED: &str = "its submitter closed or reloaded the tab that it was submitted in";

/// The roles of a tab with this number of threads. It shuffles only in meshes without a native shuffler.
fn roles(threads: u16) -> Roles {
    Roles { worker: threads > 0, shuffler: threads > 0, ..Roles::default() }
}

fn error(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

/// What should not happen is told where a developer looks.
fn complain(text: &str) {
    web_sys::console::error_1(&text.into());
}

#[wasm_bindgen]
impl Tab {
    /// Joins the mesh by peers whose addresses are known. `identity` has 32 bytes; `threads` may be zero.
    pub async fn join(
        identity: Vec<u8>,
        bootstrap: Vec<String>,
        threads: u16,
        runner: Runner,
        storage: StorageWorker,
    ) -> Result<Tab, JsError> {
        let secret: [u8; 32] = identity.try_into().map_err(|_| error("an identity has 32 bytes"))?;
        let key = sign::Keypair::from_secret(secret);
        let bootstrap: Result<Vec<Multiaddr>, _> = bootstrap.iter().map(|address| address.parse()).collect();
        let (net, events) = Net::start(NetConfig {
            listen: vec![],
            bootstrap: bootstrap.map_err(error)?,
            mdns: false,
            dht_server: false,
            wanted_peers: WANTED_PEERS,
            body_budget: BODY_BUDGET,
            ..NetConfig::new(identity::to_libp2p(&key))
        })
        .await
        .map_err(error)?;
        let advert = Advert {
            kind: Kind::Tab,
            roles: roles(threads),
            threads,
            weight: 1,
            addresses: Vec::new(),
            agent: concat!("webmesh-tab/", env!("CARGO_PKG_VERSION")).to_owned(),
            minor: version::MINOR,
        };
        let (host, handle, outputs) = TabHost::new(runner, storage);
        let node = Node::start(net, events, advert, host, outputs, Vec::new());
        let owner = sign::Keypair::from_secret(blake3::derive_key(OWNER_KEY, &secret));
        Ok(Self { node, host: handle, works: Cell::new(threads > 0), owner, running: RefCell::default() })
    }

    /// Changes the number of threads that run tasks. With 0, this tab only submits jobs.
    #[wasm_bindgen(js_name = setThreads)]
    pub async fn set_threads(&self, threads: u16) {
        self.works.set(threads > 0);
        self.node.set_capacity(threads, roles(threads)).await;
    }

    /// Dials an address; says why where it comes to nothing.
    pub async fn dial(&self, address: String) -> Result<(), JsError> {
        let address: Multiaddr = address.parse().map_err(error)?;
        self.node.net().dial(address).await.map(drop).map_err(error)
    }

    /// How many peers this tab is connected to.
    #[wasm_bindgen(getter)]
    pub fn connected(&self) -> usize {
        self.node.net().peers().len()
    }

    /// A task of a unit is done: the bytes that it gave, and where its buckets begin (a map) or nothing (a reduce).
    pub fn finished(&self, run: f64, task: u32, millis: f64, data: Vec<u8>, offsets: Option<Vec<u32>>, last: bool) {
        self.host.runs.finished(run as u64, task, millis, Bytes::from(data), offsets, last);
    }

    /// A task of a unit failed. `document` counts within the task; `cause` is one of the words of `messages.ts`.
    #[allow(clippy::too_many_arguments, reason = "JavaScript hands them over one by one")]
    pub fn failed(
        &self,
        run: f64,
        task: u32,
        millis: f64,
        document: Option<u32>,
        why: String,
        cause: &str,
        last: bool,
    ) {
        self.host.runs.failed(run as u64, task, millis, document, why, cause, last);
    }

    /// Gives the unfinished tasks of a unit back to the engine: the page has stopped the Worker that ran it.
    pub fn returned(&self, run: f64) {
        self.host.runs.returned(run as u64);
    }

    /// Takes a module that an earlier tab of this browser has kept.
    pub fn keep(&self, module: Vec<u8>) {
        let module = Bytes::from(module);
        self.host.blobs.borrow_mut().put(Hash::of(&module), module);
    }

    /// The answer to the oldest order that the storage Worker has not answered yet.
    pub fn stored(&self, head: Vec<u8>, body: Vec<u8>) {
        self.host.storage.answered(&head, Bytes::from(body));
    }

    /// The storage Worker is no more, and answers nothing.
    #[wasm_bindgen(js_name = storageBroke)]
    pub fn storage_broke(&self, why: String) {
        self.host.storage.broke(why);
    }

    /// This peer's id.
    #[wasm_bindgen(getter)]
    pub fn peer(&self) -> String {
        peer_id_of(&self.node.net().peer()).to_string()
    }

    /// What the page shows of this peer and of those it knows, as JSON.
    pub async fn status(&self) -> String {
        let members = self.node.members().await;
        let net = self.node.net();
        let links: HashMap<_, _> = net.peers().into_iter().map(|link| (link.peer, link)).collect();
        let peers: Vec<_> = members
            .into_iter()
            .map(|(peer, advert, connected)| {
                let relay = links.get(&peer).and_then(|link| link.relay).map(|relay| relay.to_string());
                let quiet = net.silence(&peer).map(|silence| silence.as_millis() as u64);
                json!({
                    "peer": peer_id_of(&peer).to_string(),
                    "kind": advert.kind.name(),
                    "roles": advert.roles,
                    "threads": advert.threads,
                    "agent": advert.agent,
                    "addresses": advert.addresses,
                    "connected": connected,
                    "relay": relay,
                    "quietMillis": quiet,
                })
            })
            .collect();
        let counters: serde_json::Map<_, _> =
            net.counters().named().into_iter().map(|(name, _, value)| (name.to_owned(), value.into())).collect();
        let connected = links.len();
        json!({ "peer": self.peer(), "connected": connected, "peers": peers, "counters": counters }).to_string()
    }

    /// The signed ends of all jobs of this tab that go on, each for a node's `/job-ends`: for a tab that closes, which has
    /// no time for [`leave`](Self::leave). Its jobs go on where it stays all the same.
    #[wasm_bindgen(js_name = jobEnds)]
    pub fn job_ends(&self) -> Vec<Uint8Array> {
        let running = self.running.borrow();
        let ends = running.iter().map(|&job| {
            let outcome = Outcome::Failed(CLOSED.to_owned());
            let end = Request::Ended(self.owner.sign(&End { job, outcome }));
            Uint8Array::from(&codec::encode(&end)[..])
        });
        ends.collect()
    }

    /// Leaves in order: claims released, goodbyes said.
    pub async fn leave(&self) {
        self.node.shutdown().await;
    }
}
