//! Bounds of the network layer, with their reasons. Those that peers must agree on are in [`webmesh_protocol::limits`].

use std::time::Duration;

use webmesh_protocol::limits::{
    BODY_BYTES, HEAD_BYTES, PUSH_BYTES, REQUEST_TIMEOUT, REQUESTS_OF_PEER, TASK_OUTPUT_BYTES,
};

// --- Requests ---------------------------------------------------------------------------------------------

/// Request streams that this peer opens to another one. Each carries one exchange at a time; few, because opening a
/// stream is expensive over WebRTC.
pub const STREAMS_TO_PEER: usize = 8;
/// Number of these streams that may carry large bodies, so that a small request never waits behind bulk.
pub const BULK_STREAMS_TO_PEER: usize = 6;
/// A request with a larger body counts as bulk, as does one whose answer is usually large.
pub const BULK_BYTES: usize = 64 * 1024;
/// Idle timeout of a stream that this peer opened.
pub const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle timeout of a stream that another peer opened: well after that peer would have closed it, so that the two sides
/// seldom race.
pub const SERVED_STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Streams served to one peer: one for each of its pending requests, and a few more to answer "busy" on.
pub const STREAMS_FROM_PEER: usize = REQUESTS_OF_PEER + STREAMS_TO_PEER;
/// New streams of one connection that wait to be accepted.
pub const STREAM_BACKLOG: usize = 32;
/// Timeout for negotiating a stream, which takes a round trip.
pub const STREAM_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts to open a stream, the first included: a connection that is just closing drops the request for one.
pub const STREAM_ATTEMPTS: u32 = 6;
/// Initial delay between these attempts; doubles each time. Some 600 ms in total, within which a closed connection is
/// noticed.
pub const STREAM_RETRY_DELAY: Duration = Duration::from_millis(10);
/// Requests of this peer that are in flight or queued; further ones are answered "busy" at once.
pub const OUTGOING_REQUESTS: usize = 16 * 1024;
/// Requests of all other peers that are being read or wait for an answer; further ones are answered "busy".
pub const INCOMING_REQUESTS: usize = 4096;
/// How much longer the driver may take than the requester waits for its answer; by then the requester has given up.
pub const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Size limit of a request's body. The largest is a push of one task's whole output, with the directories of its
/// segments (some bytes for each bucket).
pub const REQUEST_BODY_BYTES: usize = TASK_OUTPUT_BYTES as usize + 4 * PUSH_BYTES;
/// Memory limit of frames that are being read or wait for their answer: one frame of the largest size and some hundred
/// pushes of the usual mebibyte. Answers being written have a budget of the same size.
pub const BODY_BUDGET: usize = BODY_BYTES + HEAD_BYTES + 126 * 1024 * 1024;
/// Divisor of the budget: the requests of one peer hold at most an eighth of it, unless a single frame needs more; so do
/// the answers that are written to it.
pub const REQUESTS_SHARE: u32 = 8;
/// The same fraction for the answers of one peer to this one: what a worker prefetches, and one pack.
pub const ANSWERS_SHARE: u32 = 4;
/// Answers of unlimited size (blobs, buckets, pulls) prepared for one peer at a time. Their size is not known before
/// they are in memory, so their number is limited until they hold their part of the budget.
pub const BULK_ANSWERS_OF_PEER: usize = 2;
/// The same for all peers together: some milliseconds of reading each.
pub const BULK_ANSWERS: usize = 16;
/// Answers of medium size (lists, manifests, summaries, compiled modules) prepared for or being written to one peer.
pub const LISTS_OF_PEER: usize = 16;
/// How long an answer may wait to be prepared or written; then the peer is told "busy", while it still listens.
pub const ANSWER_QUEUE_TIMEOUT: Duration = Duration::from_secs(REQUEST_TIMEOUT.as_secs() / 4);
/// Frames up to this size are read even when the budget is spent, so that bulk does not hold up control messages.
pub const SMALL_FRAME: usize = 16 * 1024;
/// Initial buffer size for a frame, twice a push; it doubles as bytes arrive. A claimed length alone makes the receiver
/// allocate no more.
pub const INITIAL_FRAME_BUFFER: usize = 2 * PUSH_BYTES;
/// Minimum average throughput of a frame, in bytes a second before compression (up to four count for each byte sent).
/// Otherwise a peer could hold its part of the budget for years by sending a byte now and then.
pub const MIN_THROUGHPUT: u64 = 16 * 1024;
/// A reservation that has waited this long for the budget puts pressure on the holders.
pub const PRESSURE_DELAY: Duration = Duration::from_secs(2);
/// Time limit of a frame of any size under pressure: the largest push at 5 Mbit/s, a usual one at the minimum
/// throughput.
pub const FRAME_TIMEOUT_UNDER_PRESSURE: Duration = Duration::from_secs(120);
/// Poll interval for requesters of long work that have gone away.
pub const REQUESTER_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Timeout for saying goodbye.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

