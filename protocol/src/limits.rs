//! Every bound on what a stranger can make this peer hold, do or wait for, with its reason.
//!
//! A bound that only one module needs still stands here: whoever asks "what can be made to grow?" reads one page.

use std::time::Duration;

// --- Documents and messages -------------------------------------------------------------------------------

/// Encoded manifest. A hundred times what a map and a reduce need; small enough to be kept for every job known.
pub const MANIFEST_BYTES: usize = 64 * 1024;
/// Manifests up to this size ride in their announcement (rule 7), well below gossipsub's 64 KiB per message.
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
/// The body behind a head: four of the largest packs.
pub const BODY_BYTES: usize = 256 * 1024 * 1024;
/// Text that a peer tells another for its user to read (an error, a name).
pub const TEXT_BYTES: usize = 8 * 1024;
/// What clang said about a source, as it travels back to the submitter.
pub const DIAGNOSTICS_BYTES: usize = 64 * 1024;
/// A job's source text.
pub const SOURCE_BYTES: usize = 1024 * 1024;

// --- Blobs ------------------------------------------------------------------------------------------------

/// A module. Word count takes 40 KB; `<regex>` and `<format>` some hundred.
pub const MODULE_BYTES: usize = 16 * 1024 * 1024;
/// A pack: the largest document that can be an input on its own, with its header.
pub const PACK_BYTES: usize = 64 * 1024 * 1024;
/// An input index: [`TASKS`] tasks in packs of their own at some 50 bytes a pack would be too many; a job of
/// that size has many tasks a pack.
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
/// Stewards of one job: seven bear two that lie; more would cost messages and gain little.
pub const STEWARDS: usize = 7;
/// One batch of decisions: some 16,000 acceptances, so that the first of a large job need not wait for the last.
pub const BATCH_BYTES: usize = 1024 * 1024;
/// A certificate: the signatures of all stewards, with room for what is around them.
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
/// Jobs that one peer knows at a time. Announcements beyond are ignored until one ends.
pub const JOBS: usize = 1024;
/// Jobs of one owner that a peer knows at a time, so that no owner fills the table alone.
pub const JOBS_OF_OWNER: usize = 128;

// --- Claims -----------------------------------------------------------------------------------------------

/// Runs in one claim, of what is held and of progress each.
pub const CLAIM_RUNS: usize = 48;
/// Claims in one message: more shards than one worker has anything to say of at a time.
pub const CLAIMS_IN_MESSAGE: usize = 16;
/// Workers that a peer keeps apart in one shard. Shards are cut for 64 (rule 6); beyond twice that, the
/// longest silent one is forgotten.
pub const SHARD_WORKERS: usize = 128;
/// Peers of a shard that its entrants are told of: enough for a gossip mesh among them.
pub const SHARD_PEERS: usize = 8;
/// Blocks that a worker may hold before it has finished any in this job (rule 5).
pub const CLAIM_BASE: u32 = 8;
/// Blocks that it may hold more for each one finished (rule 5).
pub const CLAIM_FACTOR: u32 = 4;
/// A lease lasts so long past its holder's last message.
pub const LEASE: Duration = Duration::from_secs(10);
/// The longest time after which a worker that runs anything speaks up, whatever the message budget says:
/// a third of its lease, so that two lost messages do not end it.
pub const HEARTBEAT: Duration = Duration::from_millis(3_300);
/// Claims aim at so much work ahead: long enough for few messages, short enough that a lost peer costs little.
pub const CLAIM_AHEAD: Duration = Duration::from_millis(1_500);
/// One hop of gossip is taken to last so long at most, whatever was measured: twice what it takes to the other side
/// of the world. Claims settle after a few of them, so that slow neighbours would slow every job.
pub const HOP: Duration = Duration::from_millis(300);
/// Control messages delivered to a peer in a second, duplicates included (rule 6).
pub const CONTROL_PER_SECOND: u32 = 50;

// --- Shuffle ----------------------------------------------------------------------------------------------

/// A bucket is sent in pieces of so many bytes: few round trips, and not much to send again where one fails.
pub const BUCKET_PIECE: usize = 16 << 20;
/// Attempts in one push.
pub const PUSH_ENTRIES: usize = 4096;
/// A push leaves once it holds so many bytes (rule 13).
pub const PUSH_BYTES: usize = 1 << 20;
/// A push leaves after so long, however small (rule 13); at once when the worker has nothing else to run.
pub const PUSH_DELAY: Duration = Duration::from_millis(50);
/// Output that a worker holds unacknowledged; beyond, it starts no further task (rule 13).
pub const UNACKED_BYTES: usize = 64 << 20;
/// Tables of all shuffles here, in bytes: those of eight of the largest stages, or of some thousand ordinary ones. Jobs
/// beyond wait until one ends; an owner's may take up a quarter.
pub const TABLE_BYTES: usize = 512 << 20;
/// The part of tables and of segments that the jobs of one owner may take up.
pub const PART_OF_OWNER: usize = 4;
/// Segments held for all jobs, in bytes, on disk mostly. A job has up to 16 shufflers: one whose data are larger than
/// its owner's part of 16 such peers would need a mesh of another size.
pub const SEGMENT_BYTES: u64 = 256 << 30;
/// Copies on their way to replicas, of all jobs, in bytes; beyond, workers wait with what would be copied. As much as a
/// worker may hold unacknowledged.
pub const COPY_BYTES: usize = UNACKED_BYTES;
/// Different digests staged for one task. One is right; a few liars may be too.
pub const DIGESTS_OF_TASK: usize = 4;
/// Digests beside the first that an authority remembers for all tasks of a shuffle, until one of each is accepted:
/// some 10 MB. Those beyond are not counted; the first ones of all tasks still are.
pub const OTHER_DIGESTS: usize = 1 << 16;

