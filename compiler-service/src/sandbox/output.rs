//! Reads the output of a run, within its limits, and waits for its end.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Run;
use crate::limits::{KILL_GRACE, STOP_POLL};

/// Size of a read, in bytes: the capacity of a pipe.
const PIPE: usize = 64 << 10;

/// Why a run was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It reached its deadline.
    Deadline,
    /// It exceeded its output limit.
    Output,
    /// No request waits for its output any more, or the service stops.
    Cancelled,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Standard output.
    pub(crate) output: Vec<u8>,
    /// The beginning of standard error, up to the run's limit.
    pub(crate) messages: Vec<u8>,
    /// Bytes of standard error that were not kept.
    pub(crate) messages_missing: usize,
    /// The exit status of the process, or the signal that ended it.
    pub(crate) status: ExitStatus,
    /// Why it was killed; `None` if it was not.
    pub(crate) stop: Option<Stop>,
}

/// Reads from `child` until its end. Afterwards everything in its sandbox has ended too, since both pipes are closed,
/// unless the kernel takes longer than [`KILL_GRACE`] to kill it.
pub(super) fn collect(child: &mut Child, run: &Run<'_>) -> std::io::Result<Finished> {
    let followed = follow(child, run);
    if !matches!(followed, Ok(Followed { stop: None, .. })) {
        child.kill()?;
        drain(child)?;
    }
    let status = child.wait()?;
    let Followed { output, messages, messages_missing, stop } = followed?;
    Ok(Finished { output, messages, messages_missing, status, stop })
}

#[derive(Default)]
struct Followed {
    output: Vec<u8>,
    messages: Vec<u8>,
    messages_missing: usize,
    stop: Option<Stop>,
}

fn follow(child: &mut Child, run: &Run<'_>) -> std::io::Result<Followed> {
    let mut pipes = Pipes::new(child)?;
    let mut seen = Followed::default();
    while seen.stop.is_none() && !pipes.ended {
        let left = run.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            seen.stop = Some(Stop::Deadline);
        } else if (run.is_cancelled)() {
            seen.stop = Some(Stop::Cancelled);
        } else {
            pipes.turn(child, left.min(STOP_POLL), |pipe, bytes| match pipe {
                Pipe::Output if seen.output.len() + bytes.len() > run.output_limit => seen.stop = Some(Stop::Output),
                Pipe::Output => seen.output.extend_from_slice(bytes),
                Pipe::Messages => {
                    let kept = bytes.len().min(run.messages_limit - seen.messages.len());
                    seen.messages.extend_from_slice(&bytes[..kept]);
                    seen.messages_missing += bytes.len() - kept;
                }
            })?;
        }
    }
    Ok(seen)
}

/// Waits until a killed child's pipes close, which means that its sandbox has ended.
fn drain(child: &mut Child) -> std::io::Result<()> {
    let deadline = Instant::now() + KILL_GRACE;
    let mut pipes = Pipes::new(child)?;
    while !pipes.ended && Instant::now() < deadline {
        pipes.turn(child, STOP_POLL, |_, _| {})?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Pipe {
    Output,
    Messages,
}

/// The two pipes and the process of a child.
struct Pipes {
    process: OwnedFd,
    output_open: bool,
    messages_open: bool,
    ended: bool,
    buffer: Vec<u8>,
}

impl Pipes {
    fn new(child: &Child) -> std::io::Result<Self> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        Ok(Self { process, output_open: true, messages_open: true, ended: false, buffer: vec![0; PIPE] })
    }

    /// Waits at most `longest` for the next bytes and passes them to `take`. When both pipes are closed, waits for the
    /// child to exit.
    fn turn(&mut self, child: &mut Child, longest: Duration, mut take: impl FnMut(Pipe, &[u8])) -> std::io::Result<()> {
        let (Some(output), Some(messages)) = (child.stdout.as_mut(), child.stderr.as_mut()) else {
            return Err(std::io::Error::other("the child was started without pipes"));
        };
        // A closed pipe is always ready, so it is replaced by the other one.
        let (first, second) = match (self.output_open, self.messages_open) {
            (true, true) => (output.as_fd(), messages.as_fd()),
            (true, false) => (output.as_fd(), output.as_fd()),
            (false, true) => (messages.as_fd(), messages.as_fd()),
            (false, false) => (self.process.as_fd(), self.process.as_fd()),
        };
        let mut fds = [first, second].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let longest = Timespec::try_from(longest).map_err(std::io::Error::other)?;
        match poll(&mut fds, Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let [first, second] = fds.map(|fd| !fd.revents().is_empty());
        if !self.output_open && !self.messages_open {
            self.ended = first;
        }
        if self.output_open && first {
            let bytes = read(output, &mut self.buffer)?;
            self.output_open = !bytes.is_empty();
            take(Pipe::Output, bytes);
        }
        if self.messages_open && second {
            let bytes = read(messages, &mut self.buffer)?;
            self.messages_open = !bytes.is_empty();
            take(Pipe::Messages, bytes);
        }
        Ok(())
    }
}

/// Reads once. Empty at the end.
fn read<'b>(pipe: &mut impl Read, buffer: &'b mut [u8]) -> std::io::Result<&'b [u8]> {
    loop {
        match pipe.read(buffer) {
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read.map(|count| &buffer[..count]),
        }
    }
}
