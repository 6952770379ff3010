//! Places in the table of known jobs, shared by the origins of the jobs.

use std::cmp::Reverse;

use super::{Jobs, Known};
use crate::engine::core::Core;
use crate::engine::origin::Places;
use crate::id::JobId;
use crate::limits;
use crate::message::Announce;

impl Jobs {
    /// Makes room for an announced job if the table, or its owner's share of it, is full; returns whether there is room.
    /// The job that gives its place is of an origin with more places than the newcomer's; otherwise it is one whose
    /// manifest has not been seen. Of several, one without a manifest and then the one that has been silent longest.
    pub(super) fn make_room(&mut self, core: &Core, announce: &Announce) -> bool {
        let origin_of = |known: &Known| core.origin(known.home, known.owner);
        let newcomer = core.origin(announce.home, announce.owner);
        let is_owners = |known: &Known| known.owner == announce.owner;
        let owner_full = self.known.values().filter(|k| is_owners(k)).count() >= limits::JOBS_OF_OWNER;
        if self.known.len() < limits::JOBS && !owner_full {
            return true;
        }
        let places = Places::of_all(self.known.values().map(origin_of));
        let others = self.known.iter().filter(|(_, known)| !known.own && (!owner_full || is_owners(known)));
        let spare = others.filter_map(|(&id, known)| {
            let (origin, unproven) = (origin_of(known), known.manifest.is_none());
            let yields = places.yields(&origin, &newcomer);
            (yields || unproven).then(|| ((yields, places.of(&origin), unproven), Reverse(known.heard), id))
        });
        let Some((.., id)) = spare.max() else { return false };
        self.forget(id, None);
        true
    }

    /// Whether an offered job is not known here for lack of room.
    pub(in crate::engine) fn is_full_for(&self, job: &JobId) -> bool {
        !self.known.contains_key(job) && !self.ended.iter().any(|ended| ended.job == *job)
    }
}
