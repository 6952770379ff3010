//! The interface of hosts to a job's module, on which compilers and workers must agree (`docs/guest-abi.md`).

/// The version of the interface between a host and a guest that the hosts of this build speak.
pub const INTERFACE: u8 = 1;

/// The module that all imports come from.
pub const IMPORTS_FROM: &str = "wasi_snapshot_preview1";

/// All functions that can be imported.
pub const IMPORTS: [&str; 15] = [
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "fd_read",
    "fd_seek",
    "fd_write",
    "proc_exit",
    "random_get",
    "sched_yield",
];
