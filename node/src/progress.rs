//! Progress of a job, for users and programs.
//!
//! A [`Reporter`] turns the submitter's own steps and the engine's notices into [`ProgressEvent`]s, the only format of
//! progress: [`Client`](crate::client::Client) returns these events, `--json` and the log of a detached job contain
//! them as lines of JSON, and a tab passes them to JavaScript. A [`Display`] shows them: as bars on a terminal,
//! elsewhere as lines, at most one every two seconds.
//!
//! Displays write to standard error, because standard output is for the result only. With `--json`, every line on
//! standard error is such an event.

#[cfg(not(target_family = "wasm"))]
mod bars;
mod display;
mod event;
mod json;
#[cfg(not(target_family = "wasm"))]
mod lines;
mod names;
mod outline;
mod rate;
mod renderer;
mod reporter;
#[cfg(test)]
mod tests;
mod tracker;
#[cfg(not(target_family = "wasm"))]
mod words;

pub use display::Display;
#[cfg(not(target_family = "wasm"))]
pub use display::Style;
pub use event::{Ending, JobProgress, Limit, ProgressEvent, StageProgress};
pub use outline::Outline;
pub use reporter::Reporter;
pub use tracker::Traffic;
