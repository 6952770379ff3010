//! The host of a tab: carries out the engine's actions.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use send_wrapper::SendWrapper;
use tokio::sync::mpsc;
use webmesh_node::driver::{HOST_OUTPUTS, Host, HostOutput, RequesterGone};
use webmesh_protocol::PeerKey;
use webmesh_protocol::engine::Memory;
use webmesh_protocol::io::{BlobAction, BlobClass, Event, RunAction, StoreAction, Token};
use webmesh_protocol::message::Response;

use super::blobs::Blobs;
use super::runner::{Runner, Runs};
use super::sender::Sender;
use super::storage::{Bridge, StorageWorker};

/// Browsers end a tab at about four gibibytes. Tasks may take half of that, each in its own memory; the rest is for
/// this program.
const MEMORY: Memory = Memory { tasks: 2 << 30, inputs: 512 << 20, tables: 64 << 20, segments: 1 << 30 };

/// The host of a tab. There is only one thread, as `SendWrapper` asserts.
pub(super) struct TabHost(SendWrapper<Inner>);

struct Inner {
    blobs: Rc<RefCell<Blobs>>,
    runs: Rc<Runs>,
    storage: Rc<Bridge>,
    sender: Sender,
}

/// The part of the host that the page's side of a tab uses.
pub(super) struct HostHandle {
    pub(super) blobs: Rc<RefCell<Blobs>>,
    pub(super) runs: Rc<Runs>,
    pub(super) storage: Rc<Bridge>,
}

impl TabHost {
    pub(super) fn new(runner: Runner, storage: StorageWorker) -> (Self, HostHandle, mpsc::Receiver<HostOutput>) {
        let (sender, receiver) = mpsc::channel(HOST_OUTPUTS);
        let sender = Sender::new(sender);
        let blobs = Rc::new(RefCell::new(Blobs::default()));
        let runs = Rc::new(Runs::new(runner, blobs.clone(), sender.clone()));
        let storage = Rc::new(Bridge::new(storage, sender.clone()));
        let handle = HostHandle { blobs: blobs.clone(), runs: runs.clone(), storage: storage.clone() };
        (Self(SendWrapper::new(Inner { blobs, runs, storage, sender })), handle, receiver)
    }
}

impl Host for TabHost {
    fn store(&mut self, action: StoreAction) {
        let Inner { blobs, runs, storage, sender } = &*self.0;
        let kept = |hash| blobs.borrow_mut().get(hash);
        match action {
            StoreAction::Blobs(BlobAction::Load { hash }) => match kept(&hash) {
                Some(bytes) => sender.send(HostOutput::Event(Event::BlobLoaded { hash, bytes: Some(bytes) })),
                // It may be an input of one of this tab's own jobs.
                None if storage.is_started() => storage.send(action),
                None => sender.send(HostOutput::Event(Event::BlobLoaded { hash, bytes: None })),
            },
            StoreAction::Blobs(BlobAction::Serve { token, hash }) => match kept(&hash) {
                Some(body) => sender.send(HostOutput::Respond { token, response: Response::Body, body }),
                None if storage.is_started() => storage.send(action),
                None => {
                    let (response, body) = (Response::Missing, Bytes::new());
                    sender.send(HostOutput::Respond { token, response, body });
                }
            },
            StoreAction::Blobs(BlobAction::Store { hash, bytes, class }) => {
                if class == BlobClass::Module {
                    runs.keep(&hash, &bytes);
                }
                blobs.borrow_mut().put(hash, bytes);
            }
            // A tab keeps no logs, and its jobs ask for none.
            StoreAction::Persist { job, number, .. } => {
                let result = Err("a tab keeps no log of decisions".to_owned());
                sender.send(HostOutput::Event(Event::Persisted { job, number, result }));
            }
            StoreAction::Segments(_) | StoreAction::StoreOutput { .. } | StoreAction::DropJob { .. } => {
                storage.send(action);
            }
        }
    }

    fn run(&mut self, action: RunAction) {
        match action {
            RunAction::Start(work) => self.0.runs.run(*work),
            RunAction::Cancel { run } => self.0.runs.cancel(run),
            RunAction::Stop { job } => self.0.runs.stop(job),
        }
    }

    fn compile(&mut self, _: Token, _: PeerKey, _: String, _: Bytes, _: RequesterGone) -> bool {
        false
    }

    fn memory(&self) -> Memory {
        MEMORY
    }

    fn confirms(&self) -> bool {
        // Without a Worker, there is nothing to run a task in.
        false
    }

    fn is_overloaded(&self) -> bool {
        self.0.storage.is_overloaded()
    }
}
