//! Tasks that this peer tries because they failed at other workers and the job is its own.

use super::StageWork;
use crate::engine::core::Core;
use crate::part::TaskId;

/// Tasks that wait for being tried. One failure that is confirmed ends the job, so more are of little use.
const TO_CONFIRM: usize = 16;

impl StageWork {
    /// Notes that this peer has to try a task.
    pub(in crate::engine) fn confirm(&mut self, task: TaskId) {
        if self.to_confirm.len() < TO_CONFIRM {
            self.to_confirm.insert(task);
        }
    }

    /// Claims the blocks of tasks to confirm whose input is here, whether or not other workers hold them. Returns
    /// whether there are any.
    pub(super) fn claim_to_confirm(&mut self, core: &Core) -> bool {
        let mut claimed = false;
        for task in std::mem::take(&mut self.to_confirm) {
            let block = self.stage().block_of(task);
            let is_mine = self.tasks_left.contains_key(&block) || self.queue.iter().any(|&(queued, _)| queued == block);
            if is_mine || self.table.is_proven_done(block) {
                continue;
            }
            if self.is_open(core.now, block) && self.table.choose_beside(core.now, block) {
                self.queue.push_front((block, core.now));
                self.must_publish = true;
                claimed = true;
            } else {
                self.to_confirm.insert(task);
            }
        }
        claimed
    }
}
