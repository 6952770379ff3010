//! Handling of the answers to a shuffler's requests.

use super::shuffle::Shuffle;
use super::{RETRY, Shuffler};
use crate::engine::core::Core;
use crate::engine::pending::{Answer, ShufflerRequest};
use crate::message::Response;
use crate::part::{PartitionRef, StageRef};

impl Shuffler {
    /// Handles the answer to a request of this shuffler's, or its failure.
    pub(in crate::engine) fn on_response(&mut self, core: &mut Core, request: ShufflerRequest, answer: Answer) {
        let is_taken = matches!(answer, Ok((Response::Ok, _)));
        match request {
            // A holder's list of attempts of a partition, or that it has none.
            ShufflerRequest::Held { partition, epoch } => {
                if let Some(shuffle) = self.get_for_more(partition.stage_ref(), epoch, 0) {
                    shuffle.on_held_list(core, partition.partition, answer);
                }
            }
            // A holder's segments of a partition, or that it has none.
            ShufflerRequest::Pull { partition, epoch } => {
                let bytes = answer.as_ref().map_or(0, |(_, body)| body.len());
                if let Some(shuffle) = self.get_for_more(partition.stage_ref(), epoch, bytes) {
                    shuffle.on_pulled(core, partition.partition, answer);
                }
            }
            ShufflerRequest::Replica { stage, request } => {
                if let Some(shuffle) = self.get_mut(stage) {
                    shuffle.on_copy_answer(core.now, request, &answer);
                    shuffle.seal_complete_partitions(core);
                }
            }
            ShufflerRequest::Commit(_) | ShufflerRequest::Sealed(_) if is_taken => {}
            ShufflerRequest::Commit(commit) => {
                if let Some(shuffle) = self.get_mut(commit.stage_ref()) {
                    shuffle.commits_failed.push((core.now + RETRY, commit));
                }
            }
            ShufflerRequest::Sealed(PartitionRef { job, stage, partition }) => {
                let shuffle = self.get_mut(StageRef { job, stage });
                if let Some(shuffle) = shuffle.filter(|s| s.sealed.contains_key(&partition)) {
                    shuffle.seals_due.insert(partition, core.now + RETRY);
                }
            }
        }
    }

    /// The shuffle if it may take this many more bytes and still has the epoch in which they were requested.
    fn get_for_more(&mut self, stage: StageRef, epoch: u32, bytes: usize) -> Option<&mut Shuffle> {
        let has_room = self.has_room(stage, bytes);
        self.get_mut(stage).filter(|s| has_room && s.epoch.number == epoch)
    }
}
