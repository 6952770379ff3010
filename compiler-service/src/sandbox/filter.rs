//! The system calls that a compiler may make, as the two backends take them.

use webmesh_syscalls::{BpfProgram, Purpose};

/// The filter as a program for the kernel.
pub(super) fn program() -> Result<BpfProgram, String> {
    webmesh_syscalls::program(Purpose::Compiler)
}

/// The filter in bubblewrap's format: an array of the kernel's `struct sock_filter`.
pub(super) fn bytes() -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for step in program()? {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    Ok(bytes)
}
