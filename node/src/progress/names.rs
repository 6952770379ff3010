//! Names of stages, and texts about failures.

use webmesh_protocol::StageId;
use webmesh_protocol::message::{Cause, Failure};

use super::event::Limit;

/// The name of a stage: the first is the map, all others are reduces.
pub(super) fn stage(number: StageId) -> String {
    match number.0 {
        0 => "map".to_owned(),
        1 => "reduce".to_owned(),
        n => format!("reduce {n}"),
    }
}

/// The limit that caused a failure, if one did.
pub(super) fn limit(cause: Cause) -> Option<Limit> {
    match cause {
        Cause::TimeLimit => Some(Limit::Time),
        Cause::MemoryLimit => Some(Limit::Memory),
        Cause::OutputLimit => Some(Limit::Output),
        Cause::InputLimit => Some(Limit::Input),
        Cause::Job | Cause::Worker => None,
    }
}

/// How to submit the job so that its tasks stay within the limit that caused the failure, if one did.
pub(super) fn remedy(failure: &Failure) -> Option<&'static str> {
    Some(match (failure.cause, failure.stage.0) {
        (Cause::Job | Cause::Worker, _) => return None,
        (Cause::TimeLimit, 0) => {
            "raise --task-timeout, or make tasks smaller with a smaller --chunk or fewer --docs-per-task"
        }
        (Cause::TimeLimit, _) => "raise --task-timeout, or make tasks smaller with more --partitions",
        (Cause::MemoryLimit | Cause::InputLimit, 0) => {
            "raise --task-memory (at most 4 GiB), or make tasks smaller with a smaller --chunk or fewer --docs-per-task"
        }
        (Cause::MemoryLimit | Cause::InputLimit, _) => {
            "raise --task-memory (at most 4 GiB); make tasks smaller with more --partitions; or, if one key has too \
             many values, add a combine() to the job or write its reduce in the fast form"
        }
        (Cause::OutputLimit, 0) => {
            "this limit is fixed: make tasks smaller with a smaller --chunk, fewer --docs-per-task or more --tasks, or \
             add a combine() to the job"
        }
        (Cause::OutputLimit, _) => "this limit is fixed: make tasks smaller with more --partitions",
    })
}

/// The text for a failure: the task or input, the reason, and a remedy if there is one.
pub(super) fn explanation(failed: &Failure, input: Option<&str>) -> String {
    let what = failure(failed, input);
    match remedy(failed) {
        Some(remedy) => format!("{what}\nhelp: {remedy}"),
        None => what,
    }
}

/// The text for a failure, without a remedy.
fn failure(failed: &Failure, input: Option<&str>) -> String {
    attempt(&stage(failed.stage), failed.task.0, input, &failed.why)
}

/// The text for a failed attempt: the input if known, else the task, and the reason.
pub(super) fn attempt(stage: &str, task: u32, input: Option<&str>, why: &str) -> String {
    match input {
        Some(input) => format!("{stage} of {input}: {why}"),
        None => format!("{stage} task {task}: {why}"),
    }
}
