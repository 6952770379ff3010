//! What is known of a job when it starts.

use std::sync::Arc;

use webmesh_protocol::message::Failure;

use super::names;
use crate::inputs::{PackSource, Plan};

/// What is known of a job when it starts.
#[derive(Clone, Debug)]
pub struct Outline {
    /// What people call it.
    pub name: String,
    /// How many documents it reads.
    pub documents: u64,
    /// How many tasks its first stage has.
    pub tasks: u32,
    /// How many bytes it reads.
    pub bytes: u64,
    /// How many files these are.
    pub files: u32,
    /// Where the names of documents are to be had.
    pub source: Option<Arc<PackSource>>,
}

impl Outline {
    /// The outline of the job `name` over planned inputs.
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

    /// Says which task failed, or which document made it fail, how, and what to do about it.
    pub fn explain(&self, failure: &Failure) -> String {
        names::explanation(failure, self.input_of(failure).as_deref())
    }

    /// What people call the document that made a task fail, or all that it may have been.
    pub fn input_of(&self, failure: &Failure) -> Option<String> {
        let source = self.source.as_ref().filter(|_| failure.stage == 0)?;
        if let Some(document) = failure.document {
            return source.name_of(failure.task, document);
        }
        let mut names = (0..).map_while(|document| source.name_of(failure.task, document));
        let first = names.next()?;
        let (more, last) = names.fold((0, None), |(count, _), name| (count + 1, Some(name)));
        Some(match last {
            None => first,
            Some(last) => format!("one or several of {} documents, {first} to {last}", more + 1),
        })
    }
}
