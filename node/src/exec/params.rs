//! What a task may use, and what it is given besides its input.

use std::time::Duration;

use super::CancelToken;

/// The resource limits of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// Memory limit, in bytes; values above [`MAX_TASK_MEMORY`](super::MAX_TASK_MEMORY) have no further effect.
    pub memory: u64,
    /// Time limit (elapsed time).
    pub time: Duration,
    /// Output limit, in bytes.
    pub output: u64,
}

/// Parameters of a task besides its input.
#[derive(Clone, Debug)]
pub struct TaskParams {
    /// Seed of the task's random numbers: the same task must have the same seed on every worker.
    pub seed: [u8; 32],
    /// Its resource limits.
    pub limits: TaskLimits,
    /// Cancels the task.
    pub cancel: CancelToken,
}
