//! Answers for workers that ask for the state of a shard (anti-entropy).

use bytes::Bytes;

use super::Authority;
use super::job::Stage;
use crate::engine::core::Core;
use crate::id::{Hash, JobId, PeerKey};
use crate::io::{NetAction, Token};
use crate::message::{Response, ShardLeft, Summary};
use crate::ranges::BitSet;

impl Authority {
    /// Handles a worker's request for what is done.
    pub(in crate::engine) fn on_summary(
        &mut self,
        core: &mut Core,
        from: PeerKey,
        token: Token,
        id: JobId,
        stage: u8,
        shard: u16,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return core.respond(token, Response::Missing) };
        job.note_worker(from);
        if job.manifest.stages.get(usize::from(stage)).is_none_or(|s| shard >= s.shards) {
            return core.respond(token, Response::Refused("the job has no such shard".to_owned()));
        }
        // The worker may not know yet that the stage has fewer shards.
        let shard = shard.min(job.stages[usize::from(stage)].plan.shards - 1);
        let peers = job.stages[usize::from(stage)].shards.enters(from, shard);
        let Stage { plan: of, done, .. } = &job.stages[usize::from(stage)];
        let blocks = of.shard_blocks(shard);
        let mut bits = BitSet::new(blocks.end - blocks.start);
        for block in blocks.clone() {
            if of.tasks_of_blocks(block..block + 1).all(|task| done.contains(task)) {
                bits.insert(block - blocks.start);
            }
        }
        let seals_of = |read: u8| -> Vec<(u16, Hash)> {
            let shuffle = job.stages[usize::from(read)].shuffle.as_ref();
            shuffle.map(|shuffle| shuffle.sealed.iter().map(|(&p, &root)| (p, root)).collect()).unwrap_or_default()
        };
        let mut seals = of.reads().map(seals_of);
        let shards = job.stages[usize::from(stage)].shards.iter().zip(0..).map(|(s, shard)| {
            let tasks = of.tasks_of_blocks(of.shard_blocks(shard));
            let left = tasks.len() as u32 - done.count_in(tasks);
            ShardLeft { blocks: left.div_ceil(of.block), workers: s.workers }
        });
        let summary = Summary {
            epoch: job.signed_epoch.clone(),
            reopened: job.reopened,
            done: job.done(),
            seals: seals.next().unwrap_or_default(),
            further: seals.collect(),
            // All its sources are divided alike.
            width: of.reads().next().and_then(|read| job.width_of(read)),
            shards: shards.collect(),
            peers,
        };
        let body = Bytes::from(bits.slice_to_bytes(0..bits.size()));
        core.act(NetAction::Respond { token, response: Response::Summary(summary), body });
    }
}
