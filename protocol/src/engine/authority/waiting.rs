//! What a job waits for: notices to this peer's user once no task has been done for a while.

use std::time::Duration;

use super::job::Job;
use super::watch::{BUSY_AT_MOST, LATE_AFTER, SILENT_AFTER};
use crate::engine::core::Core;
use crate::id::PeerKey;
use crate::io::Notice;
use crate::manifest::Operator;
use crate::time::Time;

/// Time without a finished task after which the user is told what the job waits for. If it were shorter, a round of
/// acceptances over a slow link would be reported; if it were longer, a user would wonder first.
const QUIET_AFTER: Duration = Duration::from_secs(4);
/// The same if nothing is known to be wrong except that tasks take long: by then, others have taken over the tasks of a
/// lost worker, whose lease lasts as long.
const TASKS_QUIET_AFTER: Duration = crate::limits::LEASE;

/// What the user is told while a job makes no progress.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The last notice; `None` once a task is done.
    told: Option<Awaited>,
    /// The shuffler that was replaced last, and why; `None` once a task is done.
    replaced: Option<(PeerKey, String)>,
}

/// What the job waits for. The user is told again only when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Shuffler(PeerKey, Trouble),
    Worker,
    Beginning,
    Tasks(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Missing,
    Late,
    Behind,
    Replaced,
}

impl Job {
    /// A task was done: the job makes progress.
    pub(super) fn on_progress(&mut self, core: &mut Core) {
        let quiet = core.now.since(self.progressed);
        self.progressed = core.now;
        self.waiting.replaced = None;
        if self.waiting.told.take().is_some() {
            core.act(Notice::WaitingOver { job: self.id, quiet });
        }
    }

    /// A shuffler was replaced: the next epoch is without it.
    pub(super) fn note_replaced(&mut self, peer: PeerKey, why: String) {
        self.waiting.replaced = Some((peer, why));
    }

    /// Tells the user what the job waits for, if that has changed since the last notice.
    pub(super) fn report_waiting(&mut self, core: &mut Core) {
        let quiet = core.now.since(self.progressed);
        if quiet < QUIET_AFTER || self.ending {
            return;
        }
        let Some((awaited, why)) = self.awaited(core, quiet) else { return };
        if self.waiting.told == Some(awaited) {
            return;
        }
        self.waiting.told = Some(awaited);
        let peer = if let Awaited::Shuffler(peer, _) = awaited { Some(peer) } else { None };
        core.act(Notice::Waiting { job: self.id, peer, why, quiet });
    }

    /// What keeps the job from making progress: the most certain cause.
    fn awaited(&self, core: &Core, quiet: Duration) -> Option<(Awaited, String)> {
        self.awaited_shuffler(core.now)
            .map(|(peer, trouble, why)| (Awaited::Shuffler(peer, trouble), format!("shuffler {}: {why}", peer.short())))
            .or_else(|| self.awaited_tasks(core, quiet))
    }

    fn awaited_shuffler(&self, now: Time) -> Option<(PeerKey, Trouble, String)> {
        if let Some((&peer, missing)) = self.missing.iter().find(|(peer, _)| self.is_shuffler(peer)) {
            let why = format!("{}; unless it comes back within seconds, the job goes on without it", missing.why);
            return Some((peer, Trouble::Missing, why));
        }
        if let Some(peer) = self.watch.late(now).find(|peer| self.is_shuffler(peer)) {
            let (late, silent, busy) = (LATE_AFTER.as_secs(), SILENT_AFTER.as_secs(), BUSY_AT_MOST.as_secs());
            let why = format!(
                "it has not answered for {late} s; after {silent} s, or {busy} s if its connection is alive, the job goes \
                 on without it"
            );
            return Some((peer, Trouble::Late, why));
        }
        if let Some((peer, why)) = &self.waiting.replaced {
            let why = format!("{why}; the job goes on without it, and what it alone held is computed again");
            return Some((*peer, Trouble::Replaced, why));
        }
        let mut shuffles = self.stages.iter().filter_map(|stage| stage.shuffle.as_ref());
        let peer = shuffles.find_map(|shuffle| shuffle.behind(now, QUIET_AFTER).next())?;
        Some((peer, Trouble::Behind, "it lacks results that the other shufflers hold already".to_owned()))
    }

    fn awaited_tasks(&self, core: &Core, quiet: Duration) -> Option<(Awaited, String)> {
        let connected = core.directory.with_role(|roles| roles.worker).filter(|(_, member)| member.connected).count();
        match (self.workers.len(), connected) {
            (0, 0) => Some((Awaited::Worker, "no worker is connected".to_owned())),
            (0, connected) => {
                let full = match self.refused {
                    0 => String::new(),
                    refused => format!("; {refused} offers were refused by peers that know as many jobs as they can"),
                };
                let why =
                    format!("none of {connected} connected workers has begun: they may be busy with other jobs{full}");
                Some((Awaited::Beginning, why))
            }
            (workers, _) => {
                let (number, stage) = self.stages.iter().enumerate().find(|(_, stage)| !stage.done.is_full())?;
                let (tasks, left) = (stage.plan.tasks, stage.plan.tasks - stage.done.count());
                let name = match stage.plan.operator {
                    Operator::Map => "map",
                    Operator::Reduce => "reduce",
                };
                let why = format!(
                    "{left} of {tasks} {name} tasks are left, and none has ended for a while; workers: {workers}"
                );
                (quiet >= TASKS_QUIET_AFTER).then_some((Awaited::Tasks(number), why))
            }
        }
    }
}
