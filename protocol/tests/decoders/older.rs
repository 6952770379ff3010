//! The encodings that peers of earlier versions read and write: types may change, these bytes may not.

use serde::Serialize;
use webmesh_protocol::codec::encode;
use webmesh_protocol::epoch::Generations;
use webmesh_protocol::manifest::{Sink, Source};
use webmesh_protocol::message::{
    Accept, Attempts, BucketPiece, Commit, Output, Push, PushEntry, Request, Sealed, Seals,
};
use webmesh_protocol::ranges::Run;
use webmesh_protocol::{
    Generation, Hash, JobId, PartitionId, PeerKey, ShardId, ShardRef, ShuffleShape, StageId, TaskId,
};

const JOB: JobId = JobId([1; 32]);
const HASH: Hash = Hash([2; 32]);
const STAGE: StageId = StageId(2);
const TASK: TaskId = TaskId(70_000);
const PARTITION: PartitionId = PartitionId(255);

fn cbor(value: &impl Serialize) -> String {
    hex::encode(cbor4ii::serde::to_vec(Vec::new(), value).unwrap())
}

#[test]
fn requests_are_encoded_as_before_their_numbers_had_types() {
    let (job, stage, epoch, task, partition) = (JOB, STAGE, 300, TASK, PARTITION);
    let shard = ShardRef { job, stage, shard: ShardId(1000) };
    let runs = vec![Run::new(TASK, 1)];
    let attempts = Attempts { runs, digests: vec![3; 32].into(), authors: vec![(PeerKey([4; 32]), 1)] };
    let entries = vec![PushEntry { task, digest: HASH, segments: vec![(partition, 9)] }];
    let partitions = vec![partition];
    let commit = Commit { job, stage, epoch, opened: 5, partitions, attempts: attempts.clone(), bytes: 6 };
    let requests = [
        Request::Summary(shard),
        Request::Claims(shard),
        Request::Push(Push { job, stage, epoch, replica: true, entries, authors: vec![] }),
        Request::Commit(commit),
        Request::Accept(Accept { job, stage, epoch, attempts, width: Some(4) }),
        Request::Sealed(Sealed { job, stage, epoch, partition, root: HASH }),
        Request::Pull { job, stage, partition, from: task },
        Request::Held { job, stage, partition, from: task },
        Request::Bucket(BucketPiece { job, stage, task, width: 4, root: HASH, from: 7 }),
        Request::Output(Output { job, stage, task, digest: HASH, root: Some(HASH), further: vec![HASH] }),
    ];
    let before = [
        "e936410921f4f557e3721829bde9d3e48802753cc04bdb58bbf5c752ab84d4da",
        "d44d416d3e1aa5cdcb4e1c948f38adc991ad530cd9b99775bbf3c7d888f8b465",
        "ceb302b60a9c9cb0e50d199433b04754e0912ccb683c45c68162c9e4175f96a4",
        "d65ca8867ed65fcc30a07d499209055e7dc312561d6ea6d638950ef04c25ed5a",
        "dfeba3a5167f575cb52c2a6d035a128b13c25f5cf1d284f0fde72328898b9b5d",
        "8c519864311a85d0c4a3f221bee558c09bc5e01577e81b0203fec510f34d8575",
        "eff922df38abfda2fcb6ded5517d41747552193f8c5c30c9f4ae79f225ca4a25",
        "a6e7f79ba527192b8405aa5ea56f52c7d34b1cb2989106bebf2046220397b8bd",
        "042e95de0070d90ab5f493170e2a60b63502d70556c237e046666263dd95d5ea",
        "f4d974fb898c79d086e85121b3a03b774132e27d66f6e45eaacf1f235afffe5f",
    ];
    for (request, before) in requests.iter().zip(before) {
        assert_eq!(Hash::of(&encode(request)).to_string(), before, "{request:?}");
    }
}

#[test]
fn parts_of_manifests_epochs_and_gossip_are_encoded_as_before_their_numbers_had_types() {
    assert_eq!(cbor(&Source::Shuffle { stage: STAGE }), "a16753687566666c65a165737461676502");
    assert_eq!(
        cbor(&Sink::Shuffle(ShuffleShape { partitions: 255, buckets: 510 })),
        "a16753687566666c65a26a706172746974696f6e7318ff676275636b6574731901fe"
    );
    assert_eq!(
        cbor(&Generations { reads: Generation(300), writes: Generation(70_000) }),
        "a265726561647319012c667772697465731a00011170"
    );
    let seals = Seals { job: JOB, stage: STAGE, epoch: 300, width: 4, seals: vec![(PARTITION, HASH)] };
    let (job, root) = ("01".repeat(32), "02".repeat(32));
    let before =
        format!("a5636a6f625820{job}657374616765026565706f636819012c65776964746804657365616c73818218ff5820{root}");
    assert_eq!(cbor(&seals), before);
}
