//! Finds the document that made a task fail after all of its documents were mapped (rule 19, docs/rules.md).

use std::num::NonZeroU32;
use std::time::Instant;

use super::error::TaskError;
use super::module::Module;
use super::params::TaskParams;

impl Module {
    /// Maps each of a failed task's documents separately until one fails alone, and returns that one's error. If none
    /// does within the time limit of one task, either they fail only together or the search was too short, and the
    /// error says so.
    pub(super) fn blame(
        &self,
        error: TaskError,
        documents: &[&[u8]],
        buckets: NonZeroU32,
        params: &TaskParams,
    ) -> TaskError {
        if error.document.is_some() || !error.kind.is_repeatable() {
            return error;
        }
        if documents.len() == 1 {
            return TaskError { document: Some(0), ..error };
        }
        let started = Instant::now();
        for (number, document) in (0..).zip(documents) {
            if started.elapsed() > params.limits.time || params.cancel.is_cancelled() {
                return TaskError { apart: number, ..error };
            }
            match self.map_task([*document], buckets, params) {
                Err(alone) if alone.kind.is_repeatable() => return TaskError { document: Some(number), ..alone },
                _ => {}
            }
        }
        TaskError { apart: documents.len() as u32, ..error }
    }
}
