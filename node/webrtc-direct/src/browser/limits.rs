//! Limits of the browser's side; the shared ones are in [`crate::limits`].

use std::time::Duration;

/// Handed to the browser for one channel but not yet sent; beyond this the writer waits. Enough to keep the network
/// busy until the browser's next event, and little enough that a short message on another channel is not delayed much.
pub(super) const CHANNEL_BUFFER_BYTES: u32 = 256 * 1024;
/// `bufferedAmountLowThreshold`: the browser fires an event when a channel has this much left to send.
pub(super) const CHANNEL_LOW_BYTES: u32 = 64 * 1024;
/// Received on all streams of one connection but not read yet. Browsers cannot pause a peer without credit support:
/// beyond this, the stream that receives more is closed. A peer with credit support stays far below.
pub(super) const HARD_UNREAD_BYTES: usize = 64 * 1024 * 1024;
/// Concurrent streams opened by this side. Browsers have 1,024 channel ids, half of them for each side.
pub(super) const OUTBOUND_STREAMS: usize = 500;
/// Delay before the next version is tried in parallel: several round trips on a slow path, and short enough for a user
/// who is waiting.
pub(super) const VERSION_ATTEMPT_DELAY: Duration = Duration::from_secs(2);
/// Timeout from the dial to an authenticated peer. Browsers would try for half a minute. A swarm's default connection
/// timeout of 10 s would hide the reason.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(9);
/// Liveness timeout: a connection is lost after this long without a packet. Firefox's STUN interval is up to 6 s, and
/// polling may date a packet up to one second too early.
pub(super) const LIVENESS_TIMEOUT: Duration = Duration::from_millis(7250);
/// Timeout for sending what is buffered when a connection is closed.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
