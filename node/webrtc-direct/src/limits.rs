//! Every bound of this transport, with its reason.

use std::time::Duration;

// --- Messages and streams -----------------------------------------------------------------------------------

/// Encoded message with its length prefix. The specification's bound, which all browsers can carry.
pub const MESSAGE_BYTES: usize = 16 * 1024;
/// What a message adds to its data at most: two bytes of length, two of flag, four before the data.
pub const MESSAGE_OVERHEAD: usize = 8;
/// Data in one message.
pub const DATA_BYTES: usize = MESSAGE_BYTES - MESSAGE_OVERHEAD;
/// Written but not yet handed to the data channel, per stream: four messages keep the channel busy.
pub const SEND_BUFFER_BYTES: usize = 4 * MESSAGE_BYTES;
/// Received but not yet read, per stream, before the reader's side asks the writer to wait. On a path of 50 ms this
/// lets one stream move 5 MiB/s.
pub const RECEIVE_WINDOW_BYTES: usize = 256 * 1024;
/// A peer that knows nothing of credits cannot be told to wait where the receiver's data channel has no
/// back-pressure (browsers). Past this much unread data its stream is given up rather than the tab's memory.
pub const RECEIVE_HARD_BYTES: usize = 16 * 1024 * 1024;
/// Streams open at once on one connection, of both sides together: memory for streams stays below a few MiB even
/// if a stranger opens all of them and says nothing.
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
/// Characters of the random part of what we generate: 190 bits.
pub const RANDOM_CHARS: usize = 32;
