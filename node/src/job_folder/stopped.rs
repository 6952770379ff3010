//! Reads the data of stopped jobs, whose process has ended.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use webmesh_protocol::decisions::{Cut, State, replay};
use webmesh_protocol::manifest::Sink;
use webmesh_protocol::ranges::{Run, runs_of};
use webmesh_protocol::{Hash, JobId, PeerKey, StageId, TaskId};

use super::{COPIES, FolderError, JobFolder, MODULE, RECORD, RESULTS, Record, all, folders};
use crate::platform::FileList;
use crate::results::{Reopened, ResultStore};
use crate::store::decisions::{DecisionLogs, ReadBack};

/// The data of a stopped job.
#[derive(Debug)]
pub struct Loaded {
    /// How it was submitted.
    pub record: Record,
    /// The decisions of its authority.
    pub state: State,
    /// Where and why its log was truncated, if it was.
    pub cut: Option<Cut>,
    /// The valid results so far.
    pub results: ResultStore,
    /// Tasks of its last stage that the log records as finished, but whose results are missing or damaged.
    pub lost: Vec<Run<TaskId>>,
    /// The compiled job.
    pub module: Bytes,
    /// The files that it reads, as they were listed.
    pub files: FileList,
}

/// A stopped job, as listed.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The job's id.
    pub job: JobId,
    /// The owner's key.
    pub owner: PeerKey,
    /// The job's name.
    pub name: String,
    /// Time of submission, in seconds since 1970.
    pub begun: u64,
    /// For each stage, the number of finished tasks and the number of all tasks known so far.
    pub stages: Vec<(u32, u32)>,
}

/// The jobs in a data folder that can be resumed, newest first. Damaged and running jobs are omitted.
pub fn stopped(data_dir: &Path) -> Vec<Stopped> {
    let mut found: Vec<Stopped> = folders(&all(data_dir))
        .filter_map(|(job, path)| {
            let folder = JobFolder::take(job, path).ok()?;
            let record = folder.record().ok()?;
            // A damaged log is truncated, and the damage reported, only when the job is resumed.
            let state = replay(&fs::read(folder.logs().path(&job)).ok()?).state?;
            let manifest = state.manifest();
            let (owner, name) = (manifest.owner, manifest.name.clone());
            Some(Stopped { job, owner, name, begun: record.begun, stages: stages(&state) })
        })
        .collect();
    found.sort_by_key(|stopped| (std::cmp::Reverse(stopped.begun), stopped.job));
    found
}

/// For each stage, the number of finished tasks and of all tasks; while its input is being written, of all tasks known
/// so far.
pub fn stages(state: &State) -> Vec<(u32, u32)> {
    let manifest = state.manifest();
    let counted = manifest.numbered_stages().filter_map(|(number, stage)| {
        let accepted = state.stage(number)?.accepted();
        let is_unsettled = |read: &StageId| state.stage(*read).is_some_and(|read| read.split().is_none());
        let tasks = match stage.reads().find(is_unsettled) {
            Some(read) => manifest.stages[read.index()].shuffle().map_or(0, |shape| u32::from(shape.partitions)),
            None => accepted.size(),
        };
        Some((accepted.count(), tasks))
    });
    counted.collect()
}

impl JobFolder {
    /// Loads the job. A damaged end of the log or of the results is truncated, to be computed again.
    ///
    /// # Errors
    /// A file required to resume the job is missing or damaged.
    pub fn load(&self) -> Result<Loaded, FolderError> {
        let record = self.record()?;
        let logs = self.logs();
        let log = logs.read_back(&self.job);
        let log = log.map_err(|source| FolderError::Disk { path: logs.path(&self.job), source })?;
        let ReadBack { state, cut } = log.ok_or_else(|| self.damaged("decisions", "its first entry is incomplete"))?;
        let module = self.read(MODULE)?;
        if Hash::of(&module) != state.manifest().module.hash {
            return Err(self.damaged(MODULE, "its checksum is wrong"));
        }
        let path = self.path.join(RESULTS);
        let last = state.manifest().stages.iter().rposition(|stage| stage.sink == Sink::Collect);
        let last = last.and_then(|number| state.stage(StageId::of_index(number)));
        let wanted = |task| last?.digest(task);
        let reopened = ResultStore::reopen(&path, wanted);
        let Reopened { store, cut: torn } = reopened.map_err(|source| FolderError::Disk { path, source })?;
        if let Some(why) = torn {
            tracing::info!("the results of job {} were truncated: {why}", self.job);
        }
        let accepted = last.into_iter().flat_map(|stage| stage.accepted().iter());
        let lost = runs_of(accepted.filter(|&task| !store.has(task)));
        let copies = self.path.join(COPIES);
        let files = record.file_list(&copies).map_err(|source| FolderError::Disk { path: copies, source })?;
        Ok(Loaded { record, state, cut, results: store, lost, module: module.into(), files })
    }

    /// Reads the record of how the job was submitted.
    ///
    /// # Errors
    /// The record is missing or damaged.
    pub fn record(&self) -> Result<Record, FolderError> {
        Record::from_bytes(&self.read(RECORD)?).map_err(|what| self.damaged(RECORD, &what))
    }

    fn logs(&self) -> DecisionLogs {
        DecisionLogs::new(self.path.parent().unwrap_or(Path::new("")).to_owned())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.path.join(name);
        fs::read(&path).map_err(|source| FolderError::Disk { path, source })
    }

    fn damaged(&self, name: &str, what: &str) -> FolderError {
        FolderError::Damaged { job: self.job, path: self.path.join(name), what: what.to_owned() }
    }
}
