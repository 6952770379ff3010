//! How long nothing has come from a peer.

use std::time::Duration;

use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::RtcPeerConnection;

use super::js::JsError;
use super::limits::DISCONNECTED_AFTER;

/// The silence of a peer that the browser calls "disconnected", by the browser's statistics. Browsers say so after
/// different times.
pub(super) async fn silence(connection: &RtcPeerConnection) -> Duration {
    match from_statistics(connection).await {
        Ok(Some(milliseconds)) => Duration::from_millis(milliseconds as u64),
        Ok(None) => DISCONNECTED_AFTER,
        Err(error) => {
            tracing::debug!(%error, "no statistics");
            DISCONNECTED_AFTER
        }
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
