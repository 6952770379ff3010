//! The shuffler's store: segments by job, stage, partition, task and digest.
//!
//! Segments arrive in pushes and are read by runs of buckets once their partition is sealed. Memory is bounded: beyond
//! the limit, the largest partitions are spilled to disk. The files are unnamed, so nothing remains of them however the
//! process ends.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use webmesh_protocol::io::{BucketRef, KeptSegment};
use webmesh_protocol::message::{AttemptId, Push, PushEntry};
use webmesh_protocol::split::Place;
use webmesh_protocol::{JobId, PartitionId, PartitionRef, StageRef, TaskId, limits};

use super::bucket_cache::{BucketCache, Run, SortError};
use super::log::{Log, TwoAttempts};
use crate::platform::{SPILL_ADVICE, Spill};

/// One part in this many of the memory holds partitions sorted into buckets; the rest holds segments.
const CACHE_PART: u64 = 4;
/// One partition may take one part in this many of the memory for sorted buckets, so that alternating reads of several
/// partitions do not evict each other's.
const PARTITION_CACHE_PART: u64 = 4;
/// When memory is full, one part in this many is freed, so that the next push does not find it full again.
const FREED_PART: u64 = 4;

/// Errors of the segment store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A push whose head and body do not match. The sender is to blame; nothing was staged.
    #[error("the head of a push does not match its body: {0}")]
    BadPush(&'static str),
    /// Invalid segment bytes. Their worker is to blame.
    #[error("the segment of task {task} for partition {partition} is malformed: {why}")]
    BadSegment {
        /// The task that wrote it.
        task: TaskId,
        /// The partition it was written for.
        partition: PartitionId,
        /// What is wrong with it.
        why: String,
    },
    /// A bucket was requested before the losing attempt of a task was dropped.
    #[error(
        "two different attempts of task {task} are in partition {partition}; the one that was not accepted must be dropped before it is read"
    )]
    TwoAttempts {
        /// The task.
        task: TaskId,
        /// The partition.
        partition: PartitionId,
    },
    /// The input exceeds the limit of the task that reads it; its size in bytes. Nothing was read.
    #[error("the task would read {0} bytes, more than its limit")]
    TooLarge(u64),
    /// Memory is full and the disk cannot be written. Nothing was staged; earlier data is unaffected.
    #[error("cannot write shuffle data to {}: {source}; {SPILL_ADVICE}", dir.display())]
    Spill {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Spilled data cannot be read back.
    #[error("cannot read shuffle data back from {}: {source}", dir.display())]
    Read {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Current usage of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of segments and sorted buckets in memory. Metadata is not counted: some twelve bytes for each segment, and
    /// some forty for each attempt.
    pub memory: u64,
    /// Bytes of segments on disk.
    pub disk: u64,
}

/// The output of one stage of one job, as far as it is stored here.
#[derive(Debug, Default)]
struct Stage {
    /// Those with at least one segment here.
    attempts: Vec<AttemptId>,
    /// Indexed by partition; `None` where nothing was staged.
    partitions: Vec<Option<Log>>,
    /// The file of spilled chunks, and its length.
    spill: Option<Spill>,
    end: u64,
}

/// The store.
#[derive(Debug)]
pub struct SegmentStore {
    dir: PathBuf,
    memory_limit: u64,
    stages: HashMap<StageRef, Stage>,
    /// Bytes of segments in memory.
    memory: u64,
    caches: HashMap<PartitionRef, BucketCache>,
    /// Number of reads so far, by which the least recently used cache is found.
    reads: u64,
}

impl SegmentStore {
    /// An empty store that spills to files in `dir`, created when first needed, and takes about `memory_limit` bytes of
    /// memory.
    pub fn new(dir: PathBuf, memory_limit: u64) -> Self {
        let (stages, caches) = (HashMap::new(), HashMap::new());
        Self { dir, memory_limit, stages, memory: 0, caches, reads: 0 }
    }

    /// Stages those segments of a push that are in `keep`. A partition that its entry does not list has no output, so
    /// there is nothing to stage.
    ///
    /// On an error, nothing of the push is staged.
    pub fn stage(&mut self, push: &Push, keep: &[KeptSegment], body: &Bytes) -> Result<(), StoreError> {
        if push.body_len() != body.len() as u64 {
            return Err(StoreError::BadPush("the lengths of its segments do not add up to its body"));
        }
        let exists =
            |kept: &KeptSegment| (kept.entry as usize) < push.entries.len() && kept.partition.0 < limits::PARTITIONS;
        if !keep.iter().all(exists) {
            return Err(StoreError::BadPush("an entry or a partition to keep does not exist"));
        }
        let mut sorted;
        let mut keep = keep;
        if !keep.is_sorted() {
            sorted = keep.to_vec();
            sorted.sort_unstable();
            keep = &sorted;
        }
        if keep.is_empty() {
            return Ok(());
        }
        self.make_room(body.len() as u64)?;

        let id = push.stage_ref();
        let stage = self.stages.entry(id).or_default();
        let mut at = 0usize;
        for (i, entry) in (0u32..).zip(&push.entries) {
            let of_entry = keep.partition_point(|kept| kept.entry == i);
            let (mut wanted, rest) = keep.split_at(of_entry);
            keep = rest;
            if wanted.is_empty() {
                at += entry.bytes() as usize;
                continue;
            }
            let attempt = stage.attempts.len() as u32;
            stage.attempts.push(entry.attempt());
            for &(partition, len) in &entry.segments {
                let segment = &body[at..at + len as usize];
                at += segment.len();
                while wanted.first().is_some_and(|kept| kept.partition < partition) {
                    wanted = &wanted[1..];
                }
                if wanted.first().is_some_and(|kept| kept.partition == partition) {
                    let i = partition.index();
                    if stage.partitions.len() <= i {
                        stage.partitions.resize_with(i + 1, || None);
                    }
                    let log = stage.partitions[i].get_or_insert_default();
                    let before = log.memory();
                    log.append(attempt, segment);
                    self.memory = self.memory + log.memory() as u64 - before as u64;
                    if !self.caches.is_empty() {
                        self.caches.remove(&id.partition(partition));
                    }
                }
            }
        }
        Ok(())
    }

    /// Spills until there is room for `more` bytes.
    fn make_room(&mut self, more: u64) -> Result<(), StoreError> {
        let limit = self.memory_limit - self.memory_limit / CACHE_PART;
        if self.memory + more <= limit {
            return Ok(());
        }
        let target = (limit - limit / FREED_PART).saturating_sub(more);
        let mut largest: Vec<(usize, StageRef, usize)> = Vec::new();
        for (key, stage) in &self.stages {
            for (partition, log) in stage.partitions.iter().enumerate() {
                if let Some(log) = log.as_ref().filter(|log| log.memory() > 0) {
                    largest.push((log.memory(), *key, partition));
                }
            }
        }
        largest.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key, partition) in largest {
            if self.memory <= target {
                break;
            }
            if let Some(stage) = self.stages.get_mut(&key) {
                let (freed, result) = stage.spill(partition, &self.dir);
                self.memory -= freed;
                result.map_err(|source| StoreError::Spill { dir: self.dir.clone(), source })?;
            }
        }
        Ok(())
    }

    /// The records of a range of buckets: those of each task that has any, in ascending order of task, all in one
    /// buffer. Empty if nothing was staged for them; more than `most` bytes are an error.
    pub fn read_bucket(&mut self, bucket: &BucketRef, most: u64) -> Result<Vec<Bytes>, StoreError> {
        Ok(self.run(bucket, most, true)?.records())
    }

    /// A piece of the same in wire format: each task's records after a little-endian `u32` length. Returns up to `len`
    /// bytes from offset `from`, and the total length. The data stays in memory until its last piece was read, or it is
    /// evicted.
    pub fn read_piece(
        &mut self,
        bucket: &BucketRef,
        from: u64,
        len: usize,
        most: u64,
    ) -> Result<(Bytes, u64), StoreError> {
        let framed = self.run(bucket, most, false)?.framed;
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(framed.len());
        let end = framed.len().min(start.saturating_add(len));
        if end == framed.len() {
            self.run(bucket, most, true)?;
        }
        Ok((framed.slice(start..end), framed.len() as u64))
    }

    /// `done` says that it is not needed again.
    fn run(&mut self, at: &BucketRef, most: u64, done: bool) -> Result<Run, StoreError> {
        let Place { partition, run, width } = at.place;
        let key = at.partition_ref();
        self.reads += 1;
        if let Some(cache) = self.caches.get_mut(&key).filter(|cache| cache.width == width)
            && let Some(run) = cache.take(run, done)
        {
            cache.used = self.reads;
            return Ok(run);
        }
        // Evict before the next partition is sorted, so that it reuses the memory of the last one.
        for cache in self.caches.values_mut() {
            cache.evict_taken();
        }
        let Some((stage, log)) = self.log(key) else {
            return Ok(Run::default());
        };
        let ranks =
            log.ranks(&stage.attempts).map_err(|TwoAttempts { task }| StoreError::TwoAttempts { task, partition })?;
        let room = (self.memory_limit / CACHE_PART / PARTITION_CACHE_PART) as usize;
        let (wanted, bounds) = ((run, width.max(1)), (room, most));
        let mut cache = BucketCache::fill(log, &ranks, stage.spill.as_ref(), wanted, bounds).map_err(|e| match e {
            SortError::Read(source) => StoreError::Read { dir: self.dir.clone(), source },
            SortError::TooLarge(bytes) => StoreError::TooLarge(bytes),
            SortError::Malformed { place, why } => {
                let attempt = log.entry(place as u32).attempt;
                StoreError::BadSegment { task: stage.attempts[attempt as usize].task, partition, why }
            }
        })?;
        cache.used = self.reads;
        let run = cache.take(run, done).unwrap_or_default();
        self.caches.insert(key, cache);
        self.trim_caches(key);
        Ok(run)
    }

    /// Evicts sorted buckets until the rest fit, least recently used first.
    fn trim_caches(&mut self, newest: PartitionRef) {
        let room = (self.memory_limit / CACHE_PART) as usize;
        self.caches.retain(|key, cache| cache.bytes > 0 || *key == newest);
        let mut total: usize = self.caches.values().map(|cache| cache.bytes).sum();
        while total > room {
            let others = self.caches.iter().filter(|(key, _)| **key != newest);
            let Some(key) = others.min_by_key(|(_, cache)| cache.used).map(|(key, _)| *key) else { break };
            total -= self.caches.remove(&key).map_or(0, |cache| cache.bytes);
        }
    }

    /// About [`limits::PUSH_BYTES`] of a partition's segments, of tasks from `from` on in ascending order, as a push
    /// with its body, and the next task, if there are more. The push's epoch is zero. All attempts of one task are in
    /// the same push.
    pub fn pull(&self, of: PartitionRef, from: TaskId) -> Result<(Push, Bytes, Option<TaskId>), StoreError> {
        let PartitionRef { job, stage, partition } = of;
        let mut push = Push { job, stage, epoch: 0, replica: true, entries: Vec::new(), authors: Vec::new() };
        let Some((of_stage, log)) = self.log(of) else {
            return Ok((push, Bytes::new(), None));
        };
        let live = log.by_task(&of_stage.attempts, from);
        let mut body = Vec::new();
        for of_task in live.chunk_by(|a, b| a.0 == b.0) {
            let bytes: usize = of_task.iter().map(|&(_, place)| log.entry(place).len as usize).sum();
            let full =
                body.len() + bytes > limits::PUSH_BYTES || push.entries.len() + of_task.len() > limits::PUSH_ENTRIES;
            if full && !push.entries.is_empty() {
                return Ok((push, body.into(), Some(of_task[0].0)));
            }
            for &(task, place) in of_task {
                let entry = log.entry(place);
                let digest = of_stage.attempts[entry.attempt as usize].digest;
                push.entries.push(PushEntry { task, digest, segments: vec![(partition, entry.len)] });
                log.read(place, of_stage.spill.as_ref(), &mut body)
                    .map_err(|source| StoreError::Read { dir: self.dir.clone(), source })?;
            }
        }
        Ok((push, body.into(), None))
    }

    /// Drops an attempt's segment. Its bytes are freed with the job.
    pub fn drop_segment(&mut self, of: PartitionRef, attempt: AttemptId) {
        let of_stage = self.stages.get_mut(&of.stage_ref());
        let log = of_stage.and_then(|s| s.partitions.get_mut(of.partition.index())?.as_mut());
        if let Some(log) = log {
            log.drop_attempt(attempt);
            self.caches.remove(&of);
        }
    }

    /// Frees everything that is held for a job, on disk too.
    pub fn drop_job(&mut self, job: JobId) {
        self.caches.retain(|partition, _| partition.job != job);
        self.stages.retain(|id, stage| {
            let keep = id.job != job;
            if !keep {
                self.memory -= stage.partitions.iter().flatten().map(|log| log.memory() as u64).sum::<u64>();
            }
            keep
        });
    }

    /// Current usage.
    pub fn usage(&self) -> Usage {
        let caches: u64 = self.caches.values().map(|cache| cache.bytes as u64).sum();
        let disk = self.stages.values().map(|stage| stage.end).sum();
        Usage { memory: self.memory + caches, disk }
    }

    fn log(&self, of: PartitionRef) -> Option<(&Stage, &Log)> {
        let stage = self.stages.get(&of.stage_ref())?;
        Some((stage, stage.partitions.get(of.partition.index())?.as_ref()?))
    }
}

impl Stage {
    /// Spills a partition to disk. Returns how many bytes of memory that freed, even if it failed halfway.
    fn spill(&mut self, partition: usize, dir: &Path) -> (u64, io::Result<()>) {
        let Some(log) = self.partitions.get_mut(partition).and_then(Option::as_mut) else {
            return (0, Ok(()));
        };
        let file = match &mut self.spill {
            Some(file) => file,
            none => match Spill::create(dir) {
                Ok(file) => none.insert(file),
                Err(e) => return (0, Err(e)),
            },
        };
        let before = log.memory();
        let result = log.spill(file, &mut self.end);
        ((before - log.memory()) as u64, result)
    }
}
