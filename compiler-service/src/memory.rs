//! The number of concurrent compiles that this machine has memory for.

use std::fs;

use crate::limits::MAX_MEMORY;

/// The file with the machine's total memory.
const MACHINE: &str = "/proc/meminfo";

/// The file with the memory limit of this container: a number of bytes, or `max`.
const CONTAINER_LIMIT: &str = "/sys/fs/cgroup/memory.max";

/// One per core, as far as the memory of the machine or container suffices for [`MAX_MEMORY`] each; at least one.
pub(crate) fn compiles_at_once() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    at_once(cores, memory())
}

fn at_once(cores: usize, memory: u64) -> usize {
    let fit = usize::try_from(memory / MAX_MEMORY).unwrap_or(usize::MAX);
    cores.min(fit).max(1)
}

/// Memory of the machine or container, in bytes; 0 if unknown.
fn memory() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let machine = total(&read(MACHINE)).unwrap_or(0);
    // A value that is not a number means no limit.
    read(CONTAINER_LIMIT).trim().parse().map_or(machine, |limit: u64| limit.min(machine))
}

/// The machine's memory in bytes, from a line such as `MemTotal:   24689088 kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_compiles_fit_into_memory() {
        assert_eq!(at_once(64, 8 << 30), 4);
        assert_eq!(at_once(2, 24 << 30), 2);
        assert_eq!(at_once(8, 1 << 30), 1, "a small machine compiles too");
    }

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24689088 kB\n"), Some(24_689_088 << 10));
        assert_eq!(total("MemTotal: plenty"), None);
        assert!(memory() > 64 << 20, "{} bytes", memory());
        assert!(compiles_at_once() as u64 * MAX_MEMORY <= memory().max(MAX_MEMORY));
    }
}
