//! Logs of the decisions of this peer's own jobs: a file for each, to which batches are appended.
//!
//! A batch is safe once the file is synced, and nothing follows from it before (see [`webmesh_protocol::decisions`]).
//! What a crash left behind in the middle of a write is cut off when the log is read again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use webmesh_protocol::JobId;
use webmesh_protocol::decisions::{Cut, State, replay};

/// The logs in one folder.
#[derive(Debug)]
pub struct DecisionLogs {
    dir: PathBuf,
    open: HashMap<JobId, File>,
}

/// A log that was read back, and is ready to be appended to.
#[derive(Debug)]
pub struct ReadBack {
    /// What was decided.
    pub state: State,
    /// What was cut off, where the log was damaged.
    pub cut: Option<Cut>,
}

impl DecisionLogs {
    /// The logs in `dir`, which is made at the first write.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, open: HashMap::new() }
    }

    /// Where the log of a job lies.
    pub fn path(&self, job: &JobId) -> PathBuf {
        self.dir.join(format!("{job}.decisions"))
    }

    /// Appends a batch to the log of a job. When this returns, the batch survives the loss of power.
    ///
    /// # Errors
    /// Where the disk does not take it. Part of it may have been written: nothing may be appended behind.
    pub fn append(&mut self, job: JobId, batch: &[u8]) -> io::Result<()> {
        let path = self.path(&job);
        let file = match self.open.entry(job) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(none) => {
                fs::create_dir_all(&self.dir)?;
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                sync_folder(&self.dir)?;
                none.insert(file)
            }
        };
        file.write_all(batch)?;
        file.sync_data()
    }

    /// Closes the log of a job, which is over.
    pub fn close(&mut self, job: &JobId) {
        self.open.remove(job);
    }

    /// Reads the log of a job back, and cuts it off where it is damaged. `None` where there is none, or not even its
    /// first batch is whole.
    ///
    /// # Errors
    /// Where the file cannot be read, or not be cut off.
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

/// Makes a new file's name survive the loss of power too.
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

    #[test]
    fn a_log_is_read_back_by_another_process_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (job, batches) = batches();
        let mut logs = DecisionLogs::new(folder.path().join("jobs"));
        assert!(logs.read_back(&job).unwrap().is_none());
        batches.iter().for_each(|batch| logs.append(job, batch).unwrap());
        let back = DecisionLogs::new(folder.path().join("jobs")).read_back(&job).unwrap().unwrap();
        assert_eq!((back.cut, back.state.next()), (None, 2));
        assert_eq!(back.state.outcome(), Some(&Outcome::Cancelled));
    }

    #[test]
    fn a_batch_that_was_torn_is_cut_off_and_the_log_goes_on_behind_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (job, [first, second]) = batches();
        let mut logs = DecisionLogs::new(folder.path().to_owned());
        logs.append(job, &first).unwrap();
        logs.append(job, &second[..second.len() / 2]).unwrap();
        let back = logs.read_back(&job).unwrap().unwrap();
        let cut = back.cut.expect("the torn batch is found");
        assert_eq!((cut.batches, cut.lost, back.state.next()), (1, second.len() / 2, 1));
        let mut again = DecisionLogs::new(folder.path().to_owned());
        again.append(job, &second).unwrap();
        let whole = again.read_back(&job).unwrap().unwrap();
        assert_eq!((whole.cut, whole.state.next()), (None, 2));
    }
}
