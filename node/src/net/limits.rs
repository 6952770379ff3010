//! Bounds of the network layer, with their reasons. Those that peers must agree on stand in
//! [`webmesh_protocol::limits`].

use std::time::Duration;

use webmesh_protocol::limits::{
    BODY_BYTES, HEAD_BYTES, PUSH_BYTES, REQUEST_TIMEOUT, REQUESTS_OF_PEER, TASK_OUTPUT_BYTES,
};

// --- Requests ---------------------------------------------------------------------------------------------

/// Streams that this peer opens to another for requests. One exchange at a time runs on each; few streams,
/// because WebRTC pays for every new one.
pub const STREAMS_TO_PEER: usize = 8;
/// How many of them may carry large bodies, so that a small request never waits behind bulk.
pub const BULK_STREAMS_TO_PEER: usize = 6;
/// A request whose body is larger counts as bulk, as does one whose answer usually is.
pub const BULK_BYTES: usize = 64 * 1024;
/// A stream of ours that idles so long is closed.
pub const STREAM_IDLE: Duration = Duration::from_secs(30);
/// A stream of theirs that idles so long is closed: well after they would have done it themselves, so that the
/// two sides seldom cross.
pub const SERVED_STREAM_IDLE: Duration = Duration::from_secs(90);
/// Streams that are served to one peer: its requests that wait, and a few beyond that are told "busy".
pub const STREAMS_FROM_PEER: usize = REQUESTS_OF_PEER + STREAMS_TO_PEER;
/// New streams of one connection that wait to be taken up.
pub const STREAM_BACKLOG: usize = 32;
/// Negotiating a stream takes a round trip; after so long the peer is not answering.
pub const STREAM_OPENING: Duration = Duration::from_secs(10);
/// A stream that was wished of a connection that was just closing is wished again, so many times in all.
pub const STREAM_ATTEMPTS: u32 = 6;
/// The first time after this, then twice as long each time: some 600 ms in all, within which a closed connection
/// is noticed.
pub const STREAM_RETRY: Duration = Duration::from_millis(10);
/// Requests of this peer that are under way or wait for a stream; further ones are answered "busy" at once.
pub const REQUESTS_OUT: usize = 16 * 1024;
/// Requests of all other peers that are read or wait for an answer; further ones are answered "busy".
pub const REQUESTS_IN: usize = 4096;
/// The driver is given this much longer than the asker waits for its answer; by then the asker has given up.
pub const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// The body of a request. The largest that is ever sent is one task's whole output, with the directories of its
/// segments (some bytes for each bucket) if it is a push.
pub const REQUEST_BODY_BYTES: usize = TASK_OUTPUT_BYTES as usize + 4 * PUSH_BYTES;
/// Bytes of frames that are held in memory at a time: read, or waiting for their answer. One of the largest
/// frames and some hundred pushes of the usual mebibyte. Answers that are written may hold as much again.
pub const BODY_BUDGET: usize = BODY_BYTES + HEAD_BYTES + 126 * 1024 * 1024;
/// Of these, the requests of one peer hold at most one in so many, unless a single frame needs more; so do the
/// answers that are written to it.
pub const REQUESTS_SHARE: u32 = 8;
/// And the answers of one peer that this one asked, one in so many: what a worker fetches ahead, and one pack.
pub const ANSWERS_SHARE: u32 = 4;
/// Answers of any size (blobs, buckets, pulls) that are made for one peer at a time. Their size is not
/// known before they are in memory, so they are counted until they have their part of the budget.
pub const BULK_ANSWERS_OF_PEER: usize = 2;
/// And for all peers together: some milliseconds of reading each.
pub const BULK_ANSWERS: usize = 16;
/// Answers of some size (lists, manifests, summaries, compiled modules) that are made for one peer, or written to it.
pub const LISTS_OF_PEER: usize = 16;
/// An answer waits so long to be made or written, then the peer is told "busy", while it still listens.
pub const ANSWER_ROOM: Duration = Duration::from_secs(REQUEST_TIMEOUT.as_secs() / 4);
/// Frames up to this size are read whatever the budget says, so that bulk does not hold up control.
pub const SMALL_FRAME: usize = 16 * 1024;
/// Memory for a frame's bytes is taken in steps that begin here, twice a push, and double as bytes arrive: a
/// claimed length alone costs the receiver no more.
pub const FIRST_ALLOCATION: usize = 2 * PUSH_BYTES;
/// A frame must keep this pace on the average (bytes a second, before compression, of which up to four count for each
/// one sent), else a peer could hold its part of the budget for years by sending a byte now and then.
pub const SLOWEST_PACE: u64 = 16 * 1024;
/// Somebody who has waited so long for a budget that others hold puts pressure on them.
pub const PRESSURE_AFTER: Duration = Duration::from_secs(2);
/// Under pressure, a frame of any size must be on the way to be done in this time: the largest push at 5 Mbit/s,
/// a usual one at the slowest pace.
pub const FRAME_UNDER_PRESSURE: Duration = Duration::from_secs(120);
/// So often it is looked whether whoever asked for long work still waits for it.
pub const ABANDONED_LOOK: Duration = Duration::from_millis(250);
/// Saying goodbye takes at most so long.
pub const GOODBYE: Duration = Duration::from_secs(1);

