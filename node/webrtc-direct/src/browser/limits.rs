//! Bounds that only the browser's side has; the others are in [`crate::limits`].

use std::time::Duration;

/// Handed to the browser for one channel and not yet sent. Past this the writer waits: enough that the network does
/// not run dry before the browser's next event, little enough that a short message on another channel is soon out.
pub(super) const CHANNEL_BUFFER_BYTES: u32 = 256 * 1024;
/// The browser says so when a channel has no more than this left.
pub(super) const CHANNEL_LOW_BYTES: u32 = 64 * 1024;
/// Received on all streams of one connection and not read yet. Browsers cannot stop a peer that knows nothing of
/// credits; past this the stream whose turn it is gives way. One that knows them stays far below.
pub(super) const HARD_UNREAD_BYTES: usize = 64 * 1024 * 1024;
/// Streams of our own at once. Browsers have 1,024 ids for channels and give half of them to each side.
pub(super) const OUTBOUND_STREAMS: usize = 500;
/// How long a server has to answer to one version before the next is tried beside it: several round trips of a slow
/// path, and short enough for somebody who waits.
pub(super) const VERSION_HEAD_START: Duration = Duration::from_secs(2);
/// From the dial to an authenticated peer. Browsers alone would try for half a minute; a swarm gives up after 10 s
/// unless told otherwise, without a reason.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(9);
/// After this much silence a peer is gone. Firefox asks its peer every 6 s at most, and what comes may be taken for
/// a second older than it is.
pub(super) const SILENT_AFTER: Duration = Duration::from_millis(7250);
/// Closing a connection waits this long for what is still in the browser's buffers.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
