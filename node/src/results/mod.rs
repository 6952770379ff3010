//! The submitter's end of a job: the sorted outputs of its last stage, merged into lines.
//!
//! [`ResultStore`] keeps what each task gave, in memory up to a bound and then on disk. [`ResultStore::merge`]
//! reads all of it once, in order, and writes `key<TAB>value` lines. [`OutputFile`] is a file that appears
//! under its name only when it is whole.

#[cfg(not(target_family = "wasm"))]
mod checksum;
#[cfg(not(target_family = "wasm"))]
mod file;
mod merge;
mod record;
mod store;
#[cfg(test)]
mod tests;

#[cfg(not(target_family = "wasm"))]
pub use checksum::Checksum;
#[cfg(not(target_family = "wasm"))]
pub use file::{OutputError, OutputFile};
pub use merge::Stats;
pub use record::RecordError;
pub use store::{ResultError, ResultStore};
