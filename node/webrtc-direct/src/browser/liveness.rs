//! Whether a peer is still there. Browsers ask it by STUN, but say so late, and each after another time.

use std::time::Duration;

use futures_timer::Delay;
use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RtcPeerConnection, RtcPeerConnectionState};

use super::js::JsError;
use crate::limits::DEAD_AFTER;

/// No two questions follow each other sooner.
const PAUSE: Duration = Duration::from_millis(500);

/// Ready once nothing has come for [`DEAD_AFTER`], or `connection` gives none.
///
/// The browser keeps the times, so that a timer that comes late, as in a page that nobody looks at, ends nothing.
pub(super) async fn until_silent(connection: impl Fn() -> Option<RtcPeerConnection>) {
    let mut silence = Duration::ZERO;
    while silence < DEAD_AFTER {
        Delay::new((DEAD_AFTER - silence).max(PAUSE)).await;
        let Some(connection) = connection() else { return };
        silence = match from_statistics(&connection).await {
            Ok(Some(milliseconds)) => Duration::from_secs_f64(milliseconds / 1000.0),
            // The browser's own view, which is a later one.
            Ok(None) if connection.connection_state() == RtcPeerConnectionState::Disconnected => DEAD_AFTER,
            Ok(None) => Duration::ZERO,
            Err(error) => {
                tracing::debug!(%error, "no statistics");
                Duration::ZERO
            }
        };
    }
}

/// Milliseconds since the last packet on any path, if the browser tells.
async fn from_statistics(connection: &RtcPeerConnection) -> Result<Option<f64>, JsError> {
    let report = JsFuture::from(connection.get_stats()).await?;
    let mut shortest = None;
    for entry in js_sys::try_iter(&report)?.into_iter().flatten() {
        let statistics = entry?.unchecked_into::<Array>().get(1);
        let number = |name: &str| Reflect::get(&statistics, &JsValue::from_str(name)).ok().and_then(|v| v.as_f64());
        if let (Some(now), Some(last)) = (number("timestamp"), number("lastPacketReceivedTimestamp")) {
            let since = (now - last).max(0.0);
            shortest = Some(shortest.map_or(since, |other: f64| other.min(since)));
        }
    }
    Ok(shortest)
}
