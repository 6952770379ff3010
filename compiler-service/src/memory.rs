//! How many compiles this machine has memory for.

use std::fs;

use crate::limits::MAX_MEMORY;

/// Where the kernel says how much memory a container may use: a number of bytes, or `max`.
const CONTAINER_LIMIT: &str = "/sys/fs/cgroup/memory.max";

/// As many as there are cores, and as the machine, or the container, has memory for if each takes all that it may; one
/// at least.
pub(crate) fn compiles_at_once() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    at_once(cores, memory())
}

fn at_once(cores: usize, memory: u64) -> usize {
    let fit = usize::try_from(memory / MAX_MEMORY).unwrap_or(usize::MAX);
    cores.min(fit).max(1)
}

/// Bytes of memory that this process may hope for.
fn memory() -> u64 {
    let system = rustix::system::sysinfo();
    // `c_ulong`, which has 32 bits on some machines.
    let machine = (system.totalram as u64).saturating_mul(system.mem_unit.into());
    let container = fs::read_to_string(CONTAINER_LIMIT).ok().and_then(|text| text.trim().parse().ok());
    container.map_or(machine, |limit: u64| limit.min(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_at_once_fit_into_memory() {
        assert_eq!(at_once(64, 8 << 30), 4);
        assert_eq!(at_once(2, 24 << 30), 2);
        assert_eq!(at_once(8, 1 << 30), 1, "a small machine compiles too");
        let all = compiles_at_once() as u64 * MAX_MEMORY;
        assert!(all <= memory().max(MAX_MEMORY), "{all} bytes for compiles");
    }
}
