//! Decision logs of this peer's own jobs: a file in the folder of each, to which batches are appended.
//!
//! A written batch survives the end of this process; a synced one survives a power failure (see
//! [`webmesh_protocol::decisions`]). A batch left incomplete by a crash is cut off when the log is read again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use webmesh_protocol::JobId;
use webmesh_protocol::decisions::{Cut, State, replay};

use crate::platform::private;

/// File name of a log in its job's folder.
const LOG: &str = "decisions";

/// The logs of all jobs whose folders are in one directory.
#[derive(Debug)]
pub struct DecisionLogs {
    dir: PathBuf,
    open: HashMap<JobId, Open>,
}

/// An open log.
#[derive(Debug)]
struct Open {
    file: File,
    /// Whether it has unsynced writes.
    is_unsynced: bool,
    /// Whether the other files in the job's folder were synced.
    folder_is_synced: bool,
}

/// A log that was read back and can be appended to.
#[derive(Debug)]
pub struct ReadBack {
    /// What was decided.
    pub state: State,
    /// What was cut off, if the log was damaged.
    pub cut: Option<Cut>,
}

impl DecisionLogs {
    /// The logs in the folders of `dir`, each named after its job.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, open: HashMap::new() }
    }

    /// Path of a job's log.
    pub fn path(&self, job: &JobId) -> PathBuf {
        self.dir.join(job.to_string()).join(LOG)
    }

    /// Appends a batch to the log of a job. When this returns, the batch survives the end of this process; with `sync`,
    /// also a power failure.
    ///
    /// # Errors
    /// An I/O error, or a job without a folder. Part of the batch may have been written: nothing may be appended after
    /// it.
    pub fn append(&mut self, job: JobId, batch: &[u8], sync: bool) -> io::Result<()> {
        let path = self.path(&job);
        let log = match self.open.entry(job) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => {
                let file = private::options().create(true).append(true).open(&path)?;
                none.insert(Open { file, is_unsynced: false, folder_is_synced: false })
            }
        };
        log.file.write_all(batch)?;
        log.is_unsynced = true;
        if sync { log.sync() } else { Ok(()) }
    }

    /// The jobs whose logs have unsynced writes.
    pub fn unsynced(&self) -> Vec<JobId> {
        self.open.iter().filter(|(_, open)| open.is_unsynced).map(|(&job, _)| job).collect()
    }

    /// Syncs the log of a job; the first time, all other files in its folder are synced before: without them the log is
    /// useless.
    ///
    /// # Errors
    /// An I/O error, or a missing folder.
    pub fn sync(&mut self, job: &JobId) -> io::Result<()> {
        let Some(log) = self.open.get_mut(job) else { return Ok(()) };
        if !log.folder_is_synced {
            let folder = self.dir.join(job.to_string());
            for entry in fs::read_dir(&folder)? {
                File::open(entry?.path())?.sync_all()?;
            }
            sync_folder(&folder)?;
            sync_folder(&self.dir)?;
            log.folder_is_synced = true;
        }
        log.sync()
    }

    /// Closes the log of a job that has ended.
    pub fn close(&mut self, job: &JobId) {
        self.open.remove(job);
    }

    /// Reads the log of a job back, and cuts it off where it is damaged. `None` if there is none, or if its first batch
    /// is incomplete.
    ///
    /// # Errors
    /// The file cannot be read, or not be truncated.
    pub fn read_back(&self, job: &JobId) -> io::Result<Option<ReadBack>> {
        let path = self.path(job);
        let bytes = match fs::read(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let replayed = replay(&bytes);
        if replayed.cut.is_some() {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(replayed.kept as u64)?;
            file.sync_all()?;
        }
        Ok(replayed.state.map(|state| ReadBack { state, cut: replayed.cut }))
    }
}

impl Open {
    fn sync(&mut self) -> io::Result<()> {
        self.is_unsynced = false;
        self.file.sync_data()
    }
}

/// Syncs a folder, so that a new file's name survives a power failure too.
fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use webmesh_protocol::decisions::{Batch, Certified, Decision, frame};
    use webmesh_protocol::manifest::{
        Authority, BlobRef, Inputs, Manifest, Operator, Sink, Source, Stage, TaskLimits, Verify,
    };
    use webmesh_protocol::message::Outcome;
    use webmesh_protocol::sign::Keypair;
    use webmesh_protocol::{Hash, PeerKey};

    use super::*;

    /// The first two batches of a job's log.
    fn batches() -> (JobId, [Vec<u8>; 2]) {
        let key = Keypair::from_secret([3; 32]);
        let limits = TaskLimits { millis: 1_000, memory: 1 << 20, output: 1 << 16, retries: 0 };
        let map = Stage {
            operator: Operator::Map,
            source: Source::Inputs,
            further: Vec::new(),
            sink: Sink::Collect,
            tasks: 1,
            task_bytes: 0,
            shards: 1,
            block: 1,
            limits,
        };
        let manifest = Manifest {
            owner: key.public(),
            home: PeerKey([1; 32]),
            nonce: 1,
            name: "kept".to_owned(),
            minor: 0,
            module: BlobRef { hash: Hash::of(b"module"), len: 6 },
            inputs: Inputs::Numbers,
            stages: vec![map],
            authority: Authority::Owner,
            verify: Verify::Off,
            replicas: 1,
        };
        let signed = key.sign(&manifest);
        let job = Manifest::id_of(&signed);
        let batch = |number, previous, decision| {
            Certified::by_owner(&Batch { job, number, previous, decisions: vec![decision] }, &key)
        };
        let first = batch(0, Hash([0; 32]), Decision::Open(signed));
        let second = batch(1, first.hash(), Decision::End(Outcome::Cancelled));
        (job, [frame(&first), frame(&second)])
    }

    /// Logs in `dir`, where the job has its folder.
    fn logs_for(dir: &Path, job: &JobId) -> DecisionLogs {
        fs::create_dir(dir.join(job.to_string())).unwrap();
        DecisionLogs::new(dir.to_owned())
    }

    #[test]
    fn a_log_is_read_back_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let (job, batches) = batches();
        let mut logs = logs_for(folder.path(), &job);
        assert!(logs.read_back(&job).unwrap().is_none());
        batches.iter().for_each(|batch| logs.append(job, batch, false).unwrap());
        assert_eq!(logs.unsynced(), [job]);
        logs.sync(&job).unwrap();
        assert!(logs.unsynced().is_empty());
        let back = DecisionLogs::new(folder.path().to_owned()).read_back(&job).unwrap().unwrap();
        assert_eq!((back.cut, back.state.next()), (None, 2));
        assert_eq!(back.state.outcome(), Some(&Outcome::Cancelled));
    }

    #[test]
    fn an_incomplete_batch_is_cut_off_and_appending_continues() {
        let folder = tempfile::tempdir().unwrap();
        let (job, [first, second]) = batches();
        let mut logs = logs_for(folder.path(), &job);
        logs.append(job, &first, true).unwrap();
        logs.append(job, &second[..second.len() / 2], true).unwrap();
        let back = logs.read_back(&job).unwrap().unwrap();
        let cut = back.cut.expect("the torn batch is found");
        assert_eq!((cut.batches, cut.lost, back.state.next()), (1, second.len() / 2, 1));
        let mut again = DecisionLogs::new(folder.path().to_owned());
        again.append(job, &second, true).unwrap();
        let whole = again.read_back(&job).unwrap().unwrap();
        assert_eq!((whole.cut, whole.state.next()), (None, 2));
    }
}
