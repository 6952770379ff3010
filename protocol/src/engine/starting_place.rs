//! Where a worker begins to claim in a job (rule 7).

/// One of `of` places that are spread evenly over the blocks of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartingPlace {
    /// Which of them, from 0.
    pub(super) slot: u32,
    pub(super) of: u32,
}

impl StartingPlace {
    /// The place among this many blocks, counted from the first.
    pub(super) fn among(self, blocks: u32) -> u64 {
        u64::from(blocks) * u64::from(self.slot) / u64::from(self.of.max(1))
    }
}
