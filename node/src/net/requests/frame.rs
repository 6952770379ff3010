//! A frame: lengths, an encoded head, and a body.
//!
//! ```text
//! u32 head_len | u64 body_len | head (protocol::codec) | body (pieces: `body`)          little-endian
//! ```
//!
//! `body_len` is the length after decompression. Lengths are checked before anything is read, memory grows as bytes
//! arrive, and reading fails if no bytes arrive for [`REQUEST_TIMEOUT`](webmesh_protocol::limits::REQUEST_TIMEOUT).

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use webmesh_protocol::codec::{self, Wire};
use webmesh_protocol::limits::{BODY_BYTES, HEAD_BYTES};

use super::activity::Activity;
use super::body::{self, Encoding, Pieces, saved};
use super::error::FrameError;
use super::flow::Flow;

/// Bytes of the two lengths.
const HEADER: usize = 12;

/// An outgoing frame.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The encoded head.
    pub(super) head: &'a [u8],
    /// The body, in parts.
    pub(super) body: &'a [Bytes],
}

impl Frame<'_> {
    /// Bytes of head and body, before compression.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body_len()
    }

    fn body_len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

/// The lengths of a frame, checked against their bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) head: usize,
    pub(super) body: usize,
}

impl Lengths {
    /// Bytes that the frame takes in memory.
    pub(super) fn total(&self) -> usize {
        self.head + self.body
    }

    /// The same lengths, if the body is no longer than `max`.
    pub(super) fn with_body_up_to(self, max: usize) -> Result<Self, FrameError> {
        if self.body <= max {
            return Ok(self);
        }
        Err(FrameError::TooLong { what: "body", claimed: self.body as u64, max })
    }
}

/// Writes a frame and flushes it. Returns the number of bytes written to the stream.
pub(super) async fn write<W>(
    w: &mut W,
    frame: Frame<'_>,
    encoding: Encoding,
    mut flow: Flow<'_>,
) -> Result<usize, FrameError>
where
    W: AsyncWrite + Unpin,
{
    let Frame { head, body } = frame;
    let head_len = u32::try_from(head.len()).expect("heads are capped far below 4 GiB");
    // The first piece is sent with the head: most frames need only one write.
    let mut next = [&head_len.to_le_bytes()[..], &(frame.body_len() as u64).to_le_bytes(), head].concat();
    let mut pieces = Pieces::of(body, encoding);
    let mut written = 0;
    loop {
        let piece = pieces.append_next(&mut next);
        flow.write(w, &next).await?;
        let Some(len) = piece else { break };
        flow.moved(saved(len, next.len()))?;
        written += next.len();
        next.clear();
    }
    written += next.len();
    flow.flush(w).await?;
    Ok(written)
}

/// Reads and checks the lengths of the next frame. The caller bounds the wait for the first byte.
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
pub(super) async fn read_head<T, R>(r: &mut R, len: usize, activity: &Activity) -> Result<T, FrameError>
where
    T: Wire,
    R: AsyncRead + Unpin,
{
    let mut head = vec![0; len];
    Flow::budgeted(len, activity).fill(r, &mut head).await?;
    Ok(codec::decode(&head)?)
}

/// Reads the rest of a frame and discards it.
pub(super) async fn skip<R: AsyncRead + Unpin>(
    r: &mut R,
    lengths: Lengths,
    activity: &Activity,
) -> Result<(), FrameError> {
    Flow::budgeted(lengths.head, activity).discard(r, lengths.head).await?;
    body::skip(r, lengths.body, activity).await
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use webmesh_protocol::message::Request;

    use super::*;

    /// A reader that yields a few bytes at a time, as a network does.
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
        let (mut from, activity) = (Trickle { bytes, piece }, Activity::new());
        let lengths = read_lengths(&mut from).await?;
        let head = read_head(&mut from, lengths.head, &activity).await?;
        let (body, _) = body::read(&mut from, lengths.body, &activity, |_| ()).await?;
        Ok((head, body))
    }

    fn frame(name: &str, body: &[Vec<u8>]) -> (Request, Vec<u8>) {
        let request = Request::Compile { name: name.to_owned() };
        let body: Vec<Bytes> = body.iter().cloned().map(Bytes::from).collect();
        let mut bytes = Vec::new();
        let head = codec::encode(&request);
        let activity = Activity::new();
        run(write(&mut bytes, Frame { head: &head, body: &body }, Encoding::Lz4, Flow::unbudgeted(&activity))).unwrap();
        (request, bytes)
    }

    fn body() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Some cannot be compressed, some can; some fill a whole piece.
        let part = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..5_000),
            (any::<u8>(), 0usize..100_000).prop_map(|(byte, len)| vec![byte; len]),
        ];
        prop::collection::vec(part, 0..4)
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
        fn lengths_beyond_their_bounds_are_refused(head in any::<u32>(), body in any::<u64>(), shift in 0u32..64) {
            // All magnitudes.
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
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), head in 0u32..80) {
            // Once as they are, once behind valid lengths.
            let with_false_length = [&head.to_le_bytes()[..], &100u64.to_le_bytes(), &bytes].concat();
            for bytes in [bytes, with_false_length] {
                if let Ok((_, body)) = run(read(&bytes, 7)) {
                    prop_assert_eq!(body.len() as u64, u64::from_le_bytes(bytes[4..12].try_into().unwrap()));
                }
            }
        }

        #[test]
        fn skipping_consumes_exactly_one_frame(name in ".{0,30}", body in body(), rest in prop::collection::vec(any::<u8>(), 0..50)) {
            let (_, mut bytes) = frame(&name, &body);
            bytes.extend(&rest);
            let mut from = Trickle { bytes: &bytes, piece: 1000 };
            let lengths = run(read_lengths(&mut from)).unwrap();
            run(skip(&mut from, lengths, &Activity::new())).unwrap();
            prop_assert_eq!(from.bytes, rest);
        }
    }
}
