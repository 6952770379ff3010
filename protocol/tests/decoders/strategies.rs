//! Values of every type that is sent, each within its bounds.

use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use webmesh_protocol::epoch::{Epoch, Generations, Shuffler};
use webmesh_protocol::manifest::{
    Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
};
use webmesh_protocol::membership::{Advert, Kind, Roles};
use webmesh_protocol::message::{
    Accept, Announce, Attempts, AuthoredAttempt, BucketPiece, Cause, Claim, Commit, End, Failure, Gossip, Hold,
    JobNews, JobState, JobStatus, Outcome, Output, PeerStatus, Push, PushEntry, Request, Response, Sealed, Seals,
    ShardLeft, Standing, Summary,
};
use webmesh_protocol::pack::{Index, PackRef};
use webmesh_protocol::ranges::Run;
use webmesh_protocol::sign::{Document, Keypair, Signed};
use webmesh_protocol::{Generation, PartitionId, ShardId, ShardRef, ShuffleShape, StageId, TaskId};
use webmesh_protocol::{Hash, JobId, PeerKey, limits, version};

prop_compose! {
    /// Any hash but zeros, which stand for no hash.
    fn hash()(mut bytes: [u8; 32], last in 1u8..) -> Hash {
        bytes[31] = last;
        Hash(bytes)
    }
}

prop_compose! {
    fn peer()(bytes: [u8; 32]) -> PeerKey { PeerKey(bytes) }
}

prop_compose! {
    fn job()(bytes: [u8; 32]) -> JobId { JobId(bytes) }
}

fn stage() -> impl Strategy<Value = StageId> {
    any::<u8>().prop_map(StageId)
}

fn task() -> impl Strategy<Value = TaskId> {
    any::<u32>().prop_map(TaskId)
}

fn shard() -> impl Strategy<Value = ShardId> {
    any::<u16>().prop_map(ShardId)
}

fn partition() -> impl Strategy<Value = PartitionId> {
    (0..limits::PARTITIONS).prop_map(PartitionId)
}

fn generation() -> impl Strategy<Value = Generation> {
    any::<u32>().prop_map(Generation)
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

/// `document` signed by some key.
pub(crate) fn signed<T: Document + std::fmt::Debug>(
    document: impl Strategy<Value = T>,
) -> impl Strategy<Value = Signed<T>> {
    (any::<[u8; 32]>(), document).prop_map(|(secret, document)| Keypair::from_secret(secret).sign(&document))
}

prop_compose! {
    fn task_limits()(
        millis in 1..=limits::TASK_MILLIS, memory in 0..=limits::TASK_MEMORY_BYTES,
        output in 0..=limits::TASK_OUTPUT_BYTES, retries: u8,
    ) -> TaskLimits {
        TaskLimits { millis, memory, output, retries }
    }
}

fn blob(most: usize) -> impl Strategy<Value = BlobRef> {
    (hash(), 0..=most as u64).prop_map(|(hash, len)| BlobRef { hash, len })
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let packs = (blob(limits::INDEX_BYTES), any::<u64>(), any::<u64>());
    prop_oneof![
        Just(Inputs::Numbers),
        packs.prop_map(|(index, documents, bytes)| Inputs::Packs { index, documents, bytes }),
    ]
}

fn authority() -> impl Strategy<Value = Authority> {
    prop_oneof![Just(Authority::Owner), vec(peer(), 1..8).prop_map(Authority::Stewards)]
}

fn verify() -> impl Strategy<Value = Verify> {
    prop_oneof![Just(Verify::Off), Just(Verify::Adaptive), (1u8..).prop_map(Verify::Quorum)]
}

/// A map and some reduces, each of which reads the stage before it.
fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let shuffle = (1..=limits::PARTITIONS, 1u32..=256);
    let settings = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), task_limits());
    (1..=limits::TASKS, vec((shuffle, settings), 2..=4)).prop_map(|(mut tasks, settings)| {
        let last = settings.len() - 1;
        let stage = |(i, ((partitions, each), (block, shards, limits))): (usize, _)| {
            let smallest = tasks.div_ceil(limits::BLOCKS);
            let mut stage = Stage {
                operator: if i == 0 { Operator::Map } else { Operator::Reduce },
                source: if i == 0 { Source::Inputs } else { Source::Shuffle { stage: StageId(i as u8 - 1) } },
                further: Vec::new(),
                sink: Sink::Collect,
                tasks,
                shards: 1,
                block: if i == 0 { smallest + (block as prop::sample::Index).index(100) as u32 } else { 1 },
                task_bytes: u64::from(each),
                limits,
            };
            let most = stage.blocks().min(u32::from(limits::SHARDS));
            stage.shards = 1 + (shards as prop::sample::Index).index(most as usize) as u16;
            if i < last {
                tasks = u32::from(partitions) * each;
                stage.sink = Sink::Shuffle(ShuffleShape { partitions, buckets: tasks });
            }
            stage
        };
        settings.into_iter().enumerate().map(stage).collect()
    })
}

