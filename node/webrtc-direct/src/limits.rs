//! The limits of this transport, each with its reason.

use std::time::Duration;

// --- Messages and streams -----------------------------------------------------------------------------------

/// Encoded message including its length prefix. The specification's limit, which all browsers support.
pub const MESSAGE_BYTES: usize = 16 * 1024;
/// Maximum overhead of a message over its data: two bytes of length, two of flag, four before the data.
pub const MESSAGE_OVERHEAD: usize = 8;
/// Data in one message.
pub const DATA_BYTES: usize = MESSAGE_BYTES - MESSAGE_OVERHEAD;
/// Data in one message to a peer that may be libp2p-webrtc 0.10 or older, which reads into a buffer of 8 KiB and fails
/// on longer messages.
pub const LEGACY_DATA_BYTES: usize = 8 * 1024 - MESSAGE_OVERHEAD;
/// Written but not yet handed to the data channel, per stream: four messages keep the channel busy.
pub const SEND_BUFFER_BYTES: usize = 4 * MESSAGE_BYTES;
/// Initial window: what a writer may send on a stream before its reader has read anything. Each stream has it whatever
/// the other streams hold, so that no stream waits for another's reader. Both ends assume it without negotiation, so
/// changing it changes the protocol.
pub const INITIAL_WINDOW_BYTES: usize = 32 * 1024;
/// Maximum window: received but not yet read, per stream. With a round-trip time of 50 ms, one stream can carry 10
/// MiB/s.
pub const RECEIVE_WINDOW_BYTES: usize = 512 * 1024;
/// Bytes that all streams of one connection may hold unread, or have granted, beyond [`INITIAL_WINDOW_BYTES`] each:
/// enough for thirty streams at the maximum window. When it is used up, windows shrink to the initial one.
pub const UNREAD_BYTES: usize = 16 * 1024 * 1024;
/// A peer without credit support cannot be told to pause where the receiver's data channel has no back-pressure
/// (browsers). Beyond this much unread data the stream is reset, to protect the tab's memory.
pub const RECEIVE_HARD_BYTES: usize = 16 * 1024 * 1024;
/// Concurrent streams on one connection, opened by either side. Costs less than 2 MiB if a peer opens all of them and
/// sends nothing, and 32 MiB plus [`UNREAD_BYTES`] if all windows are full and nothing is read.
pub const STREAMS: usize = 1024;
/// Streams that the peer opened and that have not been accepted yet.
pub const INBOUND_BACKLOG: usize = 128;
/// A dropped stream whose peer does not confirm its end is removed after this. Some implementations never confirm.
pub const STREAM_LINGER: Duration = Duration::from_secs(10);

// --- Credentials --------------------------------------------------------------------------------------------

/// Characters of an ICE username fragment, RFC 8839 section 5.4.
pub const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
/// Characters of an ICE password, RFC 8839 section 5.4.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// Bytes of a STUN username, RFC 8489 section 14.3.
pub const USERNAME_CHARS: usize = 508;
/// Characters of the random part of generated credentials: 190 bits.
pub const RANDOM_CHARS: usize = 32;

// --- Connections (native) -----------------------------------------------------------------------------------

/// Handshake timeout: from the first STUN request to the end of the Noise handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Concurrent handshakes on one listener: some 40 KiB each.
pub const PENDING_HANDSHAKES: usize = 256;
/// Concurrent handshakes from one IPv4 address or one IPv6 /64. Enough for a household or office behind one address.
pub const PENDING_HANDSHAKES_PER_HOST: usize = 32;
/// If a server does not answer one version within this, the dialer tries the next.
pub const VERSION_FALLBACK_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout for an answer to the last version. Together with the fallback it stays below a swarm's default connection
/// timeout of 10 s, which would hide the reason.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Liveness timeout: a connection is lost after this long without a packet, with probes unanswered.
pub const LIVENESS_TIMEOUT: Duration = Duration::from_secs(8);
/// Probe interval of an idle connection, and a client's interval for consent checks (RFC 7675).
pub const PROBE_INTERVAL: Duration = Duration::from_millis(2500);
/// After a connection has ended, STUN requests with its credentials are ignored for this long. Delayed or retransmitted
/// requests of the peer would reopen it otherwise.
pub const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(30);
/// Tombstones per listener: at 30 s each, enough for 130 ended connections a second.
pub const TOMBSTONES: usize = 4096;
/// Source addresses of one client: its network interfaces, and NATs that change their mapping.
pub const ADDRESSES_PER_CONNECTION: usize = 8;
/// Batches of datagrams queued for one connection. More are dropped, and SCTP retransmits.
pub const DATAGRAM_QUEUE: usize = 256;
/// Connections that the swarm has not polled yet. Further clients get no answer and retransmit their STUN requests.
pub const INCOMING_QUEUE: usize = 64;
/// Unread data in SCTP per connection, advertised as its receive window. It fills only if the peer does not support
/// credits.
pub const SCTP_RECEIVE_BYTES: u32 = 1024 * 1024;
/// Data handed to SCTP and not yet acknowledged, for all streams of one connection together, on a path with no latency.
/// Chromium's socket drops packets of bursts beyond some 60 KiB, and SCTP grows its congestion window until packets are
/// lost. With less in flight nothing is retransmitted, and throughput doubles.
pub const SCTP_SEND_BYTES: usize = 48 * 1024;
/// Added to [`SCTP_SEND_BYTES`] for each second of minimum round-trip time: so a connection reaches this rate, in bytes
/// per second, at any latency, up to [`SCTP_SEND_BYTES_MAX`].
pub const SCTP_SEND_RATE: f64 = 10.0 * 1024.0 * 1024.0;
/// Maximum data in flight, at any latency.
pub const SCTP_SEND_BYTES_MAX: usize = 1024 * 1024;
/// Half-open associations of one peer before one is established: it retransmits its INIT when the answer is lost.
pub const SCTP_PENDING_ASSOCIATIONS: usize = 8;
/// Pending stream resets of the peer, counted from the oldest. Browsers send one at a time.
pub const HELD_RESETS: u32 = 64;
/// Streams named by all pending resets together. More than can exist is a violation, and each is checked for every
/// packet.
pub const HELD_RESET_STREAMS: usize = 2 * STREAMS;
/// Queued answers to stream resets: more than one batch of datagrams requests, unless the peer misbehaves.
pub const RESET_ANSWERS: usize = 64;
/// Streams in one reset request: 512 bytes, which fit into one packet.
pub const RESET_STREAMS: usize = 256;
