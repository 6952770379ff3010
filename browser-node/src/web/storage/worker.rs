//! The Worker's side of the storage.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use js_sys::{Function, Uint8Array};
use serde_json::json;
use wasm_bindgen::prelude::*;
use web_sys::File;
use webmesh_node::inputs::{self, PackSource, Plan, Planned, Step};
use webmesh_node::platform::FileList;
use webmesh_node::results::ResultStore;
use webmesh_node::store::actions::perform;
use webmesh_node::store::segments::SegmentStore;
use webmesh_node::store::source::{BlobError, BlobSource};
use webmesh_protocol::io::{BlobAction, NotStored, SegmentAction, StoreAction};
use webmesh_protocol::manifest::Inputs;
use webmesh_protocol::message::Response;
use webmesh_protocol::{Hash, JobId, TaskId};

use super::report::{self, Report, Requester};
use crate::web::options::Options;
use crate::web::{error, json_text, log_error};

/// Size limit of segments held for others: a Worker can have up to four gibibytes of memory, less on a phone.
const SEGMENT_BYTES: u64 = 512 << 20;
/// Size limit of the results of one of its own jobs.
const RESULT_BYTES: u64 = 512 << 20;

/// Name of the storage location in errors.
const MEMORY: &str = "the memory of this tab";

/// The data that the Worker holds.
#[wasm_bindgen]
pub struct Storage {
    segments: SegmentStore,
    outputs: HashMap<JobId, ResultStore>,
    /// Inputs of running jobs by the hash of their index, with the number of jobs that read them.
    inputs: HashMap<Hash, (Arc<PackSource>, usize)>,
}

/// The answer to an action.
#[wasm_bindgen(getter_with_clone)]
pub struct Answer {
    /// Its report, for the engine's side; empty if it has none.
    pub head: Uint8Array,
    /// Its body.
    pub body: Uint8Array,
}

#[wasm_bindgen]
impl Storage {
    /// Creates an empty storage.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default, reason = "JavaScript knows constructors, not defaults")]
    pub fn new() -> Self {
        Self {
            segments: SegmentStore::new(PathBuf::from(MEMORY), SEGMENT_BYTES),
            outputs: HashMap::new(),
            inputs: HashMap::new(),
        }
    }

    /// Carries out an action.
    pub fn perform(&mut self, head: &[u8], body: Vec<u8>) -> Result<Answer, JsError> {
        let mut action: StoreAction = report::decode(head).map_err(error)?;
        if let Some(bytes) = action.body_mut() {
            *bytes = body.into();
        }
        let Some((report, parts)) = self.perform_action(action) else {
            return Ok(Answer { head: Uint8Array::new_with_length(0), body: Uint8Array::new_with_length(0) });
        };
        let len: usize = parts.iter().map(Bytes::len).sum();
        let body = Uint8Array::new_with_length(u32::try_from(len)?);
        let mut at = 0;
        for part in parts {
            let end = at + part.len() as u32;
            body.subarray(at, end).copy_from(&part);
            at = end;
        }
        Ok(Answer { head: Uint8Array::from(&report::encode(&report).map_err(error)?[..]), body })
    }

    /// Holds the inputs of a finished plan until they are [forgotten](Self::forget). Returns JSON: `inputs`, `tasks`,
    /// `documents`, `bytes`, `files`, and `notes`: sentences about unusual inputs.
    pub fn hold(&mut self, planning: Planning) -> Result<String, JsError> {
        let plan = planning.plan.ok_or_else(|| error("the inputs are not planned yet"))?;
        let Plan { inputs, tasks, documents, bytes, files, source, notes } = plan;
        if let (Some(source), Inputs::Packs { index, .. }) = (source, &inputs) {
            self.inputs.entry(index.hash).or_insert((source, 0)).1 += 1;
        }
        let inputs = hex::encode(report::encode(&inputs).map_err(error)?);
        let notes: Vec<String> = notes.iter().map(inputs::Note::text).collect();
        let plan = json!({
            "inputs": inputs,
            "tasks": tasks,
            "documents": documents,
            "bytes": bytes,
            "files": files,
            "notes": notes,
        });
        Ok(json_text(&plan))
    }

    /// The user's name for a document of a map task, or for the task's first; `None` if there are no files. `inputs`
    /// comes from [`hold`](Self::hold).
    #[wasm_bindgen(js_name = nameOf)]
    pub fn name_of(&self, inputs: &str, task: u32, document: Option<u32>) -> Option<String> {
        self.inputs.get(&index_of(inputs)?)?.0.name_of(TaskId(task), document.unwrap_or(0))
    }

    /// Releases the data of a job that has ended: its files, and results that were not fetched. `job` is empty if the
    /// job was not announced.
    pub fn forget(&mut self, inputs: &str, job: &str) {
        if let Some(index) = index_of(inputs)
            && let Some((source, jobs)) = self.inputs.remove(&index)
            && jobs > 1
        {
            self.inputs.insert(index, (source, jobs - 1));
        }
        if let Ok(job) = job.parse::<JobId>() {
            self.outputs.remove(&job);
        }
    }

    /// Merges the results of a finished job; `sink` is called with pieces of the lines, in order. Returns JSON:
    /// `lines`, `keys`, `bytes`.
    pub fn merge(&mut self, job: &str, sink: Function) -> Result<String, JsError> {
        let job: JobId = job.parse().map_err(|_| error("no id of a job"))?;
        let results = self.outputs.remove(&job).ok_or_else(|| error("the job is done, but its result is not here"))?;
        let stats = results.merge(&mut Pieces(sink))?;
        Ok(json_text(&json!({ "lines": stats.lines, "keys": stats.keys, "bytes": stats.bytes })))
    }
}

