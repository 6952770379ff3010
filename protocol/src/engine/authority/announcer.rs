//! What this peer tells everyone of its jobs: several in one message, at a pace that all such peers share (rule 6).

use std::collections::{BTreeMap, VecDeque};

use super::job::Job;
use crate::engine::core::Core;
use crate::engine::jobs::Jobs;
use crate::engine::voice::Bucket;
use crate::id::JobId;
use crate::limits;
use crate::message::{End, Gossip, JobNews, Topic};
use crate::sign::Signed;
use crate::time::Time;

/// Messages that may follow each other at once: a job, an epoch, an end.
const BURST: f64 = 3.0;
/// Bytes of a message of news beside them.
const FRAME: usize = 64;

/// The way of this peer's jobs to everyone.
#[derive(Debug)]
pub(super) struct Announcer {
    bucket: Bucket,
    /// Ends that have not been told.
    ended: VecDeque<Signed<End>>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self { bucket: Bucket::full(BURST), ended: VecDeque::new() }
    }
}

impl Announcer {
    /// A job is over. Of more than can be waiting the oldest end is left to those who ask for its job.
    pub(super) fn tell_end(&mut self, end: Signed<End>) {
        if self.ended.len() == limits::JOBS {
            self.ended.pop_front();
        }
        self.ended.push_back(end);
    }

    /// Tells what is due, where it is time to; with it goes what would be due before long.
    pub(super) fn go_on(&mut self, core: &mut Core, jobs: &Jobs, own: &mut BTreeMap<JobId, Job>) {
        let interval = jobs.announce_interval();
        while core.now >= self.deadline(jobs, own) {
            let mut room = limits::GOSSIP_BYTES - FRAME;
            let mut news = Vec::new();
            let mut add = |of_job: JobNews| {
                let fits = of_job.size() <= room && news.len() < limits::JOBS_IN_MESSAGE;
                if fits {
                    room -= of_job.size();
                    news.push(of_job);
                }
                fits
            };
            while let Some(end) = self.ended.pop_front() {
                if !add(JobNews::Ended(end.clone())) {
                    self.ended.push_front(end);
                    break;
                }
            }
            let mut due: Vec<&mut Job> =
                own.values_mut().filter(|j| j.announce_at <= core.now + interval / 2).collect();
            due.sort_by_key(|job| job.announce_at);
            for job in due {
                if !add(JobNews::Lives(job.announce(core.now))) {
                    break;
                }
                job.announce_at = core.now + interval;
            }
            self.bucket.spend(core.now, interval);
            core.publish(Topic::Jobs, Gossip::Jobs(news));
        }
    }

    pub(super) fn deadline(&self, jobs: &Jobs, own: &BTreeMap<JobId, Job>) -> Time {
        let lives = own.values().map(|job| job.announce_at).min();
        let due = if self.ended.is_empty() { lives } else { Some(Time(0)) };
        due.map_or(Time::NEVER, |due| due.max(self.bucket.next(jobs.announce_interval(), 1.0)))
    }
}
