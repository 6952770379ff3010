//! Announcements of this peer's jobs: several in one message, at a rate that all homes share (rule 6).

use std::collections::{BTreeMap, VecDeque};

use super::job::Job;
use crate::engine::core::Core;
use crate::engine::gossip_budget::Bucket;
use crate::engine::jobs::Jobs;
use crate::id::JobId;
use crate::limits;
use crate::message::{End, Gossip, JobNews, Topic};
use crate::sign::Signed;
use crate::time::Time;

/// Messages that may be sent in quick succession: a job, an epoch, an end.
const BURST: f64 = 3.0;
/// Upper bound on the encoding of a message without its entries, in bytes.
const FRAME: usize = 64;

/// When and what this peer announces of its jobs.
#[derive(Debug)]
pub(super) struct Announcer {
    bucket: Bucket,
    /// Ends of jobs that have not been announced.
    ended: VecDeque<Signed<End>>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self { bucket: Bucket::full(BURST), ended: VecDeque::new() }
    }
}

impl Announcer {
    /// Queues the end of a job. In a full queue, the oldest end is dropped: peers that ask for its job learn of it.
    pub(super) fn tell_end(&mut self, end: Signed<End>) {
        if self.ended.len() == limits::JOBS {
            self.ended.pop_front();
        }
        self.ended.push_back(end);
    }

    /// Publishes what is due, once the rate allows, together with what would be due within half an interval.
    pub(super) fn drive(&mut self, core: &mut Core, jobs: &Jobs, own: &mut BTreeMap<JobId, Job>) {
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
