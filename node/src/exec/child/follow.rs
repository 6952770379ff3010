//! Reads a child's answer, and watches what it uses meanwhile.

use std::io::{self, PipeReader, Read};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::CODE;
use crate::exec::limits::{COMPILE_POLL, COMPILE_WALL_FACTOR, MAX_COMPILED_BYTES, PROBE_PROCESSOR_TIME, PROBE_TIME};

/// Size of a read, in bytes: the capacity of a pipe.
const PIPE: usize = 64 << 10;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Its processor time so far.
    pub(super) time: Duration,
    /// The memory that it holds by itself, in bytes: not that of files, such as the program, which it shares.
    pub(super) memory: u64,
}

impl Usage {
    /// Of the process with this id; `None` if it has gone.
    fn of(process: Pid) -> Option<Self> {
        let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", process.as_raw_pid())).ok();
        let numbers =
            |text: &str| -> Vec<u64> { text.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect() };
        // The name before may contain anything. After it come the state and the fields of proc_pid_stat(5), from the
        // fourth.
        let stat = numbers(read("stat")?.rsplit_once(')')?.1);
        let ticks = stat.get(11)? + stat.get(12)?;
        let statm = numbers(&read("statm")?);
        let pages = statm.get(1)?.saturating_sub(*statm.get(2)?);
        Some(Self {
            time: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)),
            memory: pages * rustix::param::page_size() as u64,
        })
    }
}

/// Why a child was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody waits for it any more.
    Cancelled,
    /// It held more memory than its limit while it was probed.
    ProbeMemory,
    /// The probe took more processor time than its limit.
    ProbeTime,
    /// It took far longer than its processor time.
    Deadline,
    /// It wrote too much.
    Output,
    /// This host had no more memory for it.
    HostMemory,
    /// It had to make room for others.
    Abandoned,
}

/// What a child wrote.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// The compiled code and the bytes after it; `None` until the code is complete.
    pub(super) fn code(&self) -> Option<(&[u8], &[u8])> {
        let (kind, rest) = self.bytes.split_first()?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        if *kind == CODE { rest.split_at_checked(len) } else { None }
    }

    /// What it wrote instead of code.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads until the child closes the pipe, or has to be stopped. `check` is given what it uses, the answer included, and
/// may stop it.
pub(super) fn follow(
    process: Pid,
    pipe: &mut PipeReader,
    limits: &super::Limits,
    mut check: impl FnMut(Usage) -> Option<Stop>,
) -> io::Result<(Answer, Option<Stop>)> {
    let mut answer = Answer::default();
    let mut buffer = vec![0; PIPE];
    let deadline = Instant::now() + limits.time * COMPILE_WALL_FACTOR;
    let mut probed: Option<(Instant, Duration)> = None;
    loop {
        if is_ready(pipe)? {
            let count = read(pipe, &mut buffer)?;
            if count == 0 {
                return Ok((answer, None));
            }
            answer.bytes.extend_from_slice(&buffer[..count]);
            if answer.bytes.len() > MAX_COMPILED_BYTES {
                return Ok((answer, Some(Stop::Output)));
            }
            // More may wait: the clock of the process is looked at when it does not.
            continue;
        }
        let usage = Usage::of(process).unwrap_or_default();
        let all = Usage { memory: usage.memory + answer.bytes.len() as u64, ..usage };
        if let Some(stop) = check(all) {
            return Ok((answer, Some(stop)));
        }
        if probed.is_none() && answer.code().is_some() {
            probed = Some((Instant::now(), usage.time));
        }
        let stop = match probed {
            None if Instant::now() > deadline => Some(Stop::Deadline),
            Some((began, _)) if began.elapsed() > PROBE_TIME * COMPILE_WALL_FACTOR => Some(Stop::Deadline),
            Some((_, before)) if usage.time.saturating_sub(before) > PROBE_PROCESSOR_TIME => Some(Stop::ProbeTime),
            Some(_) if usage.memory > limits.memory => Some(Stop::ProbeMemory),
            _ => None,
        };
        if stop.is_some() {
            return Ok((answer, stop));
        }
    }
}

/// Waits at most [`COMPILE_POLL`] for something to read.
fn is_ready(pipe: &PipeReader) -> io::Result<bool> {
    let longest = Timespec::try_from(COMPILE_POLL).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(pipe, PollFlags::IN)];
    match poll(&mut polled, Some(&longest)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// Reads once; 0 at the end.
fn read(pipe: &mut PipeReader, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match pipe.read(buffer) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
