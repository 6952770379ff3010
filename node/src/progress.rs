//! What a person, or a program, sees of a job while it runs.
//!
//! A [`Reporter`] turns what a submitter does, and what the engine says of its job, into [`ProgressEvent`]s. That is the
//! only format of progress: [`Client`](crate::client::Client) gives its users these events, `--json` writes them as JSON, a
//! line each, and so do the log of a detached job and a tab. A [`Display`] shows them: on a terminal as bars, elsewhere as
//! lines, at most one every two seconds.
//!
//! Everything goes to standard error: standard output carries the result and nothing else. With `--json`, every line there
//! is such an event, whatever a command does.

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
