//! Whether a peer is still there. Browsers ask it by STUN, but say so late, and each after another time.

use std::time::Duration;

use futures_timer::Delay;
use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::RtcPeerConnection;
use web_time::Instant;

use super::js::JsError;
use super::limits::SILENT_AFTER;

/// How often it is looked at whether something has come,
const LOOK: Duration = Duration::from_secs(1);
/// and how soon again where messages come: once they end, packets have to be counted before more of them can be told.
const NEXT_LOOK: Duration = Duration::from_millis(250);
/// Counters of what has come on a pair of addresses. Times would be simpler, but mean other things in each browser.
const COUNTERS: [&str; 4] = ["packetsReceived", "bytesReceived", "requestsReceived", "responsesReceived"];

/// A connection as seen from here.
pub(super) struct Seen {
    pub(super) raw: RtcPeerConnection,
    /// Messages that have come on its channels.
    pub(super) messages: u64,
}

/// Ready once nothing has come for [`SILENT_AFTER`], or there is no connection any more.
///
/// A timer that comes late, as in a page that nobody looks at, ends nothing: what came meanwhile is counted.
pub(super) async fn until_silent(connection: impl Fn() -> Option<Seen>) {
    let (mut messages, mut packets) = (0, 0.0);
    let (mut silence, mut until_look) = (Duration::ZERO, LOOK);
    while silence < SILENT_AFTER {
        let look = Instant::now();
        Delay::new(until_look).await;
        let Some(seen) = connection() else { return };
        until_look = LOOK;
        // Statistics cost more than a look at our own count.
        let heard = if std::mem::replace(&mut messages, seen.messages) != seen.messages {
            until_look = NEXT_LOOK;
            true
        } else {
            match count(&seen.raw).await {
                // Where nothing is told, the connection's own state will tell, if later.
                Ok(count) => std::mem::replace(&mut packets, count) != count || count == 0.0,
                Err(error) => {
                    tracing::debug!(%error, "no statistics");
                    true
                }
            }
        };
        // At the latest now, and not before the last look unless that was long ago.
        silence = if heard { look.elapsed().min(LOOK) } else { silence + look.elapsed() };
    }
}

/// A number that changes whenever something comes. 0 if the browser does not tell.
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
