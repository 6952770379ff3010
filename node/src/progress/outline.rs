//! The size and name of a job, known before it starts.

use std::sync::Arc;

use webmesh_protocol::StageId;
use webmesh_protocol::message::Failure;

use super::names;
use crate::inputs::{PackSource, Plan};

/// The size and name of a job, known before it starts.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The job's name for users.
    pub name: String,
    /// Number of input documents.
    pub documents: u64,
    /// Number of tasks of the first stage.
    pub tasks: u32,
    /// Size of the input in bytes.
    pub bytes: u64,
    /// Number of input files.
    pub files: u32,
    /// The inputs, which give the names of documents; `None` for a job without input files.
    pub source: Option<Arc<PackSource>>,
}

impl Outline {
    /// The outline of the job `name` with the inputs of `plan`.
    pub fn new(name: &str, plan: &Plan) -> Self {
        Self {
            name: name.to_owned(),
            documents: plan.documents,
            tasks: plan.tasks,
            bytes: plan.bytes,
            files: plan.files,
            source: plan.source.clone(),
        }
    }

    /// Describes a failure to the user: the task or document that failed, the reason, and a remedy if there is one.
    pub fn explain(&self, failure: &Failure) -> String {
        names::explanation(failure, self.input_of(failure).as_deref())
    }

    /// The name of the document that made a task fail, or of all documents of the task if it is not known which; `None`
    /// outside the first stage.
    pub fn input_of(&self, failure: &Failure) -> Option<String> {
        let source = self.source.as_ref().filter(|_| failure.stage == StageId(0))?;
        if let Some(document) = failure.document {
            return source.name_of(failure.task, document);
        }
        let mut names = (0..).map_while(|document| source.name_of(failure.task, document));
        let first = names.next()?;
        let (more, last) = names.fold((0, None), |(count, _), name| (count + 1, Some(name)));
        Some(match last {
            None => first,
            Some(last) => format!("one or more of {} documents, {first} to {last}", more + 1),
        })
    }
}
