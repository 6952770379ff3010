//! Handling of the answers to an authority's requests.

use std::time::Duration;

use super::Authority;
use crate::engine::core::Core;
use crate::engine::pending::{AcceptRequest, Answer, AuthorityRequest};
use crate::id::{JobId, PeerKey};
use crate::io::RequestError;
use crate::message::{Accept, Response};

/// Pause before acceptances that were not acknowledged are sent again.
const RETRY: Duration = Duration::from_millis(300);
/// Acceptances in a row that a shuffler may leave unacknowledged before it counts as lost.
const LOST_AFTER: u32 = 10;

impl Authority {
    /// Handles the answer to a request of this authority's, or its failure.
    pub(in crate::engine) fn on_response(&mut self, core: &Core, request: AuthorityRequest, answer: &Answer) {
        match request {
            AuthorityRequest::Cancel(job) => self.on_cancel_answer(core.now, job, answer.is_ok()),
            AuthorityRequest::Offer(job) => {
                let is_refused = matches!(answer, Ok((Response::Busy, _)));
                if let Some(job) = self.jobs.get_mut(&job).filter(|_| is_refused) {
                    job.refused += 1;
                }
            }
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
                job.replace_after(
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
            None => job.note_answer(core.now, peer),
            Some(RequestError::Unreachable) => job.on_unreachable(core, &peer),
            Some(_) => {}
        }
    }
}
