//! Every bound on what a stranger can make this peer hold, do or wait for, with its reason.
//!
//! Bounds that only one module needs are here too, so that this one page answers the question "what can be made to
//! grow?".

use std::time::Duration;

// --- Documents and messages -------------------------------------------------------------------------------

/// An encoded manifest: a hundred times what a map and a reduce need, and small enough to be kept for every known job.
pub const MANIFEST_BYTES: usize = 64 * 1024;
/// Manifests up to this size are sent in their announcement (rule 7), well below gossipsub's 64 KiB per message.
pub const INLINE_MANIFEST_BYTES: usize = 4 * 1024;
/// A job's name, as shown in lists.
pub const NAME_BYTES: usize = 128;
/// Stages of a job.
pub const STAGES: usize = 16;
/// Sources of a stage beside its first: a task holds what it reads of all of them, and a summary tells of their seals.
pub const FURTHER_SOURCES: usize = 7;
/// One gossip message. Gossipsub itself carries 64 KiB; ours stay far below, so that forwards are never dropped.
pub const GOSSIP_BYTES: usize = 16 * 1024;
/// The head of a request or response, without its body. A push names up to [`PUSH_ENTRIES`] attempts in it.
pub const HEAD_BYTES: usize = 2 * 1024 * 1024;
/// The body after a head: four of the largest packs.
pub const BODY_BYTES: usize = 256 * 1024 * 1024;
/// Text for the receiver's user to read (an error, a name).
pub const TEXT_BYTES: usize = 8 * 1024;
/// The compiler's diagnostics that are returned to the submitter.
pub const DIAGNOSTICS_BYTES: usize = 64 * 1024;
/// A job's source text.
pub const SOURCE_BYTES: usize = 1024 * 1024;

// --- Blobs ------------------------------------------------------------------------------------------------

/// A module. Word count takes 40 KB; with `<regex>` and `<format>`, a few hundred.
pub const MODULE_BYTES: usize = 16 * 1024 * 1024;
/// A pack: the largest document that can be an input on its own, with its header.
pub const PACK_BYTES: usize = 64 * 1024 * 1024;
/// An input index, which takes some 50 bytes a pack. It has no room for [`TASKS`] tasks in packs of their own; a job of
/// that size has many tasks in a pack.
pub const INDEX_BYTES: usize = 16 * 1024 * 1024;

// --- Jobs -------------------------------------------------------------------------------------------------

/// Tasks of one stage: two million. A shuffler keeps a digest for each, 64 MiB; more documents than that share tasks.
pub const TASKS: u32 = 1 << 21;
/// Blocks of one stage: the claim table keeps a few bytes for each.
pub const BLOCKS: u32 = 1 << 17;
/// Shards of one stage: some 64 workers each (rule 6), for meshes of up to 65,536 workers on one job.
pub const SHARDS: u16 = 1024;
/// Claim topics. Fixed, so that topics exist before they are needed and strangers cannot create any (rule 6).
pub const CLAIM_TOPICS: u8 = 64;
/// Partitions of one shuffle: enough for 16 shufflers to share evenly, few enough that a task's digest,
/// a hash over one hash per partition, stays cheap.
pub const PARTITIONS: u16 = 256;
/// Buckets of one shuffle: reduce tasks.
pub const BUCKETS: u32 = 1 << 16;
/// Stewards of one job: seven tolerate two that lie; more would cost messages and gain little.
pub const STEWARDS: usize = 7;
/// One batch of decisions: some 16,000 acceptances, so that the first of a large job need not wait for the last.
pub const BATCH_BYTES: usize = 1024 * 1024;
/// A certificate: the signatures of all stewards, with room for their encoding.
pub const CERTIFICATE_BYTES: usize = 1024;
/// Shufflers of one job (rule 2): connections stay few.
pub const SHUFFLERS: usize = 16;
/// Copies of a partition.
pub const REPLICAS: usize = 5;
/// A shuffler's weight in the ring counts at most this (rule 2).
pub const WEIGHT: u8 = 8;
/// The longest wall time that a manifest may give one task: one hour.
pub const TASK_MILLIS: u32 = 3_600_000;
/// The most memory that a manifest may give one task: what 32-bit WebAssembly can address.
pub const TASK_MEMORY_BYTES: u64 = 4 << 30;
/// The most output that a manifest may allow one task; it is held in memory until it is acknowledged.
pub const TASK_OUTPUT_BYTES: u64 = 64 << 20;
/// Jobs that one peer knows at a time. Further announcements are ignored until one ends.
pub const JOBS: usize = 1024;
/// Jobs of one owner that a peer knows at a time, so that no owner fills the table alone.
pub const JOBS_OF_OWNER: usize = 128;

