//! The header of each output in a file that outlives its process.

use webmesh_protocol::{Hash, TaskId};

/// Bytes of the header of each output: task, length and a checksum of both, little-endian.
pub(super) const HEAD: usize = 4 + 8 + CHECKSUM;
/// Bytes of that checksum. It exists because a wrong length would hide all outputs after it.
const CHECKSUM: usize = 8;

/// The header of a task's output.
pub(super) fn head(task: TaskId, len: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&task.0.to_le_bytes());
    head[4..12].copy_from_slice(&len.to_le_bytes());
    let checksum = Hash::of(&head[..12]);
    head[12..].copy_from_slice(&checksum.0[..CHECKSUM]);
    head
}