// --- Channels ---------------------------------------------------------------------------------------------

/// Events that wait for the driver.
pub const EVENTS: usize = 1024;
/// Events that the swarm holds for a full event channel before it stops reading from its connections.
pub const EVENTS_HELD: usize = 256;
/// Commands that wait for the swarm, which takes them whatever else it does.
pub const COMMANDS: usize = 1024;

// --- Connections ------------------------------------------------------------------------------------------

/// Connections in all: a socket and some hundred kilobytes each. Natives carry up to several hundred tabs.
pub const CONNECTIONS: u32 = 1024;
/// Of these, so many may come from others: however many come, some are left for those that this peer wants.
pub const INCOMING_CONNECTIONS: u32 = 896;
/// Connections with one peer: both dial at once, and a relayed one is replaced by a direct one.
pub const CONNECTIONS_OF_PEER: u32 = 4;
/// Handshakes under way that others began.
pub const PENDING_INCOMING: u32 = 128;
/// Dials under way.
pub const PENDING_OUTGOING: u32 = 128;
/// Below so many connected peers, known ones are dialled: enough for a gossip mesh that survives the loss of
/// a few, and for a mesh of a household to know all of itself.
pub const WANTED_PEERS: usize = 32;
/// Dials under way that nobody asked for.
pub const SPECULATIVE_DIALS: usize = 4;
/// Peers that requests wait for while they are dialled.
pub const AWAITED_PEERS: usize = 1024;
/// A connection on which nothing happens is kept so long: dialling again costs more than keeping it.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(600);
/// Interval between pings.
pub const PING_INTERVAL: Duration = Duration::from_secs(4);
/// Timeout of a ping: a peer that is merely busy has time to answer. The second ping in a row that fails ends the
/// connection (libp2p-ping forgives the first), so over TCP a peer that was cut off is noticed after 18 to 28 s; over QUIC
/// the idle timeout of the connection notices it after 10 s. Jobs do not wait for either: they probe their shufflers.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A bootstrap peer that does not answer is dialled again after this, and twice as long each time.
pub const REDIAL_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between dials to a bootstrap peer: it is back as soon as a user notices, and a dial costs it little.
pub const REDIAL_BOOTSTRAP: Duration = Duration::from_secs(5);
/// The longest pause between dials to any other peer, or to a bootstrap peer of another version.
pub const REDIAL_LONGEST: Duration = Duration::from_secs(60);
/// Two peers that dial each other at once have both connections by then. A later one takes the place of the first.
pub const CONNECTION_SETTLED: Duration = Duration::from_secs(3);
/// The DHT is asked for a peer's addresses for so long.
pub const LOOKUP: Duration = Duration::from_secs(8);
/// Upkeep (redials, idle streams, old outbox) is done this often.
pub const UPKEEP: Duration = Duration::from_millis(500);
/// Every listener reports its first address within this time or starting fails.
pub const LISTEN: Duration = Duration::from_secs(10);

