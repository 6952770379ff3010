//! What JavaScript needs that web-sys does not give: handlers that go away, and errors as text.

use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{EventTarget, RtcDataChannel};

/// A handler of one event. Dropping it takes it off its target, so that no event can reach a closure that is gone.
pub(super) struct Listener {
    target: EventTarget,
    event: &'static str,
    /// `Fn`, not `FnMut`: an event in the middle of another's handler is then no error.
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

/// An exception, as text: JavaScript's own value cannot leave its thread.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the browser refused: {0}")]
pub struct JsError(String);

impl From<JsValue> for JsError {
    fn from(value: JsValue) -> Self {
        let text = match value.dyn_ref::<js_sys::Error>() {
            Some(error) => format!("{}: {}", error.name(), error.message()),
            None => format!("{value:?}"),
        };
        Self(text)
    }
}

/// The protocol that a channel's opener named. web-sys has no accessor.
pub(super) fn protocol(channel: &RtcDataChannel) -> Option<String> {
    js_sys::Reflect::get(channel, &"protocol".into()).ok()?.as_string()
}
