//! What stages and failures are called, for people and programs.

use webmesh_protocol::message::Failure;

/// What people call a stage. The formats know no more than a map and reduces.
pub(super) fn stage(i: usize) -> String {
    match i {
        0 => "map".to_owned(),
        1 => "reduce".to_owned(),
        n => format!("reduce {n}"),
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
