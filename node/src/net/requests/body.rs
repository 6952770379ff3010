//! The body of a frame, in pieces; each is compressed if that makes it shorter.
//!
//! ```text
//! (u32 wire_len | piece)*          little-endian; the highest bit of wire_len: as it is, not compressed
//! ```
//!
//! A piece stands for the next [`PIECE_BYTES`] of the body, the last one for the rest; the reader knows the body's
//! length beforehand, so no piece can make it longer. Compressed pieces are LZ4 blocks: for text and for pairs of keys
//! and values, compression halves the bytes to send and encrypt, at some milliseconds for each mebibyte; sending a
//! mebibyte costs ten times that over WebRTC, and still more over a home's uplink.

use bytes::Bytes;
use futures::AsyncRead;
use lz4_flex::block;

use super::activity::Activity;
use super::error::FrameError;
use super::flow::Flow;
use crate::net::limits::INITIAL_FRAME_BUFFER;
use crate::net::streams::Way;

/// Bytes of a body in one piece: the compression window of LZ4, and some hundred microseconds of work before the task
/// yields.
pub(in crate::net) const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of the length in front of a piece.
const LENGTH_BYTES: usize = 4;
/// Flag in the length: the piece is not compressed.
pub(in crate::net) const PLAIN: u32 = 1 << 31;
/// Saved bytes that count for each byte sent, at most: real text is compressed to a quarter at best.
const SAVED_OF_SENT: usize = 3;
/// Shorter pieces are not compressed: there is nothing to gain.
const COMPRESSED_FROM: usize = 256;

/// How pieces are written; a reader accepts either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Compressed where that makes them shorter.
    Lz4,
    /// Not compressed.
    Plain,
}

impl Encoding {
    /// The faster encoding for `way`: within one machine, compression costs more than encryption and copying.
    pub(super) fn over(way: Way) -> Self {
        if way.is_short { Self::Plain } else { Self::Lz4 }
    }

    /// Appends a piece, with its length in front.
    fn append(self, piece: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        if self == Self::Lz4 && piece.len() >= COMPRESSED_FROM {
            out.resize(start + LENGTH_BYTES + block::get_maximum_output_size(piece.len()), 0);
            let compressed = block::compress_into(piece, &mut out[start + LENGTH_BYTES..]);
            if let Ok(length) = compressed
                && length < piece.len()
            {
                out.truncate(start + LENGTH_BYTES + length);
                out[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
                return;
            }
            out.truncate(start);
        }
        out.extend_from_slice(&(piece.len() as u32 | PLAIN).to_le_bytes());
        out.extend_from_slice(piece);
    }
}

/// An outgoing body, piece by piece.
pub(super) struct Pieces<'a> {
    encoding: Encoding,
    parts: &'a [Bytes],
    /// Offset of the next piece within the first part.
    offset: usize,
    gathered: Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(parts: &'a [Bytes], encoding: Encoding) -> Self {
        Self { encoding, parts, offset: 0, gathered: Vec::new() }
    }

    /// Appends the next piece to `out`. Returns the number of body bytes that it stands for; `None` at the end.
    pub(super) fn append_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        self.skip_finished();
        let part = self.parts.first()?;
        let rest = &part[self.offset..];
        if rest.len() >= PIECE_BYTES || self.parts.len() == 1 {
            // Within one part: no copying needed.
            let piece = &rest[..rest.len().min(PIECE_BYTES)];
            self.offset += piece.len();
            self.encoding.append(piece, out);
            return Some(piece.len());
        }
        self.gathered.clear();
        while let Some(part) = self.parts.first()
            && self.gathered.len() < PIECE_BYTES
        {
            let rest = &part[self.offset..];
            let taken = rest.len().min(PIECE_BYTES - self.gathered.len());
            self.gathered.extend_from_slice(&rest[..taken]);
            self.offset += taken;
            self.skip_finished();
        }
        self.encoding.append(&self.gathered, out);
        Some(self.gathered.len())
    }

    fn skip_finished(&mut self) {
        while let Some((part, others)) = self.parts.split_first()
            && self.offset == part.len()
        {
            (self.parts, self.offset) = (others, 0);
        }
    }
}

