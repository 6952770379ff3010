//! Liveness of the peer. Browsers probe it by STUN, but report a failure late, each after a different time. So received
//! packets are counted here.

use std::time::Duration;

use futures_timer::Delay;
use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::RtcPeerConnection;
use web_time::Instant;

use super::js::JsError;
use super::limits::LIVENESS_TIMEOUT;

/// Poll interval of an idle connection.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Poll interval while messages arrive. Once they stop, the packet counters need a recent value to compare with.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Statistics of a candidate pair that count received packets. Timestamps would be simpler, but their meaning differs
/// between browsers.
const COUNTERS: [&str; 4] = ["packetsReceived", "bytesReceived", "requestsReceived", "responsesReceived"];

/// The state of a connection that is polled.
pub(super) struct Seen {
    pub(super) raw: RtcPeerConnection,
    /// Messages received on all channels.
    pub(super) messages: u64,
}

/// Ready once nothing was received for [`LIVENESS_TIMEOUT`], or the connection is gone.
///
/// A late timer, as in a background tab, does not end a live connection: packets received meanwhile are counted.
pub(super) async fn until_silent(connection: impl Fn() -> Option<Seen>) {
    let (mut messages, mut packets) = (0, 0.0);
    let (mut silence, mut interval) = (Duration::ZERO, POLL_INTERVAL);
    while silence < LIVENESS_TIMEOUT {
        let polled = Instant::now();
        Delay::new(interval).await;
        let Some(seen) = connection() else { return };
        interval = POLL_INTERVAL;
        // Statistics cost more than the message count.
        let received = if std::mem::replace(&mut messages, seen.messages) != seen.messages {
            interval = BUSY_POLL_INTERVAL;
            true
        } else {
            match count(&seen.raw).await {
                // Without counters, the connection's own state will report a failure, if later.
                Ok(count) => std::mem::replace(&mut packets, count) != count || count == 0.0,
                Err(error) => {
                    tracing::debug!(%error, "cannot read the connection's statistics");
                    true
                }
            }
        };
        // Received at some time since the last poll, of which at most one poll interval counts as silence.
        silence = if received { polled.elapsed().min(POLL_INTERVAL) } else { silence + polled.elapsed() };
    }
}

/// A number that changes with every packet received. 0 if the browser has no such counter.
async fn count(connection: &RtcPeerConnection) -> Result<f64, JsError> {
    let report = JsFuture::from(connection.get_stats()).await?;
    let mut count = 0.0;
    for entry in js_sys::try_iter(&report)?.into_iter().flatten() {
        let statistics = entry?.unchecked_into::<Array>().get(1);
        let get = |name: &str| Reflect::get(&statistics, &JsValue::from_str(name)).ok();
        if get("type").is_some_and(|kind| kind == "candidate-pair") {
            count += COUNTERS.iter().filter_map(|name| get(name)?.as_f64()).sum::<f64>();
        }
    }
    Ok(count)
}
