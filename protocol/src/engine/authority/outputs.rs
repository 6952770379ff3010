//! Results of the last stage on their way to this peer's disk.

use bytes::Bytes;

use super::Authority;
use super::job::{Job, Stage};
use crate::engine::core::Core;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{NotStored, StoreAction, Token};
use crate::manifest::Sink;
use crate::message::{AuthoredAttempt, Cause, Failure, Outcome, Output, Response, cut_text};
use crate::part::{StageId, TaskId};

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

impl Authority {
    /// Handles the result of a collecting stage's task.
    pub(in crate::engine) fn on_output(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        token: Token,
        output: &Output,
        body: Bytes,
    ) {
        let answer = match self.jobs.get_mut(&output.job) {
            None => Some(Response::Missing),
            Some(job) => job.take_output(core, from, token, output, body),
        };
        if let Some(answer) = answer {
            core.respond(token, answer);
        }
    }

    /// Called when a result was written to disk, or could not be.
    pub(in crate::engine) fn on_stored(
        &mut self,
        core: &mut Core,
        id: JobId,
        task: TaskId,
        result: Result<(), NotStored>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let found = StageId::enumerate(&mut job.stages).find(|(_, stage)| stage.storing.contains_key(&task));
        let Some((number, stage)) = found else { return };
        let Some(storing) = stage.storing.get_mut(&task) else { return };
        match result {
            // It was computed from input that was revoked meanwhile; another result may follow.
            Ok(()) if storing.is_stale => {
                stage.storing.remove(&task);
            }
            Ok(()) => {
                let output = AuthoredAttempt { task, digest: storing.digest, author: storing.author };
                job.outputs.entry(number).or_default().push(output);
            }
            Err(NotStored::Failed(why)) => {
                std::mem::take(&mut storing.tokens).into_iter().for_each(|t| core.respond(t, Response::Busy));
                job.end_with(Outcome::Failed(format!("the result cannot be stored: {why}")), None);
            }
            Err(NotStored::Malformed(why)) => {
                let Some(storing) = stage.storing.remove(&task) else { return };
                let why = cut_text(why);
                let refused = Response::Refused(why.clone());
                storing.tokens.into_iter().for_each(|token| core.respond(token, refused.clone()));
                if !storing.is_stale {
                    // Either its worker is to blame or the job's code, like for any failed attempt.
                    let failure = Failure { job: id, stage: number, task, document: None, why, cause: Cause::Job };
                    self.on_failure(core, storing.author, failure);
                }
            }
        }
    }
}

impl Job {
    /// Takes a result; `None` if it will be answered once the result is on disk and in the log.
    fn take_output(
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
        if !self.is_worker(core, &from) {
            // Its advert may still be on its way here.
            return Some(Response::Busy);
        }
        self.note_worker(core, from);
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