/// A plan in progress for a job's inputs: made in steps, as other work waits for the Worker meanwhile.
#[wasm_bindgen]
pub struct Planning {
    rest: Option<inputs::Planning>,
    plan: Option<Plan>,
    done: Planned,
}

#[wasm_bindgen]
impl Planning {
    /// Starts a plan; reads nothing yet. Without files, the job's documents are numbers. `options` is JSON.
    #[wasm_bindgen(constructor)]
    pub fn new(files: Vec<File>, options: &str) -> Result<Self, JsError> {
        let given = Options::parse(options)?;
        let docs_per_task = given.number("documentsPerTask")?.map(|count| {
            NonZeroU32::new(count).ok_or_else(|| error("the option `documentsPerTask` must be at least 1"))
        });
        let docs_per_task = docs_per_task.transpose()?;
        let usual = inputs::Options::default();
        let options = inputs::Options {
            chunk: given.number("chunk")?.unwrap_or(usual.chunk),
            whole_files: given.flag("wholeFiles").unwrap_or(usual.whole_files),
            docs_per_task,
            numbers: given.number("tasks")?.unwrap_or(usual.numbers),
            ..usual
        };
        let (rest, plan) = if files.is_empty() {
            (None, Some(inputs::plan_numbers(&options).map_err(error)?))
        } else {
            (Some(inputs::Planning::new(listed(files), &options).map_err(error)?), None)
        };
        Ok(Self { rest, plan, done: Planned { bytes: 0, of: 0 } })
    }

    /// Reads some more; `true` when everything is read.
    pub fn step(&mut self) -> Result<bool, JsError> {
        if let Some(rest) = self.rest.take() {
            match rest.step().map_err(error)? {
                Step::Further(rest, done) => (self.rest, self.done) = (Some(rest), done),
                Step::Done(plan) => self.plan = Some(plan),
            }
        }
        Ok(self.rest.is_none())
    }

    /// Bytes read so far.
    #[wasm_bindgen(getter)]
    pub fn bytes(&self) -> f64 {
        self.done.bytes as f64
    }

    /// Bytes in all.
    #[wasm_bindgen(getter)]
    pub fn of(&self) -> f64 {
        self.done.of as f64
    }
}

impl Storage {
    fn perform_action(&mut self, action: StoreAction) -> Option<(Report, Vec<Bytes>)> {
        match action {
            StoreAction::StoreOutput { job, task, bytes } => {
                let store =
                    self.outputs.entry(job).or_insert_with(|| ResultStore::new(PathBuf::from(MEMORY), RESULT_BYTES));
                let result = store.add(task, bytes).map_err(NotStored::from);
                Some((Report::OutputStored { job, task, result }, vec![]))
            }
            StoreAction::Blobs(BlobAction::Load { hash }) => Some(match self.input(&hash) {
                Ok(bytes) => (Report::BlobLoaded { hash, found: bytes.is_some() }, bytes.into_iter().collect()),
                Err((index, why)) => (Report::InputLost { index, why, requester: Requester::Engine(hash) }, vec![]),
            }),
            StoreAction::Blobs(BlobAction::Serve { token, hash }) => Some(match self.input(&hash) {
                Ok(Some(body)) => (Report::Respond { token, response: Response::Body }, vec![body]),
                Ok(None) => (Report::Respond { token, response: Response::Missing }, vec![]),
                Err((index, why)) => (Report::InputLost { index, why, requester: Requester::Peer(token) }, vec![]),
            }),
            StoreAction::Segments(action) => perform(&mut self.segments, action).and_then(Report::of),
            StoreAction::DropJob { job } => {
                perform(&mut self.segments, SegmentAction::DropJob { job }).and_then(Report::of)
            }
            // The engine's side keeps modules and indexes, and a tab keeps no logs.
            StoreAction::Blobs(BlobAction::Store { .. }) | StoreAction::Persist { .. } => None,
        }
    }

    /// An index or a pack of a job's inputs; if it can no longer be read, the index and the reason.
    fn input(&self, hash: &Hash) -> Result<Option<Bytes>, (Hash, String)> {
        for (source, _) in self.inputs.values() {
            match source.load(hash) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(BlobError::Input { index, why }) => return Err((index, why)),
                Err(why) => log_error(&format!("cannot read an input: {why}")),
            }
        }
        Ok(None)
    }
}

/// A file chosen as part of a folder is named by its path in that folder.
fn listed(files: Vec<File>) -> FileList {
    let mut list = FileList::default();
    for file in files {
        let path = js_sys::Reflect::get(&file, &"webkitRelativePath".into()).ok().and_then(|path| path.as_string());
        list.add(path.filter(|path| !path.is_empty()).unwrap_or_else(|| file.name()), file);
    }
    list
}

/// Parses the `inputs` returned by [`Storage::hold`].
pub(in crate::web) fn inputs_of(text: &str) -> Result<Inputs, String> {
    report::decode(&hex::decode(text).map_err(|e| e.to_string())?)
}

fn index_of(inputs: &str) -> Option<Hash> {
    match inputs_of(inputs).ok()? {
        Inputs::Packs { index, .. } => Some(index.hash),
        Inputs::Numbers => None,
    }
}

/// A writer that passes its data to JavaScript.
struct Pieces(Function);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.call1(&JsValue::NULL, &Uint8Array::from(bytes));
        taken.map(|_| bytes.len()).map_err(|_| io::Error::other("the browser does not accept it"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