prop_compose! {
    pub(crate) fn manifest()(
        owner in peer(), home in peer(), nonce: u64, name in "\\PC{0,30}", minor in 0..=version::MINOR,
        module in blob(limits::MODULE_BYTES), inputs in inputs(), stages in stages(), authority in authority(),
        verify in verify(), replicas in 1..=limits::REPLICAS as u8,
    ) -> Manifest {
        Manifest { owner, home, nonce, name, minor, module, inputs, stages, authority, verify, replicas }
    }
}

prop_compose! {
    pub(crate) fn epoch()(
        job in job(), number: u32, previous in hash(),
        shufflers in btree_map(peer(), 1..=limits::WEIGHT, 1..=limits::SHUFFLERS),
        generations in vec((generation(), generation()), 0..=limits::STAGES),
    ) -> Epoch {
        let shufflers = shufflers.into_iter().map(|(peer, weight)| Shuffler { peer, weight }).collect();
        let previous = (number > 0).then_some(previous);
        let generations = generations.into_iter().map(|(reads, writes)| Generations { reads, writes }).collect();
        Epoch { job, number, previous, shufflers, generations }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Done), Just(Outcome::Cancelled), "\\PC{0,40}".prop_map(Outcome::Failed)]
}

prop_compose! {
    pub(crate) fn end()(job in job(), outcome in outcome()) -> End { End { job, outcome } }
}

prop_compose! {
    pub(crate) fn index()(
        packs in vec((hash(), 1u32..1000, 1u32..1000, 0u64..1000), 0..20),
    ) -> Index {
        let pack = |(hash, documents, docs_per_task, more)| {
            let len = 4 + 4 * u64::from(documents) + more;
            PackRef { blob: BlobRef { hash, len }, documents, docs_per_task }
        };
        Index { packs: packs.into_iter().map(pack).collect() }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Node, Kind::Bootstrap, Kind::Submitter, Kind::Tab])
}

prop_compose! {
    fn advert()(
        kind in kind(), roles: [bool; 5], threads: u16, weight in 1..=limits::WEIGHT,
        addresses in vec("[a-z0-9/]{0,40}", 0..=limits::ADDRESSES), agent in "\\PC{0,20}", minor: u16,
    ) -> Advert {
        let [worker, shuffler, compiler, relay, steward] = roles;
        let roles = Roles { worker, shuffler, compiler, relay, steward };
        Advert { kind, roles, threads, weight, addresses, agent, minor }
    }
}

prop_compose! {
    fn announce()(
        job in job(), owner in peer(), home in peer(), manifest in option::of(signed(manifest())),
        epoch in signed(epoch()), done in vec(any::<u32>(), 0..=limits::STAGES), reopened: u32, age: u32,
    ) -> Announce {
        let manifest = manifest.filter(|m| m.payload_len() <= limits::INLINE_MANIFEST_BYTES);
        let tasks = done.clone();
        Announce { job, owner, home, manifest, epoch, done, tasks, reopened, age }
    }
}

/// Up to `most` runs that ascend without overlap.
fn runs(most: usize) -> impl Strategy<Value = Vec<Run>> {
    vec((0u32..1000, 1u32..1000), 0..=most).prop_map(|steps| {
        let mut at = 0;
        let run = |(gap, len)| {
            let run = Run::new(at + gap, len);
            at = run.end();
            run
        };
        steps.into_iter().map(run).collect()
    })
}

prop_compose! {
    fn claim()(
        job in job(), stage in stage(), shard in shard(), number: u32, runs in runs(limits::CLAIM_RUNS), terms: u8, speculative: bool,
        done in runs(limits::CLAIM_RUNS), finished: u32,
    ) -> Claim {
        let holds = runs.into_iter().map(|run| Hold { run, term: terms, speculative, settled: !speculative }).collect();
        Claim { job, stage, shard, number, holds, done, finished }
    }
}

fn seals() -> impl Strategy<Value = Vec<(PartitionId, Hash)>> {
    btree_map(partition(), hash(), 0..20).prop_map(|seals| seals.into_iter().collect())
}

