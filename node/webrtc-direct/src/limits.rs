//! Every bound of this transport, with its reason.

use std::time::Duration;

// --- Messages and streams -----------------------------------------------------------------------------------

/// Encoded message with its length prefix. The specification's bound, which all browsers can carry.
pub const MESSAGE_BYTES: usize = 16 * 1024;
/// What a message adds to its data at most: two bytes of length, two of flag, four before the data.
pub const MESSAGE_OVERHEAD: usize = 8;
/// Data in one message.
pub const DATA_BYTES: usize = MESSAGE_BYTES - MESSAGE_OVERHEAD;
/// Data in one message to a peer that may be libp2p-webrtc 0.10 or older: it reads into 8 KiB and fails on more.
pub const OLD_DATA_BYTES: usize = 8 * 1024 - MESSAGE_OVERHEAD;
/// Written but not yet handed to the data channel, per stream: four messages keep the channel busy.
pub const SEND_BUFFER_BYTES: usize = 4 * MESSAGE_BYTES;
/// What a writer may send on a stream before its reader has read anything. Every stream has this much whatever the
/// others hold, so no stream waits for another's reader. Both ends reckon with it before they have spoken: another
/// value is another protocol.
pub const INITIAL_WINDOW_BYTES: usize = 32 * 1024;
/// Received but not yet read, per stream that its user reads, before the reader's side asks the writer to wait. On a
/// path of 50 ms this lets one stream move 10 MiB/s.
pub const RECEIVE_WINDOW_BYTES: usize = 512 * 1024;
/// What all streams of one connection may hold unread, or have promised to take, beyond [`INITIAL_WINDOW_BYTES`]
/// each: thirty streams at their full pace. When it is short, windows shrink to the initial one.
pub const UNREAD_BYTES: usize = 16 * 1024 * 1024;
/// A peer that knows nothing of credits cannot be told to wait where the receiver's data channel has no
/// back-pressure (browsers). Past this much unread data its stream is given up rather than the tab's memory.
pub const RECEIVE_HARD_BYTES: usize = 16 * 1024 * 1024;
/// Streams open at once on one connection, of both sides together: below 2 MiB even if a stranger opens all of them
/// and says nothing, 32 MiB and [`UNREAD_BYTES`] if all are full and nobody reads.
pub const STREAMS: usize = 1024;
/// Streams that the peer opened and that nobody has accepted yet.
pub const INBOUND_BACKLOG: usize = 128;
/// A closed stream whose peer never confirms is forgotten after this. Some implementations never do.
pub const STREAM_LINGER: Duration = Duration::from_secs(10);

// --- Credentials --------------------------------------------------------------------------------------------

/// Characters of an ICE username fragment, RFC 8839 section 5.4.
pub const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
/// Characters of an ICE password, RFC 8839 section 5.4.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// Characters of a STUN username, RFC 8489 section 14.3.
pub const USERNAME_CHARS: usize = 508;
/// Characters of the random part of what we generate: 190 bits.
pub const RANDOM_CHARS: usize = 32;

// --- Connections (native) -----------------------------------------------------------------------------------

/// From a client's first STUN request, or from our first, to the end of the Noise handshake.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Handshakes under way on one listener: some 40 KiB each.
pub const PENDING_HANDSHAKES: usize = 256;
/// Handshakes under way from one IPv4 address or one IPv6 /64. A household or office behind one address fits.
pub const PENDING_HANDSHAKES_PER_HOST: usize = 32;
/// A server that does not answer version 2 within this is asked in version 1.
pub const VERSION_FALLBACK: Duration = Duration::from_secs(3);
/// A server that answers to no version is given up after this much more: with the time before, below the 10 s after
/// which a swarm gives up unless told otherwise, without a reason.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(6);
/// A connection is lost after this much silence, with probes unanswered.
pub const DEAD_AFTER: Duration = Duration::from_secs(8);
/// A probe goes out after this much silence; a client also proves its consent this often (RFC 7675).
pub const PROBE_INTERVAL: Duration = Duration::from_millis(2500);
/// After a connection ended, STUN requests with its credentials are ignored this long: the peer's last requests, on
/// their way or repeated, would otherwise open it again.
pub const TOMBSTONE: Duration = Duration::from_secs(30);
/// Ended connections that are remembered: at 30 s each, 130 ends a second.
pub const TOMBSTONES: usize = 4096;
/// Addresses from which one client may speak: its interfaces, and NATs that change their mind.
pub const ADDRESSES_PER_CONNECTION: usize = 8;
/// Batches of datagrams that wait for one connection. Further ones are dropped, as UDP may; SCTP repeats.
pub const DATAGRAM_QUEUE: usize = 256;
/// Connections that the swarm has not looked at yet. Further clients repeat their STUN requests.
pub const INCOMING_QUEUE: usize = 64;
/// Unread data that SCTP holds for one connection, advertised as its receive window. It fills only if the peer knows
/// nothing of credits.
pub const SCTP_RECEIVE_BYTES: u32 = 1024 * 1024;
/// Data handed to SCTP and not yet acknowledged, for all streams of one connection together, on a path without delay.
/// Chromium's socket loses packets of a burst of some 60 KiB and more, and SCTP grows its own window until packets are
/// lost: with less on the way, nothing is sent twice, and twice as much arrives in a second.
pub const SCTP_SEND_BYTES: usize = 48 * 1024;
/// As much more for each second that it takes there and back without waiting: a connection reaches this rate, in bytes a
/// second, however far the peer is, up to [`SCTP_SEND_BYTES_MOST`].
pub const SCTP_SEND_RATE: f64 = 10.0 * 1024.0 * 1024.0;
/// However long the path is.
pub const SCTP_SEND_BYTES_MOST: usize = 1024 * 1024;
/// Associations that a peer may begin while none is established: its INIT may be repeated when our answer is lost.
pub const SCTP_BEGINNINGS: usize = 8;
/// Stream resets of the peer that are held until their time comes, counted from the first: browsers send one at a time.
pub const HELD_RESETS: u32 = 64;
/// Streams that those name in all: more than there may be is bad faith, and each is looked at whenever anything comes.
pub const HELD_RESET_STREAMS: usize = 2 * STREAMS;
/// Answers to stream resets that wait to be sent: more than one batch of datagrams asks for, unless in bad faith.
pub const RESET_ANSWERS: usize = 64;
/// Streams in one request to reset them: 512 bytes, which fit into one packet.
pub const RESET_STREAMS: usize = 256;
