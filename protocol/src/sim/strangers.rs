//! Peers that claim blocks of every job and run nothing. They have no engine: what they say reaches every subscriber at
//! once, which is worse than any real network.

use std::time::Duration;

use super::gossip::number_of;
use super::rng::draw;
use super::scenario::{Fault, Lie};
use super::world::{SimEvent, World};
use crate::id::{Hash, PeerKey};
use crate::io::Event;
use crate::limits;
use crate::message::{Claim, Gossip, Hold, Topic};
use crate::part::{ShardId, ShardRef, StageId};
use crate::ranges::Run;

/// Time in which a stranger's message reaches all subscribers.
const REACHES_ALL: Duration = Duration::from_millis(10);

impl World {
    /// The strangers of a fault publish their next messages, of which they published `said` before.
    pub(super) fn on_strangers(&mut self, fault: usize, said: u32) {
        let Fault::Strangers { count, every, until, lie } = self.scenario.faults[fault].1 else { return };
        if self.now >= until.as_micros() as u64 {
            return;
        }
        for number in 0..count {
            let from = PeerKey(Hash::of_parts("webmesh 1 stranger", &[&number.to_le_bytes()]).0);
            for claim in self.lies(lie, number, said + 1) {
                self.spread(from, &claim);
            }
        }
        self.after(every, SimEvent::Strangers(fault, said + 1));
    }

    /// What a stranger claims in each stage of the running jobs, in a shard of its own.
    fn lies(&self, lie: Lie, number: u32, message: u32) -> Vec<Claim> {
        let mut claims = Vec::new();
        for fate in self.oracle.fates.iter().filter(|fate| fate.ended.is_none()) {
            let Some(job) = fate.id else { continue };
            let last = fate.plan.stages().len() - 1;
            for (stage, mut plan) in StageId::enumerate(fate.plan.described_stages()) {
                if stage.index() == last && last > 0 {
                    let Some(split) = fate.split() else { continue };
                    plan = plan.settled(&split);
                }
                let shard = ShardId((number % u32::from(plan.shards)) as u16);
                let blocks = plan.shard_blocks(shard);
                let len = (blocks.end - blocks.start).min(limits::CLAIM_BASE);
                // Consecutive strangers hold consecutive blocks, until all are held.
                let place = (number / u32::from(plan.shards) * len) % (blocks.end - blocks.start - len + 1).max(1);
                let run = Run::new(blocks.start + place, len);
                let hold = Hold { run, term: 0, speculative: false, settled: true };
                let all = Run::new(blocks.start, blocks.end - blocks.start);
                let ShardRef { job, stage, shard } = crate::part::StageRef { job, stage }.shard(shard);
                claims.push(match lie {
                    Lie::Holds => {
                        Claim { job, stage, shard, number: message, holds: vec![hold], done: vec![], finished: 0 }
                    }
                    Lie::Done => Claim {
                        job,
                        stage,
                        shard,
                        number: message,
                        holds: if message % 2 == 1 { vec![hold] } else { vec![] },
                        done: if message % 2 == 1 { vec![] } else { vec![all] },
                        finished: all.len,
                    },
                });
            }
        }
        claims
    }

    fn spread(&mut self, from: PeerKey, claim: &Claim) {
        let topic = number_of(Topic::of_shard(claim.shard_ref()));
        for peer in 0..self.peers.len() as u32 {
            if !self.peers[peer as usize].router.listens(topic) {
                continue;
            }
            let message = Gossip::Claims(vec![claim.clone()]);
            let late = draw(&[u64::from(claim.number), u64::from(peer), u64::from(from.0[0])]) % 1024;
            let at = REACHES_ALL * late as u32 / 1024;
            self.after(at, SimEvent::Event(peer, Box::new(Event::Gossip { from, message })));
        }
    }
}