pub(crate) fn gossip() -> impl Strategy<Value = Gossip> {
    let seals = (job(), stage(), any::<(u32, u32)>(), seals());
    let news = prop_oneof![announce().prop_map(JobNews::Lives), signed(end()).prop_map(JobNews::Ended)];
    prop_oneof![
        vec(news, 1..3).prop_map(Gossip::Jobs),
        vec(claim(), 1..3).prop_map(Gossip::Claims),
        seals.prop_map(|(job, stage, (epoch, width), seals)| Gossip::Seals(Seals { job, stage, epoch, width, seals })),
        advert().prop_map(Gossip::Advert),
    ]
}

prop_compose! {
    fn push()(
        job in job(), stage in stage(), epoch: u32, replica: bool,
        entries in vec((task(), hash(), btree_map(partition(), any::<u32>(), 0..8)), 0..8),
        author in option::of(peer()),
    ) -> Push {
        let authors = author.filter(|_| !entries.is_empty()).map(|a| (a, entries.len() as u32)).into_iter().collect();
        let entry = |(task, digest, segments)| -> PushEntry {
            PushEntry { task, digest, segments: std::collections::BTreeMap::into_iter(segments).collect() }
        };
        Push { job, stage, epoch, replica, entries: entries.into_iter().map(entry).collect(), authors }
    }
}

fn attempts() -> impl Strategy<Value = Attempts> {
    (btree_map(0..limits::TASKS, (hash(), peer()), 0..40), any::<bool>()).prop_map(|(attempts, told)| {
        let attempts: Vec<_> = attempts
            .into_iter()
            .map(|(task, (digest, author))| AuthoredAttempt { task: TaskId(task), digest, author })
            .collect();
        let authored = Attempts::pack_authored(&attempts);
        if told { authored } else { authored.without_authors() }
    })
}

fn cause() -> impl Strategy<Value = Cause> {
    use Cause::{InputLimit, Job, MemoryLimit, OutputLimit, TimeLimit, Worker};
    select(vec![Worker, TimeLimit, MemoryLimit, OutputLimit, InputLimit, Job])
}

prop_compose! {
    fn failure()(
        job in job(), stage in stage(), task in task(), document: Option<u32>, why in "\\PC{0,40}", cause in cause(),
    ) -> Failure {
        Failure { job, stage, task, document, why, cause }
    }
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let partitions = btree_set(partition(), 0..20).prop_map(|set| set.into_iter().collect());
    prop_oneof![
        advert().prop_map(Request::Hello),
        (announce(), any::<u32>(), any::<u32>()).prop_map(|(announce, slot, of)| Request::Offer { announce, slot, of }),
        job().prop_map(|job| Request::Manifest { job }),
        (job(), stage(), shard()).prop_map(|(job, stage, shard)| Request::Summary(ShardRef { job, stage, shard })),
        (job(), stage(), shard()).prop_map(|(job, stage, shard)| Request::Claims(ShardRef { job, stage, shard })),
        (job(), stage(), partition(), task()).prop_map(|(job, stage, partition, from)| Request::Held {
            job,
            stage,
            partition,
            from
        }),
        hash().prop_map(|hash| Request::Blob { hash }),
        push().prop_map(Request::Push),
        (job(), stage(), any::<(u32, u64, u64)>(), partitions, attempts()).prop_map(
            |(job, stage, (epoch, opened, bytes), partitions, attempts)| Request::Commit(Commit {
                job,
                stage,
                epoch,
                opened,
                partitions,
                attempts,
                bytes
            })
        ),
        (job(), stage(), any::<(u32, Option<u32>)>(), attempts()).prop_map(|(job, stage, (epoch, width), attempts)| {
            Request::Accept(Accept { job, stage, epoch, attempts, width })
        }),
        (job(), stage(), any::<u32>(), partition(), hash()).prop_map(|(job, stage, epoch, partition, root)| {
            Request::Sealed(Sealed { job, stage, epoch, partition, root })
        }),
        signed(epoch()).prop_map(Request::NewEpoch),
        (job(), stage(), partition(), task()).prop_map(|(job, stage, partition, from)| Request::Pull {
            job,
            stage,
            partition,
            from
        }),
        (job(), stage(), task(), any::<u32>(), hash(), any::<u64>()).prop_map(
            |(job, stage, task, width, root, from)| Request::Bucket(BucketPiece {
                job,
                stage,
                task,
                width,
                root,
                from
            })
        ),
        (job(), stage(), task(), hash(), option::of(hash()), vec(hash(), 0..=limits::FURTHER_SOURCES)).prop_map(
            |(job, stage, task, digest, root, further)| Request::Output(Output {
                job,
                stage,
                task,
                digest,
                root,
                further
            })
        ),
        failure().prop_map(Request::Failed),
        signed(end()).prop_map(Request::Ended),
        Just(Request::Jobs),
        option::of(hash()).prop_map(|wanted| Request::Homes { wanted: wanted.map(|hash| PeerKey(hash.0)) }),
        Just(Request::Peers),
        "\\PC{0,20}".prop_map(|name| Request::Compile { name }),
        Just(Request::Goodbye),
        (job(), "\\PC{0,20}").prop_map(|(job, why)| Request::Resign { job, why }),
        (job(), any::<u64>(), any::<Option<u16>>()).prop_map(|(job, memory, minor)| Request::Decline {
            job,
            memory,
            minor
        }),
    ]
}

