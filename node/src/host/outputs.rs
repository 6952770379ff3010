//! Results of this peer's own jobs, until the job is done.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use webmesh_protocol::io::{Event, NotStored};
use webmesh_protocol::{JobId, TaskId};

use crate::driver::HostOutput;
use crate::platform;
use crate::results::ResultStore;

/// The results of every job that was submitted here and has not been collected yet.
pub(super) struct Outputs {
    dir: PathBuf,
    memory: u64,
    jobs: Mutex<HashMap<JobId, Arc<Mutex<ResultStore>>>>,
}

impl Outputs {
    pub(super) fn new(dir: PathBuf, memory: u64) -> Self {
        Self { dir, memory, jobs: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Mutex<ResultStore>>>> {
        // If another holder panics, the map is still usable.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, job: JobId) -> Arc<Mutex<ResultStore>> {
        let fresh = || Arc::new(Mutex::new(ResultStore::new(self.dir.clone(), self.memory)));
        self.lock().entry(job).or_insert_with(fresh).clone()
    }

    /// Stores the results of a job in `store`, together with what that already holds.
    pub(super) fn keep(&self, job: JobId, store: ResultStore) {
        self.lock().insert(job, Arc::new(Mutex::new(store)));
    }

    /// Returns once all stored results of a job are synced to disk.
    pub(super) fn sync(&self, job: &JobId) -> io::Result<()> {
        let Some(store) = self.lock().get(job).cloned() else { return Ok(()) };
        let unsynced = store.lock().unwrap_or_else(PoisonError::into_inner).take_unsynced();
        unsynced.map_or(Ok(()), |file| file.sync())
    }

    pub(super) fn take(&self, job: JobId) -> Option<ResultStore> {
        let store = self.lock().remove(&job)?;
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        // A late second attempt may still hold the store: what it adds now is dropped.
        Some(std::mem::replace(&mut store, ResultStore::new(self.dir.clone(), 0)))
    }
}

/// Stores one task's result.
pub(super) fn store(outputs: &Arc<Outputs>, sender: &mpsc::Sender<HostOutput>, job: JobId, task: TaskId, bytes: Bytes) {
    let (outputs, sender) = (outputs.clone(), sender.clone());
    platform::spawn_blocking(move || {
        let result = {
            let store = outputs.of(job);
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.add(task, bytes).map_err(NotStored::from)
        };
        // Fails only when the driver has ended.
        let _ = sender.blocking_send(HostOutput::Event(Event::OutputStored { job, task, result }));
    });
}
