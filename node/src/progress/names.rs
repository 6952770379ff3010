//! What stages and failures are called, for people and programs.

use webmesh_protocol::message::{Cause, Failure};

use super::event::Limit;

/// What people call a stage. The formats know no more than a map and reduces.
pub(super) fn stage(i: usize) -> String {
    match i {
        0 => "map".to_owned(),
        1 => "reduce".to_owned(),
        n => format!("reduce {n}"),
    }
}

/// The limit that a failure is put down to.
pub(super) fn limit(cause: Cause) -> Option<Limit> {
    match cause {
        Cause::TimeLimit => Some(Limit::Time),
        Cause::MemoryLimit => Some(Limit::Memory),
        Cause::OutputLimit => Some(Limit::Output),
        Cause::InputLimit => Some(Limit::Input),
        Cause::Job | Cause::Worker => None,
    }
}

/// How a job is submitted so that its tasks stay within the limit that one reached.
pub(super) fn remedy(failure: &Failure) -> Option<&'static str> {
    Some(match (failure.cause, failure.stage) {
        (Cause::Job | Cause::Worker, _) => return None,
        (Cause::TimeLimit, 0) => {
            "allow more with --task-timeout, or give a task less to do: a smaller --chunk, fewer --docs-per-task"
        }
        (Cause::TimeLimit, _) => "allow more with --task-timeout, or give a task less to do with more --partitions",
        (Cause::MemoryLimit | Cause::InputLimit, 0) => {
            "allow more with --task-memory (4 GiB at most), or give a task less to hold: a smaller --chunk, fewer \
             --docs-per-task"
        }
        (Cause::MemoryLimit | Cause::InputLimit, _) => {
            "allow more with --task-memory (4 GiB at most); divide the keys further with more --partitions; or, if one \
             key has too many values, add a combine() to the job, or write its reduce in the fast form"
        }
        (Cause::OutputLimit, 0) => {
            "this limit is fixed: let one task emit less with a smaller --chunk, fewer --docs-per-task or more --tasks, \
             or add a combine() to the job"
        }
        (Cause::OutputLimit, _) => "this limit is fixed: let one task give less with more --partitions",
    })
}

/// How a task failed, and what the user can do about it.
pub(super) fn explanation(failed: &Failure, input: Option<&str>) -> String {
    let what = failure(failed, input);
    match remedy(failed) {
        Some(remedy) => format!("{what}\nhelp: {remedy}"),
        None => what,
    }
}

/// What happened to which task, or which input.
fn failure(failed: &Failure, input: Option<&str>) -> String {
    attempt(&stage(usize::from(failed.stage)), failed.task, input, &failed.why)
}

/// What happened to which task of a stage, or to which input.
pub(super) fn attempt(stage: &str, task: u32, input: Option<&str>, why: &str) -> String {
    match input {
        Some(input) => format!("{stage} of {input}: {why}"),
        None => format!("{stage} task {task}: {why}"),
    }
}