// --- Channels ---------------------------------------------------------------------------------------------

/// Capacity of the event channel to the driver.
pub const EVENT_QUEUE: usize = 1024;
/// Events that the swarm queues while the event channel is full; beyond that it stops reading from its connections.
pub const SWARM_EVENT_QUEUE: usize = 256;
/// Capacity of the command channel to the swarm, which accepts commands in every state.
pub const COMMAND_QUEUE: usize = 1024;

// --- Connections ------------------------------------------------------------------------------------------

/// Connections in total: a socket and some hundred kilobytes each. Native peers carry up to several hundred tabs.
pub const CONNECTIONS: u32 = 1024;
/// Incoming connections, of that total: the rest is reserved for connections that this peer opens.
pub const INCOMING_CONNECTIONS: u32 = 896;
/// Of those, the places that newcomers share: beyond it, each closes another one, for which there is the rest meanwhile.
pub const INCOMING_PLACES: usize = 832;
/// Of those, the places that only peers take which did something useful, and bootstrap peers.
pub const RESERVED_PLACES: usize = 64;
/// Connections with one peer: both may dial at once, and a direct one replaces a relayed one.
pub const CONNECTIONS_OF_PEER: u32 = 4;
/// Incoming connections whose handshake is pending, for each node; beyond it, a newcomer ends another's handshake. An
/// honest one takes a second or two, and a flood has to open as many connections in that time to end it.
pub const PENDING_HANDSHAKES: usize = 128;
/// The same as libp2p counts them: with those of circuits, and those that were just ended.
pub const PENDING_INCOMING: u32 = 1024;
/// Pending dials.
pub const PENDING_OUTGOING: u32 = 128;
/// Number of connected peers below which known ones are dialled: enough for a gossip mesh that survives the loss of a
/// few, and for everyone in the mesh of one household to know each other.
pub const WANTED_PEERS: usize = 32;
/// Pending dials that nobody asked for.
pub const SPECULATIVE_DIALS: usize = 4;
/// Peers being dialled for which requests wait.
pub const AWAITED_PEERS: usize = 1024;
/// Idle timeout of a connection: dialling again costs more than keeping it.
pub const CONNECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Interval between pings.
pub const PING_INTERVAL: Duration = Duration::from_secs(4);
/// Timeout of a ping: a peer that is merely busy has time to answer. The second ping in a row that fails ends the
/// connection (libp2p-ping forgives the first), so over TCP a peer that was cut off is noticed after 18 to 28 s; over QUIC
/// the idle timeout of the connection notices it after 10 s. Jobs do not wait for either: they probe their shufflers.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Initial delay before a bootstrap peer is dialled again; doubles each time.
pub const REDIAL_INITIAL_DELAY: Duration = Duration::from_secs(1);
/// Maximum delay between dials to a bootstrap peer: short enough that a user hardly notices its return, and a dial
/// costs little.
pub const REDIAL_MAX_DELAY_BOOTSTRAP: Duration = Duration::from_secs(5);
/// Maximum delay between dials to any other peer, or to a bootstrap peer of another version.
pub const REDIAL_MAX_DELAY: Duration = Duration::from_secs(60);
/// Two peers that dial each other at once have both connections by then. A connection made later replaces the first
/// one.
pub const SIMULTANEOUS_DIAL_WINDOW: Duration = Duration::from_secs(3);
/// Timeout for looking up a peer's addresses in the DHT.
pub const DHT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);
/// Interval of maintenance (redials, idle streams, expired outbox entries).
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout for every listener to report its first address; then starting fails.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

// --- Dials of addresses that nobody confirmed -------------------------------------------------------------

/// Dials per minute to one port at which no peer has answered: what a server that strangers name falsely has to bear.
pub const DIALS_OF_PORT: u32 = 4;
/// Dials per minute to one port at which the peer has answered before, or of one at the host that the peer was connected
/// from: it may be about to return there.
pub const DIALS_OF_PROVEN_PORT: u32 = 20;
/// Dials per minute to one public host that reach no peer: ten peers of one server with three transports each.
pub const DIALS_OF_HOST: u32 = 30;
/// The same of a host in the local network, or this one: a class or a test runs dozens of peers there.
pub const DIALS_OF_LOCAL_HOST: u32 = 120;
/// Dials per minute to public hosts that reach no peer and that no request waits for: five peers with six addresses each.
pub const DIALS_UNASKED: u32 = 30;
/// The same with those that a request waits for, such as the shufflers of a job: 64 of them on two internet protocols.
pub const DIALS_IN_ALL: u32 = 240;
/// Entries of each table that dials are counted in. More than can be dialled within the longest pause.
pub const DIAL_TABLE: usize = 4096;
/// First pause after a failed dial of one address, if a request waits; doubles each time.
pub const DIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Longest such pause: a job that needs the peer goes on soon after its return.
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A dial that is given up after this long counts as failed: shorter than the timeout of a dial, and longer than
/// another address of the same peer takes to answer.
pub const DIAL_SILENCE: Duration = Duration::from_secs(5);
/// First pause after a failed dial that no request waits for; doubles each time.
pub const UNASKED_DIAL_BACKOFF: Duration = Duration::from_secs(15);
/// Longest such pause: a peer that only this one can reach is found within it after its return.
pub const UNASKED_DIAL_BACKOFF_MAX: Duration = Duration::from_secs(120);