/// The header of a piece.
#[derive(Clone, Copy)]
struct Header {
    plain: bool,
    /// Bytes that follow on the wire.
    wire: usize,
    /// Bytes of the body after decompression.
    decoded: usize,
}

/// The bytes saved by compression of a piece that count towards the throughput, which is measured on the body: as many
/// as real data save. If everything that zeros save counted, a peer could hold its part of the budget for hardly any
/// bytes.
pub(super) fn saved(decoded: usize, wire: usize) -> usize {
    decoded.saturating_sub(wire).min(SAVED_OF_SENT * wire)
}

impl Header {
    async fn read<R: AsyncRead + Unpin>(r: &mut R, flow: &mut Flow<'_>, decoded: usize) -> Result<Self, FrameError> {
        let mut length = [0; LENGTH_BYTES];
        flow.fill(r, &mut length).await?;
        let length = u32::from_le_bytes(length);
        let header = Self { plain: length & PLAIN != 0, wire: (length & !PLAIN) as usize, decoded };
        // A sender compresses only where that is shorter.
        let possible = if header.plain { header.wire == decoded } else { (1..decoded).contains(&header.wire) };
        if possible { Ok(header) } else { Err(FrameError::Piece) }
    }
}

/// Reads a body of `len` bytes; calls `seen` with every piece. Memory grows as bytes arrive. Also returns the number of
/// bytes read from the stream.
pub(super) async fn read<R: AsyncRead + Unpin>(
    r: &mut R,
    len: usize,
    activity: &Activity,
    mut seen: impl FnMut(&[u8]),
) -> Result<(Bytes, usize), FrameError> {
    let mut flow = Flow::budgeted(len, activity);
    let mut body = vec![0; len.min(INITIAL_FRAME_BUFFER)];
    let mut compressed = Vec::new();
    let (mut filled, mut came) = (0, 0);
    while filled < len {
        let header = Header::read(r, &mut flow, (len - filled).min(PIECE_BYTES)).await?;
        if filled + header.decoded > body.len() {
            let more = body.len().min(len - body.len());
            body.reserve_exact(more);
            body.resize(body.len() + more, 0);
        }
        let piece = &mut body[filled..filled + header.decoded];
        if header.plain {
            flow.fill(r, piece).await?;
        } else {
            compressed.resize(header.wire, 0);
            flow.fill(r, &mut compressed).await?;
            if !matches!(block::decompress_into(&compressed, piece), Ok(n) if n == header.decoded) {
                return Err(FrameError::Piece);
            }
            flow.moved(saved(header.decoded, header.wire))?;
        }
        seen(piece);
        filled += header.decoded;
        came += LENGTH_BYTES + header.wire;
    }
    Ok((body.into(), came))
}

