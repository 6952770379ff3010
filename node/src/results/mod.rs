//! The submitter's side of a job's result: the sorted outputs of the last stage, merged into lines.
//!
//! [`ResultStore`] keeps the output of each task, in memory up to a limit and then on disk. [`ResultStore::merge`]
//! reads all of it once, in order, and writes `key<TAB>value` lines. With `ResultStore::keep`, everything is in a file
//! from which another process can continue. [`OutputFile`] is a file that appears under its name only when it is
//! complete.

#[cfg(not(target_family = "wasm"))]
mod checksum;
#[cfg(not(target_family = "wasm"))]
mod file;
mod header;
#[cfg(not(target_family = "wasm"))]
mod kept;
mod merge;
mod record;
mod store;
#[cfg(test)]
mod tests;

#[cfg(not(target_family = "wasm"))]
pub use checksum::Checksum;
#[cfg(not(target_family = "wasm"))]
pub use file::{OutputError, OutputFile};
#[cfg(not(target_family = "wasm"))]
pub use kept::Reopened;
pub use merge::Stats;
pub use record::RecordError;
pub use store::{ResultError, ResultStore};