// --- What is remembered -----------------------------------------------------------------------------------

/// Peers whose addresses are known.
pub const KNOWN_PEERS: usize = webmesh_protocol::limits::ADVERTS;
/// Addresses of one peer.
pub const ADDRESSES_OF_PEER: usize = webmesh_protocol::limits::ADDRESSES;
/// Peers remembered over a restart.
pub const REMEMBERED_PEERS: usize = 256;
/// Size limit of the file that lists them.
pub const REMEMBERED_BYTES: usize = 4 * 1024 * 1024;
/// Delay until they are first saved after the start; it doubles each time, and they are saved only if they changed. It
/// is short because a node that crashes in its first half minute must find its mesh again, too.
pub const SAVE_INITIAL_DELAY: Duration = Duration::from_secs(1);
/// Maximum interval between saves.
pub const SAVE_MAX_INTERVAL: Duration = Duration::from_secs(30);
/// DHT records held for others.
pub const DHT_RECORDS: usize = 1024;
/// Size limit of a DHT record.
pub const DHT_RECORD_BYTES: usize = 1024;
/// DHT keys for which providers are held.
pub const DHT_PROVIDED_KEYS: usize = 4096;

// --- Gossip -----------------------------------------------------------------------------------------------

/// Bytes of one gossipsub RPC. Ours are at most a quarter ([`webmesh_protocol::limits::GOSSIP_BYTES`]).
pub const GOSSIP_RPC_BYTES: usize = 64 * 1024;
/// Messages queued for one peer.
pub const GOSSIP_QUEUE: usize = 1024;
/// Own messages without a subscriber yet; the oldest are dropped first.
pub const OUTBOX_MESSAGES: usize = 256;
/// How long they are retried.
pub const OUTBOX_RETRY_TIME: Duration = Duration::from_secs(5);
/// Messages a second accepted from one signer: twice as many as a peer sends that works on several jobs at once, or
/// submits as many as it may.
pub const GOSSIP_RATE_OF_SIGNER: f64 = 200.0;
/// Messages a second accepted from one neighbour: in a star topology, that is everything that the others publish.
pub const GOSSIP_RATE_OF_NEIGHBOUR: f64 = 1000.0;
/// Messages a second accepted in total: two flooding neighbours use all of it.
pub const GOSSIP_RATE_TOTAL: f64 = 2000.0;
/// A neighbour that exceeds its rate by this factor is blamed. An honest one stays below, even when it is flooded: it
/// passes on no more than [`GOSSIP_RATE_TOTAL`], and its own messages.
pub const GOSSIP_FLOOD_FACTOR: f64 = 4.0;
/// Burst allowance after silence, in seconds' worth of messages: missed gossip is fetched in one go.
pub const GOSSIP_BURST_SECONDS: f64 = 5.0;
/// Peers whose rates are tracked, for signers and neighbours each: more than may be connected.
pub const GOSSIP_RATED_PEERS: usize = 2048;

// --- Relay ------------------------------------------------------------------------------------------------

/// Relays through which this peer is reached: one may be lost.
pub const RELAYS: usize = 3;
/// Relayed addresses that this peer publishes: those of one relay on both internet protocols, for every transport.
pub const RELAY_ADDRESSES: usize = 6;
/// How long a stream through a relay is reused.
pub const RELAYED_STREAM_LIFETIME: Duration = Duration::from_secs(5);
/// Delay before a relay that refused is asked again.
pub const RELAY_RETRY_DELAY: Duration = Duration::from_secs(30);
/// Peers that may reserve a place on this relay.
pub const RELAY_RESERVATIONS: usize = 512;
/// Concurrent circuits.
pub const RELAY_CIRCUITS: usize = 256;
/// Concurrent circuits of one peer.
pub const RELAY_CIRCUITS_OF_PEER: usize = 16;
/// Time limit of a circuit: the length of a job, not the libp2p default of two minutes.
pub const RELAY_CIRCUIT_DURATION: Duration = Duration::from_secs(3600);
/// Traffic limit of a circuit: bulk between two tabs that have no other way.
pub const RELAY_CIRCUIT_BYTES: u64 = 4 << 30;
