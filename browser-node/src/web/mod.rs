//! The interface for JavaScript.

mod blobs;
mod host;
mod options;
mod runner;
mod sender;
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
use webmesh_node::platform;
use webmesh_protocol::membership::{Advert, Kind, Roles};
use webmesh_protocol::message::{End, Outcome, Request};
use webmesh_protocol::{Hash, JobId, codec, limits, sign, version};

use self::host::{HostHandle, TabHost};
use self::runner::Runner;
use self::storage::StorageWorker;

/// Number of connected peers below which a tab dials known ones: each connection takes a part of a megabyte.
const WANTED_PEERS: usize = 6;
/// Memory limit in bytes for frames, in each direction: two of the largest packs. Larger frames are handled one at a
/// time.
const BODY_BUDGET: usize = 2 * limits::PACK_BYTES;

/// This tab as a peer of the mesh.
#[wasm_bindgen]
pub struct Tab {
    node: Node,
    host: HostHandle,
    /// Whether this tab runs tasks.
    works: Cell<bool>,
    /// Key that signs the jobs submitted here.
    owner: sign::Keypair,
    /// Jobs submitted here that have not ended.
    running: RefCell<BTreeSet<JobId>>,
}

/// Context for deriving the owner's key, which belongs to the person, from the peer's, which belongs to the tab: a
/// browser stores one secret for both.
const OWNER_KEY: &str = "webmesh 1 a tab's key as an owner of jobs";

/// Reason given for the end of a closing tab's jobs. A tab cannot know whether it is being closed or reloaded.
const CLOSED: &str = "its submitter closed or reloaded the tab that it was submitted in";

/// The roles of a tab with this number of threads. It shuffles only in meshes without a native shuffler.
fn roles(threads: u16) -> Roles {
    Roles { worker: threads > 0, shuffler: threads > 0, ..Roles::default() }
}

fn error(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

/// JSON as text. Unlike `to_string`, it brings no code for indented JSON into the program.
fn json_text(value: &serde_json::Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Logs an internal error to the console.
fn log_error(text: &str) {
    web_sys::console::error_1(&text.into());
}

#[wasm_bindgen]
impl Tab {
    /// Joins the mesh through peers with known addresses. `identity` has 32 bytes; `threads` may be zero.
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

    /// Dials an address; rejects with the reason if that fails.
    pub async fn dial(&self, address: String) -> Result<(), JsError> {
        let address: Multiaddr = address.parse().map_err(error)?;
        self.node.net().dial(address).await.map(drop).map_err(error)
    }

    /// The number of peers connected to this tab.
    #[wasm_bindgen(getter)]
    pub fn connected(&self) -> usize {
        self.node.net().peers().len()
    }

    /// A unit runs as soon as a Worker is free: its module is compiled.
    pub fn began(&self, run: f64) {
        self.host.runs.began(run as u64);
    }

    /// A task of a unit has finished: its output, and the offsets of its buckets (for a map) or none (for a reduce).
    pub fn finished(&self, run: f64, task: u32, millis: f64, data: Vec<u8>, offsets: Option<Vec<u32>>, last: bool) {
        self.host.runs.finished(run as u64, task, millis, Bytes::from(data), offsets, last);
    }

    /// A task of a unit failed. `document` is an index within the task; `cause` is a `Cause` of `messages.ts`.
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

    /// Returns the unfinished tasks of a unit to the engine: the page has stopped the Worker that ran it.
    pub fn returned(&self, run: f64) {
        self.host.runs.returned(run as u64);
    }

    /// Takes a module that an earlier tab of this browser stored.
    pub fn keep(&self, module: Vec<u8>) {
        let module = Bytes::from(module);
        self.host.blobs.borrow_mut().put(Hash::of(&module), module);
    }

    /// The answer to the oldest order that the storage Worker has not answered.
    pub fn stored(&self, head: Vec<u8>, body: Vec<u8>) {
        self.host.storage.answered(&head, Bytes::from(body));
    }

    /// The storage Worker has failed, and answers no more.
    #[wasm_bindgen(js_name = storageFailed)]
    pub fn storage_failed(&self, why: String) {
        self.host.storage.broke(why);
    }

    /// This peer's id.
    #[wasm_bindgen(getter)]
    pub fn peer(&self) -> String {
        peer_id_of(&self.node.net().peer()).to_string()
    }

    /// The status of this peer and of those it knows, as JSON, for the page.
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
        json_text(&json!({ "peer": self.peer(), "connected": connected, "peers": peers, "counters": counters }))
    }

    /// Ends all running jobs of this tab, which is being closed, and returns their signed ends, each to be sent to a
    /// node's `/job-ends`: the tab has no time for [`leave`](Self::leave) to announce them.
    #[wasm_bindgen(js_name = endJobs)]
    pub fn end_jobs(&self) -> Vec<Uint8Array> {
        let running = self.running.borrow();
        let ends = running.iter().map(|&job| {
            let signed = self.owner.sign(&End { job, outcome: Outcome::Failed(CLOSED.to_owned()) });
            // This tab must announce the same end: peers keep the first one that reaches them.
            let (node, end) = (self.node.clone(), signed.clone());
            platform::spawn(async move { node.bring_end(end).await });
            Uint8Array::from(&codec::encode(&Request::Ended(signed))[..])
        });
        ends.collect()
    }

    /// Leaves in order: releases claims and says goodbye.
    pub async fn leave(&self) {
        self.node.shutdown().await;
    }
}
