//! The submitter's end of a job: the sorted outputs of its last stage, merged into lines.
//!
//! [`ResultStore`] keeps what each task gave, in memory up to a bound and then on disk. [`ResultStore::merge`]
//! reads all of it once, in order, and writes `key<TAB>value` lines. With `ResultStore::keep` everything lies in a file
//! from which another process goes on. [`OutputFile`] is a file that appears under its name only when it is whole.

#[cfg(not(target_family = "wasm"))]
mod checksum;
#[cfg(not(target_family = "wasm"))]
mod file;
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
