//! What web-sys lacks: event handlers that are removed on drop, errors as text, and some properties.

use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventTarget, RtcDataChannel, RtcPeerConnection};

use crate::Error;

/// An event handler. Dropping it removes it from its target, so that no event reaches a freed closure.
pub(super) struct Listener {
    target: EventTarget,
    event: &'static str,
    /// `Fn` rather than `FnMut`, so that it may be called while it runs.
    closure: Closure<dyn Fn(JsValue)>,
}

impl Listener {
    pub(super) fn new(
        target: &EventTarget,
        event: &'static str,
        handler: impl Fn(JsValue) + 'static,
    ) -> Result<Self, JsError> {
        let closure = Closure::<dyn Fn(JsValue)>::new(handler);
        target.add_event_listener_with_callback(event, closure.as_ref().unchecked_ref())?;
        Ok(Self { target: target.clone(), event, closure })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let function = self.closure.as_ref().unchecked_ref();
        if let Err(error) = self.target.remove_event_listener_with_callback(self.event, function) {
            tracing::warn!(event = self.event, error = %JsError::from(error), "cannot remove an event handler");
        }
    }
}

/// A JavaScript exception as text, because its value cannot leave its thread.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct JsError(String);

impl From<JsError> for Error {
    fn from(JsError(text): JsError) -> Self {
        Self::Browser(text)
    }
}

impl From<JsValue> for JsError {
    fn from(value: JsValue) -> Self {
        let text = match value.dyn_ref::<js_sys::Error>() {
            Some(error) => format!("{}: {}", error.name(), error.message()),
            None => value.as_string().unwrap_or_else(|| "the browser did not say why".to_owned()),
        };
        Self(text)
    }
}

// Properties for which web-sys has no accessor.

/// A channel's `protocol`.
pub(super) fn protocol(channel: &RtcDataChannel) -> Option<String> {
    get(channel, "protocol")?.as_string()
}

/// The `RTCSctpTransport` of a connection; none before both descriptions are set.
pub(super) fn sctp(connection: &RtcPeerConnection) -> Option<EventTarget> {
    get(connection, "sctp")?.dyn_into().ok()
}

/// Whether the `state` of an event's target is "closed".
pub(super) fn is_closed(event: &JsValue) -> bool {
    let state = get(event, "target").and_then(|target| get(&target, "state"));
    state.is_some_and(|state| state == "closed")
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    js_sys::Reflect::get(object, &name.into()).ok()
}
