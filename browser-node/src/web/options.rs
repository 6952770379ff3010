//! Options that the page passes as JSON. The browser parses them: a parser in this program would add 13 KB to the
//! compressed program, which every tab fetches.

use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use super::error;

/// An object of options.
pub(super) struct Options(JsValue);

impl Options {
    /// # Errors
    /// The text is not JSON.
    pub(super) fn parse(text: &str) -> Result<Self, JsError> {
        js_sys::JSON::parse(text).map(Self).map_err(|_| error("the options are not JSON"))
    }

    /// The object under `name`; one without fields if there is none.
    pub(super) fn object(&self, name: &str) -> Self {
        Self(self.get(name))
    }

    /// The text under `name`; `None` if there is none.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).as_string()
    }

    /// Whether the value under `name` is `true`; `None` if it is no boolean.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).as_bool()
    }

    /// The number under `name`; `None` if there is none.
    ///
    /// # Errors
    /// It is not a whole number, or `T` cannot hold it.
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, JsError> {
        let value = self.get(name);
        if value.is_undefined() || value.is_null() {
            return Ok(None);
        }
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..9e15).contains(number));
        match whole.and_then(|number| T::try_from(number as u64).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(error(format!("the option `{name}` is not a whole number, or too large"))),
        }
    }

    /// The same, of a number that must be there.
    ///
    /// # Errors
    /// There is none, it is not a whole number, or `T` cannot hold it.
    pub(super) fn required<T: TryFrom<u64>>(&self, name: &str) -> Result<T, JsError> {
        self.number(name)?.ok_or_else(|| error(format!("the option `{name}` is missing")))
    }

    fn get(&self, name: &str) -> JsValue {
        Reflect::get(&self.0, &name.into()).unwrap_or(JsValue::UNDEFINED)
    }
}
