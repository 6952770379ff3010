//! Answers for workers that ask for the state of a shard (anti-entropy).

use bytes::Bytes;

use super::Authority;
use super::job::Stage;
use crate::engine::core::Core;
use crate::id::{Hash, PeerKey};
use crate::io::{NetAction, Token};
use crate::limits;
use crate::message::{Response, ShardLeft, Summary};
use crate::part::{PartitionId, ShardId, ShardRef, StageId};
use crate::ranges::BitSet;

impl Authority {
    /// Handles a worker's request for what is done.
    pub(in crate::engine) fn on_summary(&mut self, core: &mut Core, from: PeerKey, token: Token, of: ShardRef) {
        let ShardRef { job: id, stage, shard } = of;
        let Some(job) = self.jobs.get_mut(&id) else { return core.respond(token, Response::Missing) };
        job.note_worker(core, from);
        if job.manifest.stages.get(stage.index()).is_none_or(|s| shard.0 >= s.shards) {
            return core.respond(token, Response::Refused("the job has no such shard".to_owned()));
        }
        // The worker may not know yet that the stage has fewer shards.
        let shard = shard.min(ShardId(job.stages[stage.index()].plan.shards - 1));
        let peers = job.stages[stage.index()].shards.enters(from, shard);
        let Stage { plan: of, done, .. } = &job.stages[stage.index()];
        let blocks = of.shard_blocks(shard);
        let mut bits: BitSet = BitSet::new(blocks.end - blocks.start);
        for block in blocks.clone() {
            if of.tasks_of_block(block).iter().all(|task| done.contains(task)) {
                bits.insert(block - blocks.start);
            }
        }
        let seals_of = |read: StageId| -> Vec<(PartitionId, Hash)> {
            let shuffle = job.stages[read.index()].shuffle.as_ref();
            shuffle.map(|shuffle| shuffle.sealed.iter().map(|(&p, &root)| (p, root)).collect()).unwrap_or_default()
        };
        let mut seals = of.reads().map(seals_of);
        let shards = job.stages[stage.index()].shards.iter();
        let shards = ShardId::enumerate(shards).map(|(shard, s)| {
            let tasks = of.tasks_of_blocks(of.shard_blocks(shard));
            let left = tasks.len - done.count_in(tasks);
            ShardLeft { blocks: left.div_ceil(of.block), workers: s.workers }
        });
        let of_shard = |peer: &&PeerKey| of.shards == 1 || job.stages[stage.index()].shards.is_at(peer, shard);
        // Each asker gets a different part of too many.
        let proven = job.proven.range(from..).chain(job.proven.range(..from)).filter(of_shard);
        let proven = Some(proven.take(limits::SHARD_WORKERS).copied().collect());
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
            proven,
        };
        let body = Bytes::from(bits.slice_to_bytes(0..bits.size()));
        core.act(NetAction::Respond { token, response: Response::Summary(summary), body });
    }
}