// --- Claims -----------------------------------------------------------------------------------------------

/// Runs of held blocks in one claim, and runs of finished ones.
pub const CLAIM_RUNS: usize = 48;
/// Claims in one message: more than the number of shards in which one worker is active at a time.
pub const CLAIMS_IN_MESSAGE: usize = 16;
/// Workers of one shard that a peer tracks. Shards are sized for 64 (rule 6); beyond twice that, the one that lapses
/// next is forgotten.
pub const SHARD_WORKERS: usize = 128;
/// Workers of a job that its authority tracks individually, for the count that users see and for who failed what.
pub const JOB_WORKERS: usize = 4096;
/// Peers of a shard that are named to a worker that enters it: enough for a gossip mesh among them.
pub const SHARD_PEERS: usize = 8;
/// Blocks that a worker may hold before it has finished any in this job (rule 5).
pub const CLAIM_BASE: u32 = 8;
/// Further blocks that it may hold for each one finished (rule 5).
pub const CLAIM_FACTOR: u32 = 4;
/// How long the claim of a worker that has finished nothing keeps others from a block once none is free, besides the
/// time that claims take to settle and twice the time that a block takes, if that is known: enough for a result to be
/// pushed and accepted, and so little that identities which run nothing delay a job by less than half a second.
pub const NEWCOMER: Duration = Duration::from_millis(300);
/// Workers that a peer remembers from one stage of a job to the next, because they claimed blocks and finished nothing:
/// four times as many as one shard has.
pub const SUSPECTS: usize = 4 * SHARD_WORKERS;
/// Duration of a lease after its holder's last message.
pub const LEASE: Duration = Duration::from_secs(10);
/// The longest interval between the claim messages of a worker that runs anything, whatever the message budget says: a
/// third of its lease, so that two lost messages do not end it.
pub const HEARTBEAT: Duration = Duration::from_millis(3_300);
/// The amount of work that a worker claims ahead: enough for few messages, and so little that a lost peer costs little.
pub const CLAIM_AHEAD: Duration = Duration::from_millis(1_500);
/// Upper bound on the duration of one gossip hop, whatever was measured: twice the time to the other side of the world.
/// Claims settle after a few hops, so without it slow neighbours would slow every job.
pub const HOP: Duration = Duration::from_millis(300);
/// Control messages delivered to a peer in a second, duplicates included (rule 6).
pub const CONTROL_PER_SECOND: u32 = 50;

// --- Shuffle ----------------------------------------------------------------------------------------------

/// Size of the pieces in which a bucket is sent, in bytes: few round trips, and not much to send again if one fails.
pub const BUCKET_PIECE: usize = 16 << 20;
/// Attempts in one push.
pub const PUSH_ENTRIES: usize = 4096;
/// A push is sent once it holds this many bytes (rule 13).
pub const PUSH_BYTES: usize = 1 << 20;
/// A push is sent after this time, however small (rule 13); at once if the worker has nothing else to run.
pub const PUSH_DELAY: Duration = Duration::from_millis(50);
/// Unacknowledged output that a worker holds, in bytes; beyond that, it starts no further task (rule 13).
pub const UNACKED_BYTES: usize = 64 << 20;
/// Tables of all shuffles at a shuffler with plenty of memory, in bytes: those of eight of the largest stages, or of
/// some thousand ordinary ones. Further jobs wait until one ends.
pub const TABLE_BYTES: usize = 512 << 20;
/// Copies in transit to replicas, of all jobs, in bytes; beyond that, workers wait with output that would be copied. As
/// much as a worker may hold unacknowledged.
pub const COPY_BYTES: usize = UNACKED_BYTES;
/// Different digests staged for one task: the right one, and those of a few liars.
pub const DIGESTS_OF_TASK: usize = 4;
/// Further digests staged for one task by workers of which an attempt was accepted before, or by the home.
pub const DIGESTS_OF_PROVEN: usize = 2;
/// Different digests staged for one task by one worker: a task that is computed again after a loss may differ.
pub const DIGESTS_OF_AUTHOR: usize = 2;
/// Digests that an authority remembers for all tasks of a shuffle besides the first of each task, until one is
/// accepted: some 10 MB. Further ones are not counted; the first of each task always is.
pub const OTHER_DIGESTS: usize = 1 << 16;

// --- Gossip -----------------------------------------------------------------------------------------------
// The configuration of gossipsub is here, so that the simulator models what nodes do.

