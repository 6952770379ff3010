//! Jobs whose process is gone: what is kept of them, read back.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use webmesh_protocol::decisions::{Cut, State, replay};
use webmesh_protocol::manifest::{Sink, Source};
use webmesh_protocol::ranges::{Run, runs_of};
use webmesh_protocol::{Hash, JobId, PeerKey};

use super::{COPIES, FolderError, JobFolder, MODULE, RECORD, RESULTS, Record, all, folders};
use crate::platform::FileList;
use crate::results::{Reopened, ResultStore};
use crate::store::decisions::{DecisionLogs, ReadBack};

/// All that is kept of a stopped job.
#[derive(Debug)]
pub struct Loaded {
    /// How it was submitted.
    pub record: Record,
    /// What was decided.
    pub state: State,
    /// Why its log was cut, where it was.
    pub cut: Option<Cut>,
    /// The results that are in and whole.
    pub results: ResultStore,
    /// Tasks of its last stage whose results are in by the log, and not whole.
    pub lost: Vec<Run>,
    /// The compiled job.
    pub module: Bytes,
    /// The files that it reads, as they were listed.
    pub files: FileList,
}

/// A stopped job in a list.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Its id.
    pub job: JobId,
    /// Its owner.
    pub owner: PeerKey,
    /// What people call it.
    pub name: String,
    /// Seconds since 1970 when it was submitted.
    pub begun: u64,
    /// Tasks done, and all tasks as far as they are known, per stage.
    pub stages: Vec<(u32, u32)>,
}

/// The jobs in a data folder that can go on, the youngest first. Those that are damaged or carried are left out.
pub fn stopped(data_dir: &Path) -> Vec<Stopped> {
    let mut found: Vec<Stopped> = folders(&all(data_dir))
        .filter_map(|(job, path)| {
            let folder = JobFolder::take(job, path).ok()?;
            let record = folder.record().ok()?;
            // Nothing is cut off here: whoever goes on with the job is told.
            let state = replay(&fs::read(folder.logs().path(&job)).ok()?).state?;
            let manifest = state.manifest();
            let (owner, name) = (manifest.owner, manifest.name.clone());
            Some(Stopped { job, owner, name, begun: record.begun, stages: stages(&state) })
        })
        .collect();
    found.sort_by_key(|stopped| (std::cmp::Reverse(stopped.begun), stopped.job));
    found
}

/// Tasks done and all tasks of each stage; of one that reads what is still being written, how many it has at least.
pub fn stages(state: &State) -> Vec<(u32, u32)> {
    let manifest = state.manifest();
    let counted = (0u8..).zip(&manifest.stages).filter_map(|(number, stage)| {
        let accepted = state.stage(number)?.accepted();
        let tasks = match stage.source {
            Source::Shuffle { stage: read } if state.stage(read)?.split().is_none() => {
                manifest.stages[usize::from(read)].shuffle().map_or(0, |(partitions, _)| u32::from(partitions))
            }
            _ => accepted.size(),
        };
        Some((accepted.count(), tasks))
    });
    counted.collect()
}

impl JobFolder {
    /// Reads everything back. What is damaged at the end of the log or among the results is cut off, and computed again.
    ///
    /// # Errors
    /// Where a file is missing or damaged without which the job cannot go on.
    pub fn load(&self) -> Result<Loaded, FolderError> {
        let record = self.record()?;
        let logs = self.logs();
        let log = logs.read_back(&self.job);
        let log = log.map_err(|source| FolderError::Disk { path: logs.path(&self.job), source })?;
        let ReadBack { state, cut } = log.ok_or_else(|| self.damaged("decisions", "its first entry is not whole"))?;
        let module = self.read(MODULE)?;
        if Hash::of(&module) != state.manifest().module.hash {
            return Err(self.damaged(MODULE, "its checksum does not fit"));
        }
        let path = self.path.join(RESULTS);
        let last = state.manifest().stages.iter().rposition(|stage| stage.sink == Sink::Collect);
        let last = last.and_then(|number| state.stage(number as u8));
        let wanted = |task| last.filter(|stage| task < stage.accepted().size()).and_then(|stage| stage.digest(task));
        let reopened = ResultStore::reopen(&path, wanted);
        let Reopened { store, cut: torn } = reopened.map_err(|source| FolderError::Disk { path, source })?;
        if let Some(why) = torn {
            tracing::info!("the results of job {} were cut: {why}", self.job);
        }
        let accepted = last.into_iter().flat_map(|stage| stage.accepted().iter());
        let lost = runs_of(accepted.filter(|&task| !store.has(task)));
        let copies = self.path.join(COPIES);
        let files = record.file_list(&copies).map_err(|source| FolderError::Disk { path: copies, source })?;
        Ok(Loaded { record, state, cut, results: store, lost, module: module.into(), files })
    }

    /// How the job was submitted.
    ///
    /// # Errors
    /// Where that is missing or damaged.
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