/// Reads a body of `len` bytes and discards it.
pub(super) async fn skip<R: AsyncRead + Unpin>(r: &mut R, len: usize, activity: &Activity) -> Result<(), FrameError> {
    let mut flow = Flow::budgeted(len, activity);
    let mut skipped = 0;
    while skipped < len {
        let header = Header::read(r, &mut flow, (len - skipped).min(PIECE_BYTES)).await?;
        flow.discard(r, header.wire).await?;
        flow.moved(saved(header.decoded, header.wire))?;
        skipped += header.decoded;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::tests::body as noise;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    fn encoded(parts: &[Bytes]) -> Vec<u8> {
        encoded_by(parts, Encoding::Lz4)
    }

    fn encoded_by(parts: &[Bytes], encoding: Encoding) -> Vec<u8> {
        let (mut pieces, mut out) = (Pieces::of(parts, encoding), Vec::new());
        while pieces.append_next(&mut out).is_some() {}
        out
    }

    fn decoded(mut bytes: &[u8], len: usize) -> Result<Bytes, FrameError> {
        Ok(run(read(&mut bytes, len, &Activity::new(), |_| ()))?.0)
    }

    /// A piece in wire format.
    fn piece(length: u32, bytes: &[u8]) -> Vec<u8> {
        [&length.to_le_bytes()[..], bytes].concat()
    }

    /// Typical lines of a program.
    fn text(lines: usize) -> Vec<u8> {
        (0..lines).flat_map(|i| format!("    let value_{} = compute(&input[{i}]);\n", i % 97).into_bytes()).collect()
    }

    #[test]
    fn text_is_compressed_by_half_and_noise_does_not_grow() {
        let text = text(10_000);
        let sent = encoded(&[text.clone().into()]);
        assert!(sent.len() < text.len() / 2, "{} of {} bytes", sent.len(), text.len());
        assert_eq!(decoded(&sent, text.len()).unwrap(), text);
        let noise = noise(3 * PIECE_BYTES + 5);
        assert_eq!(encoded(std::slice::from_ref(&noise)).len(), noise.len() + 4 * LENGTH_BYTES);
    }

    #[test]
    fn bodies_within_one_machine_are_not_compressed() {
        let text = text(10_000);
        let sent = encoded_by(&[text.clone().into()], Encoding::Plain);
        assert_eq!(sent.len(), text.len() + text.len().div_ceil(PIECE_BYTES) * LENGTH_BYTES);
        assert_eq!(decoded(&sent, text.len()).unwrap(), text);
    }

    #[test]
    fn bytes_saved_count_towards_throughput_for_text_but_not_for_zeros() {
        let text = PIECE_BYTES / 4;
        assert_eq!(text + saved(PIECE_BYTES, text), PIECE_BYTES);
        let zeros = encoded(&[vec![0; PIECE_BYTES].into()]).len();
        assert!(zeros + saved(PIECE_BYTES, zeros) < PIECE_BYTES / 32);
    }

    #[test]
    fn small_parts_are_compressed_together() {
        let text = text(1_000);
        let parts: Vec<Bytes> = text.chunks(50).map(Bytes::copy_from_slice).collect();
        assert_eq!(encoded(&parts), encoded(&[text.into()]));
    }

    #[test]
    fn a_piece_that_lies_about_its_length_is_refused() {
        let (text, len) = (text(3), text(3).len());
        let good = encoded(&[text.clone().into()]);
        for (what, lie) in [
            ("longer than the body", piece((len as u32 + 1) | PLAIN, &[b'x'; 200])),
            ("shorter than the body", piece((len as u32 - 1) | PLAIN, &text)),
            ("nothing", piece(0, &[])),
            ("compressed and no shorter", piece(len as u32, &text)),
            ("not what LZ4 makes", piece(20, &[0xff; 20])),
            ("cut off in the middle", piece(good.len() as u32 - LENGTH_BYTES as u32 - 3, &good[LENGTH_BYTES..])),
        ] {
            let read = decoded(&lie, len);
            assert!(matches!(read, Err(FrameError::Piece)), "{what}: {read:?}");
        }
        // Half a mebibyte of zeros in a few hundred bytes, behind a length that promises less.
        let bomb = block::compress(&vec![0; 512 * 1024]);
        let read = decoded(&piece(bomb.len() as u32, &bomb), PIECE_BYTES);
        assert!(matches!(read, Err(FrameError::Piece)), "{read:?}");
    }

    #[test]
    fn memory_of_a_long_body_grows_as_bytes_arrive() {
        let long = [text(60_000), noise(INITIAL_FRAME_BUFFER + 1).to_vec(), text(1)].concat();
        assert!(long.len() > 2 * INITIAL_FRAME_BUFFER);
        assert_eq!(decoded(&encoded(&[long.clone().into()]), long.len()).unwrap(), long);
    }

    #[test]
    fn a_lie_in_the_middle_is_refused_whether_it_is_read_or_skipped() {
        let good = encoded(&[text(10_000).into()]);
        let first = LENGTH_BYTES + u32::from_le_bytes(good[..LENGTH_BYTES].try_into().unwrap()) as usize;
        let bytes = [&good[..first], &piece(0, &good[first..])].concat();
        let len = text(10_000).len();
        assert!(matches!(decoded(&bytes, len), Err(FrameError::Piece)));
        assert!(matches!(run(skip(&mut &bytes[..], len, &Activity::new())), Err(FrameError::Piece)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_body_of_the_given_length_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            len in 0usize..1000,
            claimed in 0u32..1000,
        ) {
            // Once as they are, once as one compressed piece.
            for bytes in [bytes.clone(), piece(claimed, &bytes)] {
                if let Ok(body) = decoded(&bytes, len) {
                    prop_assert_eq!(body.len(), len);
                }
            }
        }
    }
}
