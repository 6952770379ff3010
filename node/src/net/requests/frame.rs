//! A frame: lengths, an encoded head, and a body of raw bytes.
//!
//! ```text
//! u32 head_len | u64 body_len | head (protocol::codec) | body          little-endian
//! ```
//!
//! Lengths are checked before anything is read, memory grows as bytes arrive, and a frame on which no byte
//! moves for [`REQUEST_TIMEOUT`] is given up.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use webmesh_protocol::codec::{self, DecodeError, Wire};
use webmesh_protocol::limits::{BODY_BYTES, HEAD_BYTES, REQUEST_TIMEOUT};

use super::pulse::Pulse;
use crate::net::limits::{FIRST_ALLOCATION, SLOWEST_PACE};
use crate::platform;

/// Bytes of the two lengths.
const HEADER: usize = 12;
/// Frames up to this size are copied together and written at once.
const JOINED: usize = 16 * 1024;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream broke or ended.
    #[error("the stream broke: {0}")]
    Broken(io::Error),
    /// No byte moved for too long, or too few on the average.
    #[error("nothing moved for {} s", REQUEST_TIMEOUT.as_secs())]
    Stalled,
    /// It claims a length that no honest frame has. What follows on the stream cannot be understood.
    #[error("a frame with a {what} of {claimed} bytes; at most {max} are taken")]
    TooLong {
        /// Head or body.
        what: &'static str,
        /// The length claimed.
        claimed: u64,
        /// The length allowed.
        max: usize,
    },
    /// The head does not decode. The stream itself is in order.
    #[error(transparent)]
    Head(#[from] DecodeError),
}

/// The lengths of a frame, within their bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) head: usize,
    pub(super) body: usize,
}

impl Lengths {
    /// What the frame takes in memory.
    pub(super) fn total(&self) -> usize {
        self.head + self.body
    }
}

/// Writes a frame and flushes it.
pub(super) async fn write<W>(w: &mut W, head: &[u8], body: &[Bytes], pulse: &Pulse) -> Result<usize, FrameError>
where
    W: AsyncWrite + Unpin,
{
    let body_len: usize = body.iter().map(Bytes::len).sum();
    let total = HEADER + head.len() + body_len;
    let join = total <= JOINED;
    let mut first = Vec::with_capacity(if join { total } else { HEADER + head.len() });
    let head_len = u32::try_from(head.len()).expect("heads are capped far below 4 GiB");
    first.extend_from_slice(&head_len.to_le_bytes());
    first.extend_from_slice(&(body_len as u64).to_le_bytes());
    first.extend_from_slice(head);
    if join {
        body.iter().for_each(|part| first.extend_from_slice(part));
    }
    write_all(w, &first, pulse).await?;
    if !join {
        for part in body {
            write_all(w, part, pulse).await?;
        }
    }
    stall(w.flush()).await?;
    pulse.beat();
    Ok(total)
}

async fn write_all<W: AsyncWrite + Unpin>(w: &mut W, mut bytes: &[u8], pulse: &Pulse) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        let n = stall(w.write(bytes)).await?;
        if n == 0 {
            return Err(FrameError::Broken(io::ErrorKind::WriteZero.into()));
        }
        pulse.beat();
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Reads and checks the lengths of the next frame. The first byte is awaited by the caller's patience.
pub(super) async fn read_lengths<R: AsyncRead + Unpin>(r: &mut R) -> Result<Lengths, FrameError> {
    let mut header = [0; HEADER];
    r.read_exact(&mut header).await.map_err(FrameError::Broken)?;
    let (head, body) = header.split_at(4);
    let head = u32::from_le_bytes(head.try_into().expect("four bytes"));
    let body = u64::from_le_bytes(body.try_into().expect("eight bytes"));
    let check = |what, claimed: u64, max: usize| match usize::try_from(claimed) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(FrameError::TooLong { what, claimed, max }),
    };
    Ok(Lengths { head: check("head", head.into(), HEAD_BYTES)?, body: check("body", body, BODY_BYTES)? })
}

/// Reads and decodes a head.
pub(super) async fn read_head<T, R>(r: &mut R, len: usize, pulse: &Pulse) -> Result<T, FrameError>
where
    T: Wire,
    R: AsyncRead + Unpin,
{
    let head = read_bytes(r, len, pulse, |_| ()).await?;
    Ok(codec::decode(&head)?)
}

/// Reads `len` bytes; `seen` is shown every piece as it comes.
pub(super) async fn read_bytes<R>(
    r: &mut R,
    len: usize,
    pulse: &Pulse,
    mut seen: impl FnMut(&[u8]),
) -> Result<Bytes, FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut pace = Pace::new();
    let mut buffer = vec![0; len.min(FIRST_ALLOCATION)];
    let mut filled = 0;
    while filled < len {
        if filled == buffer.len() {
            let more = filled.min(len - filled);
            buffer.reserve_exact(more);
            buffer.resize(filled + more, 0);
        }
        let n = read_some(r, &mut buffer[filled..]).await?;
        seen(&buffer[filled..filled + n]);
        filled += n;
        pulse.beat();
        pace.check(n)?;
    }
    Ok(buffer.into())
}

/// Reads `len` bytes and forgets them.
pub(super) async fn skip<R: AsyncRead + Unpin>(r: &mut R, mut len: usize, pulse: &Pulse) -> Result<(), FrameError> {
    let mut pace = Pace::new();
    let mut buffer = vec![0; len.min(JOINED)];
    while len > 0 {
        let wanted = len.min(buffer.len());
        let n = read_some(r, &mut buffer[..wanted]).await?;
        len -= n;
        pulse.beat();
        pace.check(n)?;
    }
    Ok(())
}

async fn read_some<R: AsyncRead + Unpin>(r: &mut R, buffer: &mut [u8]) -> Result<usize, FrameError> {
    match stall(r.read(buffer)).await? {
        0 => Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into())),
        n => Ok(n),
    }
}

/// Gives up on a read or write that does not move.
async fn stall<T>(io: impl Future<Output = io::Result<T>>) -> Result<T, FrameError> {
    match platform::timeout(REQUEST_TIMEOUT, io).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(e)) => Err(FrameError::Broken(e)),
        None => Err(FrameError::Stalled),
    }
}

/// Refuses a frame that trickles.
struct Pace {
    started: platform::Instant,
    bytes: u64,
}

impl Pace {
    fn new() -> Self {
        Self { started: platform::Instant::now(), bytes: 0 }
    }

    fn check(&mut self, n: usize) -> Result<(), FrameError> {
        self.bytes += n as u64;
        let allowed = REQUEST_TIMEOUT.as_secs() + self.bytes / SLOWEST_PACE;
        if self.started.elapsed().as_secs() > allowed { Err(FrameError::Stalled) } else { Ok(()) }
    }
}
