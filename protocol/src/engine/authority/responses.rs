//! Handling of the answers to an authority's requests.

use std::time::Duration;

use super::{Authority, CANCEL_AGAIN, CANCEL_TRIES, LOST_AFTER, RETRY};
use crate::engine::core::Core;
use crate::engine::pending::{AcceptRequest, Answer, AuthorityRequest};
use crate::id::{JobId, PeerKey};
use crate::io::RequestError;
use crate::message::{Accept, Response};
use crate::time::Time;

impl Authority {
    /// Handles the answer to a request of this authority's, or its failure.
    pub(in crate::engine) fn on_response(&mut self, core: &Core, request: AuthorityRequest, answer: &Answer) {
        match request {
            AuthorityRequest::Cancel(job) => self.on_cancel_answer(core.now, job, answer.is_ok()),
            AuthorityRequest::Watch { job, peer } => {
                self.on_watched(core, job, peer, answer.as_ref().err());
            }
            AuthorityRequest::Accept(accept) => {
                self.on_accept_answer(core, accept, matches!(answer, Ok((Response::Ok, _))));
            }
        }
    }

    /// Handles a shuffler's answer to acceptances; `taken` is whether it acknowledged them.
    fn on_accept_answer(&mut self, core: &Core, accept: AcceptRequest, taken: bool) {
        let AcceptRequest { to, accept: Accept { job: id, stage, epoch, attempts, .. } } = accept;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(shuffle) = job.stages.get_mut(stage.index()).and_then(|s| s.shuffle.as_mut()) else { return };
        if taken {
            shuffle.tries.remove(&to);
        } else if epoch >= shuffle.since && shuffle.ring.owners().contains(&to) {
            let tries = shuffle.tries.entry(to).or_default();
            *tries += 1;
            let is_lost = *tries >= LOST_AFTER;
            shuffle.accept_failed.push((core.now + RETRY, to, attempts));
            if is_lost {
                job.miss(
                    core.now,
                    to,
                    Duration::ZERO,
                    format!("it acknowledged none of {LOST_AFTER} messages in a row"),
                );
            }
        }
    }

    /// Handles a shuffler's answer to a probe, or the failure of the probe.
    fn on_watched(&mut self, core: &Core, id: JobId, peer: PeerKey, failure: Option<&RequestError>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match failure {
            None => job.watched(core.now, peer),
            Some(RequestError::Unreachable) => job.is_unreachable(core, &peer),
            Some(_) => {}
        }
    }

    /// Handles the answer of another home that was told of a job's end; `heard` is whether it acknowledged that.
    fn on_cancel_answer(&mut self, now: Time, id: JobId, heard: bool) {
        self.ends.retain_mut(|cancelled| {
            if cancelled.job == id {
                cancelled.send_at = now + CANCEL_AGAIN;
            }
            cancelled.job != id || (!heard && cancelled.tries < CANCEL_TRIES)
        });
    }
}
