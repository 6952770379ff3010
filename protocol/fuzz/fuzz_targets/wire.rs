//! Every type that is sent: decoding does no harm, and a decoded value survives a round trip.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use webmesh_protocol::codec::{Wire, decode, encode};
use webmesh_protocol::epoch::Epoch;
use webmesh_protocol::manifest::Manifest;
use webmesh_protocol::message::{End, Gossip, Request, Response};
use webmesh_protocol::pack::{Index, Layout};
use webmesh_protocol::ranges::Run;
use webmesh_protocol::{ShardId, TaskId};

fn round_trip<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = decode(bytes).ok()?;
    assert_eq!(decode::<T>(&encode(&value)).as_ref(), Ok(&value));
    Some(value)
}

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind {
        0 => drop(round_trip::<Gossip>(bytes)),
        1 => drop(round_trip::<Request>(bytes)),
        2 => drop(round_trip::<Response>(bytes)),
        3 => drop(round_trip::<Epoch>(bytes)),
        4 => drop(round_trip::<End>(bytes)),
        5 => {
            let Some(manifest) = round_trip::<Manifest>(bytes) else { return };
            for stage in &manifest.stages {
                assert_eq!(stage.shard_blocks(ShardId(stage.shards - 1)).end, stage.blocks());
                assert_eq!(stage.shard_of_block(stage.blocks() - 1), ShardId(stage.shards - 1));
                assert_eq!(stage.tasks_of_blocks(0..stage.blocks()), Run::new(TaskId(0), stage.tasks));
            }
        }
        6 => {
            let Some(index) = round_trip::<Index>(bytes) else { return };
            let layout = Layout::new(index);
            for task in [0, layout.tasks() / 2, layout.tasks().saturating_sub(1)] {
                assert_eq!(layout.documents_of(TaskId(task)).is_some(), task < layout.tasks());
            }
        }
        _ => {}
    }
});