// --- What is remembered -----------------------------------------------------------------------------------

/// Peers whose addresses are known.
pub const KNOWN_PEERS: usize = webmesh_protocol::limits::ADVERTS;
/// Addresses of one peer.
pub const ADDRESSES_OF_PEER: usize = webmesh_protocol::limits::ADDRESSES;
/// Peers kept over a restart.
pub const REMEMBERED_PEERS: usize = 256;
/// The file they are in is refused when larger.
pub const REMEMBERED_BYTES: usize = 4 * 1024 * 1024;
/// They are written down this long after the start, and then after twice as long each time, when they changed: a node
/// that crashes in its first half minute must find its mesh again, too.
pub const REMEMBER_FIRST: Duration = Duration::from_secs(1);
/// They are written down at least this often.
pub const REMEMBER_INTERVAL: Duration = Duration::from_secs(30);
/// Records of the DHT held for others.
pub const DHT_RECORDS: usize = 1024;
/// Bytes of one.
pub const DHT_RECORD_BYTES: usize = 1024;
/// Keys of the DHT for which providers are held.
pub const DHT_PROVIDED_KEYS: usize = 4096;

// --- Gossip -----------------------------------------------------------------------------------------------

/// Bytes of one gossipsub RPC. Ours are at most a quarter ([`webmesh_protocol::limits::GOSSIP_BYTES`]).
pub const GOSSIP_RPC_BYTES: usize = 64 * 1024;
/// Messages queued to one peer.
pub const GOSSIP_QUEUE: usize = 1024;
/// Own messages that nobody was there to hear; the oldest go first.
pub const OUTBOX: usize = 256;
/// They are tried again for so long.
pub const OUTBOX_LIFETIME: Duration = Duration::from_secs(5);
/// Messages a second that are taken from who signed them: twice what a peer says that works on several jobs at once,
/// or submits as many as it may.
pub const GOSSIP_OF_SOURCE: f64 = 200.0;
/// Messages a second that are taken from who passes them on: in a star, that is all that the others say.
pub const GOSSIP_OF_NEIGHBOUR: f64 = 1000.0;
/// Messages a second that are taken in all: the floods of two neighbours leave room for nobody else.
pub const GOSSIP_TAKEN: f64 = 2000.0;
/// Who brings so many times the rate is to blame. An honest neighbour stays below, whatever others flood it with: it
/// passes on no more than [`GOSSIP_TAKEN`], and its own words.
pub const GOSSIP_FLOOD: f64 = 4.0;
/// After silence, so many seconds' worth may come at once: gossip that was missed is fetched in one go.
pub const GOSSIP_BURST_SECONDS: f64 = 5.0;
/// Peers whose rates are known, of sources and neighbours each: as many as may be connected, and more.
pub const GOSSIP_RATED_PEERS: usize = 2048;

// --- Relay ------------------------------------------------------------------------------------------------

/// Relays that this peer is reached through: one may go.
pub const RELAYS: usize = 3;
/// Addresses by which relays make this peer known: those of one relay on both internet protocols, for every transport.
pub const RELAY_ADDRESSES: usize = 6;
/// A stream through a relay is used again for so long.
pub const RELAYED_STREAM: Duration = Duration::from_secs(5);
/// A relay that refused is asked again after so long.
pub const RELAY_RETRY: Duration = Duration::from_secs(30);
/// Peers that may be reached through this relay.
pub const RELAY_RESERVATIONS: usize = 512;
/// Circuits at a time.
pub const RELAY_CIRCUITS: usize = 256;
/// Circuits of one peer.
pub const RELAY_CIRCUITS_OF_PEER: usize = 16;
/// A circuit lives so long: a job's length, not the two minutes that are the libp2p default.
pub const RELAY_CIRCUIT_DURATION: Duration = Duration::from_secs(3600);
/// A circuit carries so much: bulk between two tabs that have no other way.
pub const RELAY_CIRCUIT_BYTES: u64 = 4 << 30;
