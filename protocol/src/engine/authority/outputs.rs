//! Results of the last stage on their way to this peer's disk.

use bytes::Bytes;

use super::job::{Job, Stage};
use crate::engine::core::Core;
use crate::id::{Hash, PeerKey};
use crate::io::{StoreAction, Token};
use crate::manifest::Sink;
use crate::message::{Output, Response};

/// An output being written to this peer's disk and to the log.
#[derive(Debug)]
pub(super) struct Storing {
    pub(super) digest: Hash,
    pub(super) author: PeerKey,
    /// It was computed from input that has been revoked since.
    pub(super) is_stale: bool,
    /// The requests that await the answer.
    pub(super) tokens: Vec<Token>,
}

impl Job {
    /// Takes a result; `None` if it will be answered once the result is on disk and in the log.
    pub(super) fn take_output(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        token: Token,
        output: &Output,
        body: Bytes,
    ) -> Option<Response> {
        let &Output { stage, task, digest, .. } = output;
        if self.ending {
            return Some(Response::Missing);
        }
        if self.awaits_epoch() {
            return Some(Response::Busy);
        }
        self.note_worker(from);
        self.failures.succeeded(&from);
        let Some(Stage { plan: of, done, .. }) = self.stages.get(stage.index()) else { return Some(Response::Missing) };
        if of.sink != Sink::Collect || task.0 >= of.tasks || body.len() as u64 > of.limits.output {
            return Some(Response::Refused("the job has no such result".to_owned()));
        }
        if done.contains(task) {
            return Some(Response::Ok);
        }
        let mut roots = output.roots();
        for read in of.reads() {
            let decided = self.ledger.state().stage(read)?;
            let place = decided.split().and_then(|split| split.place(task));
            let root = roots.next();
            match place.and_then(|place| decided.sealed(place.partition)) {
                // The seal may still be on its way here; the worker sends the result again.
                None => return Some(Response::Busy),
                Some(sealed) if root != Some(sealed) => return Some(Response::Missing),
                Some(_) => {}
            }
        }
        if Hash::of(&body) != digest {
            return Some(Response::Refused("the result does not match its digest".to_owned()));
        }
        let storing = &mut self.stages[stage.index()].storing;
        let fresh = !storing.contains_key(&task);
        let new = Storing { digest, author: from, is_stale: false, tokens: Vec::new() };
        let waiting = storing.entry(task).or_insert(new);
        if waiting.is_stale {
            // The revoked result is still being written. A second write for the task could finish before it.
            return Some(Response::Busy);
        }
        waiting.tokens.push(token);
        if fresh {
            core.act(StoreAction::StoreOutput { job: self.id, task, bytes: body });
        }
        None
    }
}
