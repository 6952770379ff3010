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

use super::pace::Pace;
use super::pulse::Pulse;
use crate::net::limits::FIRST_ALLOCATION;
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
    #[error("nothing moved for {} s, or too little all along", REQUEST_TIMEOUT.as_secs())]
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

    /// The same lengths, where the body is no longer than `max`.
    pub(super) fn with_body_up_to(self, max: usize) -> Result<Self, FrameError> {
        if self.body <= max {
            return Ok(self);
        }
        Err(FrameError::TooLong { what: "body", claimed: self.body as u64, max })
    }
}

/// Writes a frame and flushes it.
pub(super) async fn write<W>(w: &mut W, head: &[u8], body: &[Bytes], pulse: &Pulse) -> Result<usize, FrameError>
where
    W: AsyncWrite + Unpin,
{
    write_at(w, head, body, pulse, Pace::calm()).await
}

/// The same for a frame that holds a part of a budget, for which others may wait.
pub(super) async fn write_held<W>(w: &mut W, head: &[u8], body: &[Bytes], pulse: &Pulse) -> Result<usize, FrameError>
where
    W: AsyncWrite + Unpin,
{
    let len = head.len() + body.iter().map(Bytes::len).sum::<usize>();
    write_at(w, head, body, pulse, Pace::new(len, pulse)).await
}

async fn write_at<W>(
    w: &mut W,
    head: &[u8],
    body: &[Bytes],
    pulse: &Pulse,
    mut pace: Pace<'_>,
) -> Result<usize, FrameError>
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
    write_all(w, &first, pulse, &mut pace).await?;
    if !join {
        for part in body {
            write_all(w, part, pulse, &mut pace).await?;
        }
    }
    stall(w.flush()).await?;
    pulse.beat();
    Ok(total)
}

async fn write_all<W>(w: &mut W, mut bytes: &[u8], pulse: &Pulse, pace: &mut Pace<'_>) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    while !bytes.is_empty() {
        let n = stall(w.write(bytes)).await?;
        if n == 0 {
            return Err(FrameError::Broken(io::ErrorKind::WriteZero.into()));
        }
        pulse.beat();
        in_time(pace, n)?;
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
    let mut pace = Pace::new(len, pulse);
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
        in_time(&mut pace, n)?;
    }
    Ok(buffer.into())
}

/// Reads `len` bytes and forgets them.
pub(super) async fn skip<R: AsyncRead + Unpin>(r: &mut R, mut len: usize, pulse: &Pulse) -> Result<(), FrameError> {
    let mut pace = Pace::new(len, pulse);
    let mut buffer = vec![0; len.min(JOINED)];
    while len > 0 {
        let wanted = len.min(buffer.len());
        let n = read_some(r, &mut buffer[..wanted]).await?;
        len -= n;
        pulse.beat();
        in_time(&mut pace, n)?;
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

/// Gives up on a frame that trickles.
fn in_time(pace: &mut Pace<'_>, n: usize) -> Result<(), FrameError> {
    if pace.keeps(n) { Ok(()) } else { Err(FrameError::Stalled) }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use webmesh_protocol::message::Request;

    use super::*;

    /// Gives a few bytes at a time, as a network does.
    struct Trickle<'a> {
        bytes: &'a [u8],
        piece: usize,
    }

    impl AsyncRead for Trickle<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            let (now, later) = self.bytes.split_at(self.piece.min(buf.len()).min(self.bytes.len()));
            buf[..now.len()].copy_from_slice(now);
            self.bytes = later;
            Poll::Ready(Ok(now.len()))
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    async fn read(bytes: &[u8], piece: usize) -> Result<(Request, Bytes), FrameError> {
        let (mut from, pulse) = (Trickle { bytes, piece }, Pulse::new());
        let lengths = read_lengths(&mut from).await?;
        let head = read_head(&mut from, lengths.head, &pulse).await?;
        let body = read_bytes(&mut from, lengths.body, &pulse, |_| ()).await?;
        Ok((head, body))
    }

    fn frame(name: &str, body: &[Vec<u8>]) -> (Request, Vec<u8>) {
        let request = Request::Compile { name: name.to_owned() };
        let body: Vec<Bytes> = body.iter().cloned().map(Bytes::from).collect();
        let mut bytes = Vec::new();
        run(write(&mut bytes, &codec::encode(&request), &body, &Pulse::new())).unwrap();
        (request, bytes)
    }

    fn body() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Some are joined with the head, some are written on their own.
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..JOINED), 0..4)
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written_however_it_is_cut(name in ".{0,30}", body in body(), piece in 1usize..5000) {
            let (request, bytes) = frame(&name, &body);
            let (head, read) = run(read(&bytes, piece)).unwrap();
            prop_assert_eq!(codec::encode(&head), codec::encode(&request));
            prop_assert_eq!(read, body.concat());
        }

        #[test]
        fn a_frame_that_is_cut_off_is_an_error(body in body(), cut in any::<prop::sample::Index>()) {
            let (_, bytes) = frame("job.cpp", &body);
            let end = run(read(&bytes[..cut.index(bytes.len())], 999));
            prop_assert!(matches!(end, Err(FrameError::Broken(_))), "{end:?}");
        }

        #[test]
        fn lengths_are_within_their_bounds_or_refused(head in any::<u32>(), body in any::<u64>(), shift in 0u32..64) {
            // Of all magnitudes.
            let (head, body) = (head >> (shift % 32), body >> shift);
            let bytes = [&head.to_le_bytes()[..], &body.to_le_bytes()].concat();
            match run(read_lengths(&mut &bytes[..])) {
                Ok(lengths) => {
                    prop_assert!(lengths.head <= HEAD_BYTES && lengths.body <= BODY_BYTES);
                    prop_assert_eq!((lengths.head as u64, lengths.body as u64), (u64::from(head), body));
                }
                Err(FrameError::TooLong { claimed, max, .. }) => prop_assert!(claimed > max as u64),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn bytes_of_a_stranger_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), head in 0u32..80) {
            // Once as they are, once behind lengths that can be.
            let told = [&head.to_le_bytes()[..], &100u64.to_le_bytes(), &bytes].concat();
            for bytes in [bytes, told] {
                if let Ok((_, body)) = run(read(&bytes, 7)) {
                    prop_assert!(body.len() < bytes.len());
                }
            }
        }

        #[test]
        fn what_is_skipped_is_exactly_the_frame(name in ".{0,30}", body in body(), rest in prop::collection::vec(any::<u8>(), 0..50)) {
            let (_, mut bytes) = frame(&name, &body);
            bytes.extend(&rest);
            let mut from = Trickle { bytes: &bytes, piece: 1000 };
            let lengths = run(read_lengths(&mut from)).unwrap();
            run(skip(&mut from, lengths.total(), &Pulse::new())).unwrap();
            prop_assert_eq!(from.bytes, rest);
        }
    }
}
