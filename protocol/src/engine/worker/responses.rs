//! Handling of the answers to a worker's requests.

use super::job::{WorkerJob, owner_of};
use super::{RETRY_INPUT, SUMMARY_AGAIN, SUMMARY_TROUBLE, Worker};
use crate::engine::core::Core;
use crate::engine::pending::{Answer, PushRequest, WorkerRequest};
use crate::engine::shuffler::Shuffler;
use crate::id::PeerKey;
use crate::limits;
use crate::message::Response;
use crate::part::{ShardRef, StageId, StageRef, TaskRef};
use crate::ranges::numbers_in_bytes;

impl Worker {
    /// Handles the answer to a request of this worker's, or its failure.
    pub(in crate::engine) fn on_response(
        &mut self,
        core: &mut Core,
        shuffler: &Shuffler,
        request: WorkerRequest,
        answer: Answer,
    ) {
        match request {
            WorkerRequest::Summary(shard) => self.on_summary(core, shard, answer),
            WorkerRequest::Claims { shard, from } => self.on_standings(core, shard, from, answer),
            WorkerRequest::Push(push) => self.on_pushed(core, &push, &answer),
            WorkerRequest::Output(task) => self.on_output_answer(core, task, &answer),
            WorkerRequest::Bucket(fetch) => self.on_bucket_answer(core, shuffler, fetch, answer),
        }
    }

    /// Handles an owner's answer to a push.
    fn on_pushed(&mut self, core: &mut Core, push: &PushRequest, answer: &Answer) {
        let &PushRequest { stage: StageRef { job, stage }, owner, epoch, ref tasks } = push;
        let Some(open) = self.jobs.get_mut(&job) else { return };
        // Under a newer epoch everything was sent again, so this answer is outdated.
        if open.epoch.number != epoch {
            return;
        }
        let Some(work) = open.stages.get_mut(stage.index()) else { return };
        if matches!(answer, Ok((Response::Ok, _))) {
            for task in work.outbox.acknowledged(owner, tasks) {
                work.task_finished(core.now, task);
            }
        } else {
            work.outbox.refused(core.now, owner, tasks);
            // The owner may be lost, or the job over: the authority knows.
            work.ask_summary_within(core.now, SUMMARY_TROUBLE);
        }
    }

    /// Handles the authority's answer to a result.
    fn on_output_answer(&mut self, core: &mut Core, of: TaskRef, answer: &Answer) {
        let TaskRef { job, stage, task } = of;
        let Some(open) = self.jobs.get_mut(&job).filter(|j| stage.index() < j.stages.len()) else { return };
        match answer {
            Ok((Response::Ok, _)) => {
                open.drop_output(stage, task);
                open.stages[stage.index()].task_finished(core.now, task);
            }
            Ok((Response::Missing | Response::Refused(_), _)) => {
                open.drop_output(stage, task);
                open.stages[stage.index()].task_failed(core.now, task, RETRY_INPUT);
                open.stages[stage.index()].ask_summary(core);
            }
            _ => {
                if let Some(output) = open.outputs.get_mut(&(stage, task)) {
                    output.send_at = core.now + RETRY_INPUT;
                    open.outputs_at = open.outputs_at.min(output.send_at);
                }
            }
        }
    }

    /// Handles the summary of a shard from the home, or the failure of the request.
    fn on_summary(&mut self, core: &mut Core, of: ShardRef, answer: Answer) {
        let ShardRef { job, stage, shard } = of;
        let Some(open) = self.jobs.get_mut(&job) else { return };
        let Some(work) = open.stages.get_mut(stage.index()) else { return };
        work.answered(shard);
        let Ok((Response::Summary(summary), body)) = answer else { return };
        if summary.reopened < open.reopened {
            // It was sent before tasks were reopened.
            return work.ask_summary(core);
        }
        let reads: Vec<StageId> = open.manifest.stages[stage.index()].reads().collect();
        // Under another epoch, other owners may have sealed them than those that this peer knows.
        let is_of_this_epoch = summary.epoch.peek(|e| e.number) == Ok(open.epoch.number);
        if !reads.is_empty() && !is_of_this_epoch {
            work.ask_summary_within(core.now, SUMMARY_AGAIN);
        }
        if summary.reopened > open.reopened {
            open.reopened = summary.reopened;
            // It describes one stage; the reopened tasks may be another's.
            open.stages.iter_mut().filter(|s| s.id.stage != stage).for_each(|s| s.ask_summary(core));
        }
        let told = summary.proven.iter().flatten().copied();
        let room = limits::JOB_WORKERS.saturating_sub(open.proven.len());
        open.proven.extend(told.take(room));
        let WorkerJob { stages, rings, proven, .. } = open;
        let Some(work) = stages.get_mut(stage.index()) else { return };
        let owner_of = |port: usize, partition| {
            let from = reads.get(port).filter(|_| is_of_this_epoch)?;
            owner_of(rings, *from, partition)
        };
        let done = numbers_in_bytes(&body, 0);
        work.on_summary(core, shard, &summary, proven, done, owner_of);
        let late = work.table.late_workers();
        for other in stages.iter_mut().filter(|s| s.id.stage != stage) {
            other.table.suspect(&late);
        }
    }

    /// Handles the claims in a shard that this worker entered, or the failure of the request.
    fn on_standings(&mut self, core: &Core, of: ShardRef, from: PeerKey, answer: Answer) {
        let ShardRef { job, stage, shard } = of;
        let Some(stage) = self.stage(StageRef { job, stage }) else { return };
        match answer {
            Ok((Response::Claims(standings), _)) => stage.on_standings(core, shard, from, Some(&standings)),
            _ => stage.on_standings(core, shard, from, None),
        }
    }
}