/// Target degree of a topic's mesh. In simulation, 100 peers on one job receive 38 messages a second each; with a
/// degree of eight, 46, which leaves little of the budget of [`CONTROL_PER_SECOND`] to larger meshes.
pub const GOSSIP_MESH: usize = 6;
/// Low degree: a peer with fewer mesh members looks for more.
pub const GOSSIP_MESH_LOW: usize = 4;
/// High degree: a peer with this many mesh members accepts no more. Far above the target, as many tabs are connected to
/// one native node only, and those outside its mesh get messages only with its next heartbeats.
pub const GOSSIP_MESH_HIGH: usize = 48;
/// Peers outside the mesh that get lazy gossip (IHAVE) at each heartbeat: this many, or a quarter of them if that is
/// more.
pub const GOSSIP_LAZY: usize = 6;
/// Heartbeats for which a message is advertised by lazy gossip.
pub const GOSSIP_TOLD: usize = 4;
/// Interval between heartbeats.
pub const GOSSIP_HEARTBEAT: Duration = Duration::from_millis(700);
/// How long the ids of messages are kept to recognise duplicates.
pub const GOSSIP_SEEN: Duration = Duration::from_secs(60);
/// Backoff of a peer that was pruned from a mesh: workers move from topic to topic as shards drain.
pub const GOSSIP_PRUNED: Duration = Duration::from_secs(15);
/// Backoff of a peer that left a topic.
pub const GOSSIP_LEFT: Duration = Duration::from_secs(2);
/// Messages to forward are dropped when they have waited this long for the connection to a peer.
pub const GOSSIP_QUEUE: Duration = Duration::from_secs(3);

// --- Peers ------------------------------------------------------------------------------------------------

/// Peers whose adverts are remembered.
pub const ADVERTS: usize = 4096;
/// Addresses in one advert.
pub const ADDRESSES: usize = 16;
/// An address.
pub const ADDRESS_BYTES: usize = 256;
/// Interval between a peer's adverts in a small mesh.
pub const ADVERT_INTERVAL: Duration = Duration::from_secs(30);
/// The longest interval between a peer's adverts, however many peers there are or claim to be: a flood of adverts must
/// neither silence those of others nor keep its own alive.
pub const ADVERT_INTERVAL_MOST: Duration = Duration::from_secs(300);
/// After this many intervals without a newer advert, a peer without a connection is forgotten.
pub const ADVERT_LIFETIMES: u32 = 3;
/// Interval between the announcements of a running job.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Jobs in one message of announcements and ends: more than fit into it.
pub const JOBS_IN_MESSAGE: usize = 64;
/// How long after its submission a job's manifest is sent in its announcements. Later, peers must ask for it, so that
/// many jobs fit into one message.
pub const INLINE_MANIFEST_FOR: Duration = Duration::from_secs(10);
/// The number of homes up to which announcements keep to [`ANNOUNCE_INTERVAL`]; with more, it grows in proportion.
pub const HOMES_ANNOUNCING_OFTEN: usize = 2;
/// Each time a home knows this many more workers, the interval grows by another [`ANNOUNCE_INTERVAL`]: in a larger
/// mesh, more copies of a message reach each peer. A peer that comes late does not wait for an announcement, but asks
/// ([`HOMES`]).
pub const WORKERS_TOLD_OFTEN: u32 = 512;
/// The longest interval between announcements, however many homes and workers there are.
pub const ANNOUNCE_INTERVAL_MOST: Duration = Duration::from_secs(20);
/// A job is forgotten after this time without an announcement, or after three intervals between announcements if that
/// is longer.
pub const ANNOUNCE_LIFETIME: Duration = Duration::from_secs(30);
/// Timeout of a request; for bulk transfers, since their last byte.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of a compile request: the compiler's own time limit, and the wait in its queue. Pings show whether the
/// compiler is still there.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(180);
/// Pending requests of one peer; further ones are refused as busy.
pub const REQUESTS_OF_PEER: usize = 256;
/// Concurrent uploads of one blob; further requesters are redirected to peers that already have it.
pub const UPLOADS_OF_BLOB: usize = 4;
/// Homes of jobs that a neighbour names in a response: enough to begin with, few enough to dial all of them.
pub const HOMES: usize = 16;
/// The shortest interval between questions to neighbours for any homes. The homes that they name are dialled, so liars
/// must not name many.
pub const HOMES_ASKED_EVERY: Duration = Duration::from_secs(1);
/// The shortest interval between questions to neighbours for a certain home. It is shorter, as a person who submits one
/// short job after another is a new home each time, and the response causes at most one dial.
pub const HOME_ASKED_EVERY: Duration = Duration::from_millis(200);
/// Peers named in a redirect.
pub const REDIRECTS: usize = 8;
/// Input bytes that a worker fetches ahead of running them.
pub const PREFETCH_BYTES: u64 = 24 << 20;
