//! What stages and failures are called, for people and programs.

use webmesh_protocol::message::{Cause, Failure};

/// What people call a stage. The formats know no more than a map and reduces.
pub(super) fn stage(i: usize) -> String {
    match i {
        0 => "map".to_owned(),
        1 => "reduce".to_owned(),
        n => format!("reduce {n}"),
    }
}

/// What programs call a limit.
pub(super) fn limit(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::TimeLimit => Some("time"),
        Cause::MemoryLimit => Some("memory"),
        Cause::OutputLimit => Some("output"),
        Cause::InputLimit => Some("input"),
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
pub(super) fn failure(failure: &Failure, input: Option<&str>) -> String {
    let stage = stage(usize::from(failure.stage));
    match input {
        Some(input) => format!("{stage} of {input}: {}", failure.why),
        None => format!("{stage} task {}: {}", failure.task, failure.why),
    }
}
