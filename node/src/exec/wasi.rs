//! WASI preview 1 with an empty environment: no files, no arguments, no variables, a clock that stands still, and
//! random numbers that depend on the task alone. A guest sees the same on every host.

use wasmtime::{Caller, Extern, Linker, Memory};
use webmesh_protocol::guest::IMPORTS_FROM as MODULE;

use super::limits::{MAX_IOVECS, RANDOM_CHUNK};
use super::state::Host;
use super::watch::Stop;

/// The error numbers of WASI preview 1 in use.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    pub(super) const BADF: i32 = 8;
    pub(super) const FAULT: i32 = 21;
    pub(super) const INVAL: i32 = 28;
    pub(super) const SPIPE: i32 = 70;
}

/// A call's result as the guest sees it: an error number.
type Errno = i32;

/// The file type "character device" of `fd_fdstat_get`: what a terminal is, so that C's library buffers by lines.
const CHARACTER_DEVICE: u8 = 2;
/// The rights to read and to write, of `fd_fdstat_get`.
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;

/// Defines every function of [`IMPORTS`](webmesh_protocol::guest::IMPORTS).
pub(super) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_get", |_: i32, _: i32| errno::SUCCESS)?;
    linker.func_wrap(MODULE, "args_sizes_get", write_zero_sizes)?;
    linker.func_wrap(MODULE, "environ_get", |_: i32, _: i32| errno::SUCCESS)?;
    linker.func_wrap(MODULE, "environ_sizes_get", write_zero_sizes)?;
    linker.func_wrap(
        MODULE,
        "clock_time_get",
        |mut caller: Caller<'_, Host>, _clock: i32, _precision: i64, time: u32| {
            write(&mut caller, time, &0_u64.to_le_bytes())
        },
    )?;
    linker.func_wrap(MODULE, "fd_close", |fd: u32| if is_open(fd) { errno::SUCCESS } else { errno::BADF })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", fd_fdstat_get)?;
    linker.func_wrap(MODULE, "fd_prestat_get", |_fd: i32, _prestat: i32| errno::BADF)?;
    linker.func_wrap(MODULE, "fd_prestat_dir_name", |_fd: i32, _path: i32, _len: i32| errno::BADF)?;
    linker.func_wrap(MODULE, "fd_read", fd_read)?;
    linker.func_wrap(
        MODULE,
        "fd_seek",
        |fd: u32, _offset: i64, _whence: i32, _position: i32| {
            if is_open(fd) { errno::SPIPE } else { errno::BADF }
        },
    )?;
    linker.func_wrap(MODULE, "fd_write", fd_write)?;
    linker.func_wrap(MODULE, "proc_exit", |status: u32| -> wasmtime::Result<()> { Err(Stop::Exit(status).into()) })?;
    linker.func_wrap(MODULE, "random_get", random_get)?;
    linker.func_wrap(MODULE, "sched_yield", || errno::SUCCESS)?;
    Ok(())
}

/// Descriptors 0, 1 and 2 are open, and cannot be closed for good.
fn is_open(fd: u32) -> bool {
    fd <= 2
}

fn write_zero_sizes(mut caller: Caller<'_, Host>, count: u32, bytes: u32) -> Errno {
    match write(&mut caller, count, &[0; 4]) {
        errno::SUCCESS => write(&mut caller, bytes, &[0; 4]),
        failed => failed,
    }
}

fn fd_fdstat_get(mut caller: Caller<'_, Host>, fd: u32, out: u32) -> Errno {
    if !is_open(fd) {
        return errno::BADF;
    }
    // { u8 type, u16 flags at 2, u64 rights at 8, u64 rights to inherit at 16 }
    let mut stat = [0; 24];
    stat[0] = CHARACTER_DEVICE;
    let rights = if fd == 0 { RIGHT_READ } else { RIGHT_WRITE };
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    write(&mut caller, out, &stat)
}

fn fd_read(mut caller: Caller<'_, Host>, fd: u32, _vectors: u32, count: u32, read: u32) -> Errno {
    if fd != 0 {
        return errno::BADF;
    }
    if count > MAX_IOVECS {
        return errno::INVAL;
    }
    // The input is at its end.
    write(&mut caller, read, &[0; 4])
}

fn fd_write(mut caller: Caller<'_, Host>, fd: u32, vectors: u32, count: u32, written: u32) -> Errno {
    if fd != 1 && fd != 2 {
        return errno::BADF;
    }
    if count > MAX_IOVECS {
        return errno::INVAL;
    }
    let Some(memory) = memory(&mut caller) else {
        return errno::FAULT;
    };
    let (data, host) = memory.data_and_store_mut(&mut caller);
    let mut total = 0_u32;
    for index in 0..count {
        let vector = u64::from(vectors) + u64::from(index) * 8;
        let Some(ptr) = word(data, vector) else {
            return errno::FAULT;
        };
        let Some(len) = word(data, vector + 4) else {
            return errno::FAULT;
        };
        let (start, end) = (ptr as usize, ptr as usize + len as usize);
        let Some(bytes) = data.get(start..end) else {
            return errno::FAULT;
        };
        let Some(sum) = total.checked_add(len) else {
            return errno::INVAL;
        };
        host.log.write(bytes);
        total = sum;
    }
    write(&mut caller, written, &total.to_le_bytes())
}

fn random_get(mut caller: Caller<'_, Host>, ptr: u32, len: u32) -> wasmtime::Result<Errno> {
    let Some(memory) = memory(&mut caller) else {
        return Ok(errno::FAULT);
    };
    let (data, host) = memory.data_and_store_mut(&mut caller);
    let Some(wanted) = data.get_mut(ptr as usize..ptr as usize + len as usize) else {
        return Ok(errno::FAULT);
    };
    for chunk in wanted.chunks_mut(RANDOM_CHUNK) {
        host.random.fill(chunk);
        if chunk.len() == RANDOM_CHUNK {
            host.watch.check()?;
        }
    }
    Ok(errno::SUCCESS)
}

fn memory(caller: &mut Caller<'_, Host>) -> Option<Memory> {
    caller.get_export("memory").and_then(Extern::into_memory)
}

fn write(caller: &mut Caller<'_, Host>, ptr: u32, bytes: &[u8]) -> Errno {
    match memory(caller).map(|memory| memory.write(caller, ptr as usize, bytes)) {
        Some(Ok(())) => errno::SUCCESS,
        _ => errno::FAULT,
    }
}

fn word(data: &[u8], at: u64) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}
