//! What the engine needs done, done in a tab.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use send_wrapper::SendWrapper;
use tokio::sync::mpsc;
use webmesh_node::driver::{Gone, HOST_OUTPUTS, Host, HostOutput};
use webmesh_node::platform;
use webmesh_protocol::PeerKey;
use webmesh_protocol::io::{Action, Event, Token};
use webmesh_protocol::message::Response;

use super::blobs::Blobs;
use super::runner::{Runner, Runs};

/// Memory of all tasks that run at a time: of the four gibibytes or so after which browsers end a tab.
const TASK_MEMORY: u64 = 2 << 30;

/// The way from the host to the driver. Where it is full, what is said waits; there is no thread that could.
#[derive(Clone)]
pub(super) struct Sender(mpsc::Sender<HostOutput>);

impl Sender {
    pub(super) fn tell(&self, output: HostOutput) {
        let sender = self.0.clone();
        platform::spawn(async move {
            // Fails only when the driver has ended.
            let _ = sender.send(output).await;
        });
    }
}

/// The host of a tab. There is one thread, which `SendWrapper` vouches for.
pub(super) struct TabHost(SendWrapper<Inner>);

struct Inner {
    blobs: Rc<RefCell<Blobs>>,
    runs: Rc<Runs>,
    sender: Sender,
}

impl TabHost {
    pub(super) fn new(runner: Runner) -> (Self, Rc<Runs>, mpsc::Receiver<HostOutput>) {
        let (sender, receiver) = mpsc::channel(HOST_OUTPUTS);
        let sender = Sender(sender);
        let blobs = Rc::new(RefCell::new(Blobs::default()));
        let runs = Rc::new(Runs::new(runner, blobs.clone(), sender.clone()));
        let inner = Inner { blobs, runs: runs.clone(), sender };
        (Self(SendWrapper::new(inner)), runs, receiver)
    }
}

impl Host for TabHost {
    fn act(&mut self, action: Action) {
        let Inner { blobs, runs, sender } = &*self.0;
        let respond = |token, response| HostOutput::Respond { token, response, body: Bytes::new() };
        match action {
            Action::Run(work) => runs.run(*work),
            Action::StopRuns { job } => runs.stop(job),
            Action::LoadBlob { hash } => {
                let bytes = blobs.borrow_mut().get(&hash);
                sender.tell(HostOutput::Event(Event::BlobLoaded { hash, bytes }));
            }
            Action::ServeBlob { token, hash } => sender.tell(match blobs.borrow_mut().get(&hash) {
                Some(body) => HostOutput::Respond { token, response: Response::Body, body },
                None => respond(token, Response::Missing),
            }),
            Action::StoreBlob { hash, bytes, .. } => blobs.borrow_mut().put(hash, bytes),
            // It has not the role of a shuffler, and submits nothing.
            Action::ServeBucket { token, .. } | Action::ServePull { token, .. } => {
                sender.tell(respond(token, Response::Missing));
            }
            Action::ReadBucket { read, .. } => {
                let records = Err("this tab holds no segments".to_owned());
                sender.tell(HostOutput::Event(Event::BucketRead { read, records }));
            }
            Action::Stage { push, .. } => {
                let why = "this tab holds no segments".to_owned();
                sender.tell(HostOutput::Event(Event::StoreFailed { job: push.job, why }));
            }
            Action::StoreOutput { job, task, .. } => {
                let result = Err("this tab keeps no results".to_owned());
                sender.tell(HostOutput::Event(Event::OutputStored { job, task, result }));
            }
            Action::DropSegment { .. } | Action::DropJob { .. } => {}
            // The driver keeps these to itself.
            Action::Publish { .. }
            | Action::Subscribe { .. }
            | Action::Request { .. }
            | Action::Respond { .. }
            | Action::Notify(_) => {}
        }
    }

    fn compile(&mut self, _: Token, _: PeerKey, _: String, _: Bytes, _: Gone) -> bool {
        false
    }

    fn task_memory(&self) -> u64 {
        TASK_MEMORY
    }

    fn is_overloaded(&self) -> bool {
        false
    }
}