prop_compose! {
    fn summary()(
        epoch in signed(epoch()), reopened: u32, done in vec(any::<u32>(), 0..=limits::STAGES), seals in seals(),
        further in vec(seals(), 0..=limits::FURTHER_SOURCES), width: Option<u32>,
        shards in vec(any::<(u32, u16)>(), 0..20), peers in vec(peer(), 0..=limits::SHARD_PEERS),
        proven in option::of(vec(peer(), 0..=limits::SHARD_WORKERS)),
    ) -> Summary {
        let shards = shards.into_iter().map(|(blocks, workers)| ShardLeft { blocks, workers }).collect();
        Summary { epoch, reopened, done, seals, further, width, shards, peers, proven }
    }
}

prop_compose! {
    fn job_status()(
        job in job(), owner in peer(), name in "\\PC{0,20}", stages in vec(any::<(u32, u32)>(), 0..4), age: u32,
        state in prop_oneof![Just(JobState::Running), Just(JobState::Left), outcome().prop_map(JobState::Ended)],
    ) -> JobStatus {
        JobStatus { job, owner, name, stages, age, silent: age.checked_sub(5), state }
    }
}

prop_compose! {
    fn peer_status()(peer in peer(), advert in advert(), connected: bool) -> PeerStatus {
        PeerStatus { peer, advert, connected }
    }
}

prop_compose! {
    fn standing()(worker in peer(), claim in claim(), lease in any::<u32>()) -> Standing {
        Standing { worker, claim, lease }
    }
}

pub(crate) fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        Just(Response::Ok),
        advert().prop_map(Response::Hello),
        signed(manifest()).prop_map(Response::Manifest),
        summary().prop_map(Response::Summary),
        vec(standing(), 0..4).prop_map(Response::Claims),
        Just(Response::Body),
        any::<u64>().prop_map(|of| Response::Piece { of }),
        (push(), option::of(task())).prop_map(|(push, next)| Response::Pulled { push, next }),
        vec(peer(), 0..=limits::REDIRECTS).prop_map(Response::Redirect),
        signed(epoch()).prop_map(Response::NotOwner),
        Just(Response::Missing),
        Just(Response::Busy),
        "\\PC{0,40}".prop_map(Response::Refused),
        vec(job_status(), 0..4).prop_map(Response::Jobs),
        vec(peer_status(), 0..4).prop_map(Response::Peers),
        ("\\PC{0,40}", any::<bool>(), any::<u32>()).prop_map(|(warnings, cached, millis)| Response::Compiled {
            warnings,
            cached,
            millis
        }),
        "\\PC{0,40}".prop_map(|diagnostics| Response::CompileFailed { diagnostics }),
    ]
}

/// Packs of up to thirty small documents.
pub(crate) fn pack() -> impl Strategy<Value = Vec<u8>> {
    vec(vec(any::<u8>(), 0..40), 0..30)
        .prop_map(|documents| webmesh_protocol::pack::build(documents.iter().map(Vec::as_slice)))
}

/// One partition's segment of up to twelve buckets.
pub(crate) fn segment() -> impl Strategy<Value = Bytes> {
    (bytes(200), vec(any::<prop::sample::Index>(), 11)).prop_map(|(data, cuts)| {
        let mut offsets: Vec<u32> = cuts.iter().map(|cut| cut.index(data.len() + 1) as u32).collect();
        offsets.extend([0, data.len() as u32]);
        offsets.sort_unstable();
        let attempt = webmesh_protocol::segment::Attempt::cut(&data, &offsets, 1).expect("offsets within the data");
        attempt.segments.into_iter().next().map_or_else(Bytes::new, |(_, segment)| segment)
    })
}
