//! Counts what children hold against the memory of this host's guests.

use std::sync::Arc;

use crate::exec::limits::{QUICK_LEAVES, SLOW_LEAVES};
use crate::exec::meter::GuestMemory;
use crate::exec::turns::Lane;

/// The memory that children may take.
pub(in crate::exec) struct ChildMemory {
    of: Arc<GuestMemory>,
    /// All of it, in bytes.
    total: u64,
}

impl ChildMemory {
    /// Counts against the memory `of` guests, which has `total` bytes.
    pub(in crate::exec) fn new(of: Arc<GuestMemory>, total: u64) -> Self {
        Self { of, total }
    }

    /// For a child that holds nothing yet.
    pub(super) fn hold(&self) -> Held<'_> {
        Held { memory: self, bytes: 0 }
    }
}

/// What one child holds.
pub(super) struct Held<'m> {
    memory: &'m ChildMemory,
    bytes: u64,
}

impl Held<'_> {
    /// The child holds `bytes` now; `false` if there is no room for them.
    pub(super) fn becomes(&mut self, bytes: u64, lane: Lane) -> bool {
        let leaves = match lane {
            Lane::Quick => QUICK_LEAVES,
            Lane::Slow => SLOW_LEAVES,
        };
        let fits = match bytes.checked_sub(self.bytes) {
            Some(more) => more == 0 || self.memory.of.take_leaving(more, self.memory.total / leaves),
            None => {
                self.memory.of.give_back(self.bytes - bytes);
                true
            }
        };
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.memory.of.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expensive_compilations_leave_memory_to_others() {
        let guests = Arc::new(GuestMemory::new(1000));
        let memory = ChildMemory::new(Arc::clone(&guests), 1000);
        let (mut slow, mut quick) = (memory.hold(), memory.hold());
        assert!(slow.becomes(750, Lane::Slow) && !slow.becomes(751, Lane::Slow));
        assert!(quick.becomes(125, Lane::Quick) && !quick.becomes(126, Lane::Quick));
        assert!(slow.becomes(700, Lane::Slow) && quick.becomes(175, Lane::Quick), "what one gives back, another has");
        drop((slow, quick));
        assert!(guests.take_leaving(1000, 0), "nothing is held any more");
    }
}
