//! Whether standard output was closed (`>&-`) when the process started.
//!
//! Before `main`, Rust's runtime opens `/dev/null` in the place of what is closed. From then on, a result that goes
//! nowhere cannot be told from one that its user wants to go nowhere. So this looks earlier.
#![allow(unsafe_code, reason = "what runs before `main` has to be named to the linker")]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: the descriptor is asked about, whether it is open or not, and kept by nobody. Nothing of the standard
    // library that needs its runtime is called.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    CLOSED.store(rustix::io::fcntl_getfd(stdout).is_err(), Ordering::Relaxed);
}

/// Whether it was.
pub(crate) fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}