// --- Gossip -----------------------------------------------------------------------------------------------
// How gossipsub is set up: here, so that the simulator models what nodes do.

/// Members of a topic's mesh that a peer aims at: simulated, 100 peers on one job are sent 38 messages a second each;
/// with eight, 46, which leaves little of the budget of [`CONTROL_PER_SECOND`] to larger meshes.
pub const GOSSIP_MESH: usize = 6;
/// It looks for more when it has fewer than so many.
pub const GOSSIP_MESH_LOW: usize = 4;
/// A peer with so many takes no more. Many more than it aims at: tabs hang on one native like a star, and who is not
/// in its mesh hears only with the next heartbeats.
pub const GOSSIP_MESH_HIGH: usize = 48;
/// Who is told lazily at each heartbeat: so many, or a quarter of those who are not in the mesh.
pub const GOSSIP_LAZY: usize = 6;
/// Heartbeats for which a message is told of.
pub const GOSSIP_TOLD: usize = 4;
/// Time between heartbeats.
pub const GOSSIP_HEARTBEAT: Duration = Duration::from_millis(700);
/// A message is known by its name for so long.
pub const GOSSIP_SEEN: Duration = Duration::from_secs(60);
/// Who was pruned from a mesh may come back after so long: workers move from topic to topic as shards drain.
pub const GOSSIP_PRUNED: Duration = Duration::from_secs(15);
/// Who left a topic may come back after so long.
pub const GOSSIP_LEFT: Duration = Duration::from_secs(2);
/// Of messages to pass on that wait for a peer's line, those beyond so much time are dropped.
pub const GOSSIP_QUEUE: Duration = Duration::from_secs(3);

// --- Peers ------------------------------------------------------------------------------------------------

/// Peers whose adverts are remembered.
pub const ADVERTS: usize = 4096;
/// Addresses in one advert.
pub const ADDRESSES: usize = 16;
/// One address.
pub const ADDRESS_BYTES: usize = 256;
/// Adverts are repeated this often in a small mesh,
pub const ADVERT_INTERVAL: Duration = Duration::from_secs(30);
/// and this often however many peers there are, or say that they are: who floods the mesh with adverts must not
/// silence everybody else's, nor keep its own alive.
pub const ADVERT_INTERVAL_MOST: Duration = Duration::from_secs(300);
/// So many intervals without a newer advert, and a peer without a connection is forgotten.
pub const ADVERT_LIFETIMES: u32 = 3;
/// A job is announced again this often while it lives.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Jobs in one message of what became of them: more than have room in it.
pub const JOBS_IN_MESSAGE: usize = 64;
/// A job's manifest rides in its announcements for so long after it was submitted; whoever comes later asks for it, so
/// that many jobs have room in one message.
pub const INLINE_MANIFEST_FOR: Duration = Duration::from_secs(10);
/// Where so many peers announce jobs; with more, each does so more rarely.
pub const HOMES_ANNOUNCING_OFTEN: usize = 2;
/// For each so many workers that a home knows, its jobs are announced more rarely by as much again: a message reaches
/// everyone more often the more there are. Who comes late does not wait for it: it asks ([`HOMES`]).
pub const WORKERS_TOLD_OFTEN: u32 = 512;
/// But this often at least, however many they are.
pub const ANNOUNCE_INTERVAL_MOST: Duration = Duration::from_secs(20);
/// A job that nobody announced for so long, or for three times as long as takes the next announcement, is forgotten.
pub const ANNOUNCE_LIFETIME: Duration = Duration::from_secs(30);
/// A request without an answer is given up after so long; bulk transfers count from their last byte.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The answer to a compile request is awaited for so long: the compiler's own limit by the clock, and a place in its
/// queue. Whether the compiler is still there meanwhile, pings tell.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(180);
/// Requests of one peer that wait for an answer here; more are refused as busy.
pub const REQUESTS_OF_PEER: usize = 256;
/// Uploads of one blob at a time; who asks meanwhile is sent to peers that already have it.
pub const UPLOADS_OF_BLOB: usize = 4;
/// Homes of jobs that a neighbour tells of: enough to begin with, few enough to dial all of them.
pub const HOMES: usize = 16;
/// Neighbours are asked for any homes this often at most: what they tell is dialled, so that liars must not tell much.
pub const HOMES_ASKED_EVERY: Duration = Duration::from_secs(1);
/// For a certain one they are asked more often: who submits one short job after another is a new home each time, and
/// makes one dial at most.
pub const HOME_ASKED_EVERY: Duration = Duration::from_millis(200);
/// Peers named in a redirect.
pub const REDIRECTS: usize = 8;
/// Input bytes that a worker fetches ahead of running them.
pub const PREFETCH_BYTES: u64 = 24 << 20;
