//! Shufflers in trouble, and when a job goes on without them.

use std::time::Duration;

use super::job::Job;
use crate::engine::core::Core;
use crate::id::PeerKey;
use crate::time::Time;

/// A shuffler whose connection broke may come back for this long before the next epoch goes on without it.
pub(super) const SHUFFLER_GRACE: Duration = Duration::from_millis(1_500);
/// A shuffler that is not connected when it is chosen has this long to be reached: a dial over a relay takes some
/// seconds.
pub(super) const SHUFFLER_DIAL: Duration = Duration::from_secs(5);

/// A shuffler in trouble, and when it will be replaced.
#[derive(Debug)]
pub(super) struct Missing {
    /// The job goes on without it then, unless it comes back before.
    pub(super) until: Time,
    /// The reason, for display.
    pub(super) why: String,
    /// Whether it was not connected when it was chosen: then a failed dial means that it is gone.
    pub(super) was_remembered: bool,
}

impl Job {
    /// A shuffler is in trouble: the job goes on without it after `grace`, unless it comes back before.
    pub(super) fn replace_after(&mut self, now: Time, peer: PeerKey, grace: Duration, why: impl Into<String>) {
        let until = now + grace;
        if self.missing.get(&peer).is_none_or(|known| until < known.until) {
            self.missing.insert(peer, Missing { until, why: why.into(), was_remembered: false });
        }
    }

    /// Dials the shufflers that are not connected, which must be reached within [`SHUFFLER_DIAL`].
    pub(super) fn expect_shufflers(&mut self, core: &Core) {
        for peer in self.epoch.shufflers.iter().map(|s| s.peer).filter(|p| *p != core.me) {
            if !core.directory.is_connected(&peer) {
                let why = "it cannot be reached".to_owned();
                let missing = Missing { until: core.now + SHUFFLER_DIAL, why, was_remembered: true };
                self.missing.entry(peer).or_insert(missing);
                // A probe dials it.
                self.watch.at = core.now;
            }
        }
    }

    /// A shuffler cannot be dialled. One that was connected a moment ago may be starting again; one that was only
    /// remembered is gone.
    pub(super) fn on_unreachable(&mut self, core: &Core, peer: &PeerKey) {
        let gone = |missing: &&mut Missing| missing.was_remembered && !core.directory.is_connected(peer);
        if let Some(missing) = self.missing.get_mut(peer).filter(gone) {
            missing.until = core.now;
        }
    }
}
