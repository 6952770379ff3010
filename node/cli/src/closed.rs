//! Whether standard output was closed (`>&-`) when the process started.
//!
//! Before `main`, Rust's runtime opens `/dev/null` in place of a closed standard stream. After that, a closed standard
//! output looks the same as one that the user redirected to `/dev/null`. So the check runs before the runtime starts.
#![allow(unsafe_code, reason = "a function that runs before `main` must be placed in a section for the linker")]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static CHECK: extern "C" fn() = check;

extern "C" fn check() {
    // SAFETY: F_GETFD may be called on any number, open or not, and the borrow ends with this function. Nothing here
    // needs the standard library's runtime.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    CLOSED.store(rustix::io::fcntl_getfd(stdout).is_err(), Ordering::Relaxed);
}

/// Whether standard output was closed when the process started.
pub(crate) fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}
