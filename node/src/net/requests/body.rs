//! The body of a frame: pieces, each compressed where that makes it shorter.
//!
//! ```text
//! (u32 wire_len | piece)*          little-endian; the highest bit of wire_len: as it is, not compressed
//! ```
//!
//! A piece stands for the next [`PIECE_BYTES`] of the body, the last one for what is left; whoever reads knows the
//! body's length beforehand, so that no piece can make it longer. Compressed pieces are LZ4 blocks: for text and for
//! pairs of keys and values that halves what is sent, encrypted and waited for, at some milliseconds for each
//! mebibyte; over WebRTC a mebibyte costs ten times that, and a home's uplink more still.

use bytes::Bytes;
use futures::AsyncRead;
use lz4_flex::block;

use super::error::FrameError;
use super::flow::Flow;
use super::pulse::Pulse;
use crate::net::limits::FIRST_ALLOCATION;
use crate::net::streams::Way;

/// Bytes of a body in one piece: what LZ4 looks back on, and some hundred microseconds of work between two looks at the network.
pub(in crate::net) const PIECE_BYTES: usize = 64 * 1024;
/// The length in front of a piece.
const LENGTH_BYTES: usize = 4;
/// In the length: the piece is not compressed.
pub(in crate::net) const PLAIN: u32 = 1 << 31;
/// Of each byte sent so many saved ones count at most: real text is compressed to a quarter at best.
const SAVED_OF_SENT: usize = 3;
/// Shorter pieces are left as they are: there is nothing to gain.
const COMPRESSED_FROM: usize = 256;

/// How pieces are written; whoever reads takes either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Compressed where that makes them shorter.
    Lz4,
    /// As they are.
    Plain,
}

impl Encoding {
    /// What takes least time over `way`: within one machine, to compress costs more than to encrypt and to copy.
    pub(super) fn over(way: Way) -> Self {
        if way.is_short { Self::Plain } else { Self::Lz4 }
    }

    /// Appends a piece behind its length.
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

/// A body on its way out, piece by piece.
pub(super) struct Pieces<'a> {
    encoding: Encoding,
    parts: &'a [Bytes],
    /// Where the next piece begins in the first part.
    offset: usize,
    gathered: Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(parts: &'a [Bytes], encoding: Encoding) -> Self {
        Self { encoding, parts, offset: 0, gathered: Vec::new() }
    }

    /// Appends the next piece to `out`. How many bytes of the body it stands for; none if that has ended.
    pub(super) fn append_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        self.skip_finished();
        let part = self.parts.first()?;
        let rest = &part[self.offset..];
        if rest.len() >= PIECE_BYTES || self.parts.len() == 1 {
            // Within one part: nothing to gather.
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

/// What is in front of a piece.
#[derive(Clone, Copy)]
struct Header {
    plain: bool,
    /// Bytes that follow.
    wire: usize,
    /// Bytes of the body that they stand for.
    decoded: usize,
}

/// Of a piece, bytes saved on the way that count as moved all the same, as the pace is that of the body: as many as
/// real data save. With all that zeros do, a peer could hold its part of the budget for hardly any bytes.
pub(super) fn saved(decoded: usize, wire: usize) -> usize {
    decoded.saturating_sub(wire).min(SAVED_OF_SENT * wire)
}

impl Header {
    async fn read<R: AsyncRead + Unpin>(r: &mut R, flow: &mut Flow<'_>, decoded: usize) -> Result<Self, FrameError> {
        let mut length = [0; LENGTH_BYTES];
        flow.fill(r, &mut length).await?;
        let length = u32::from_le_bytes(length);
        let header = Self { plain: length & PLAIN != 0, wire: (length & !PLAIN) as usize, decoded };
        // Whoever compresses sends what is shorter for it, and what is not as it is.
        let possible = if header.plain { header.wire == decoded } else { (1..decoded).contains(&header.wire) };
        if possible { Ok(header) } else { Err(FrameError::Piece) }
    }
}

/// Reads a body of `len` bytes; `seen` is shown every piece as it comes. Memory grows as bytes arrive. Also says how
/// many bytes came.
pub(super) async fn read<R: AsyncRead + Unpin>(
    r: &mut R,
    len: usize,
    pulse: &Pulse,
    mut seen: impl FnMut(&[u8]),
) -> Result<(Bytes, usize), FrameError> {
    let mut flow = Flow::held(len, pulse);
    let mut body = vec![0; len.min(FIRST_ALLOCATION)];
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

/// Reads a body of `len` bytes and forgets it.
pub(super) async fn skip<R: AsyncRead + Unpin>(r: &mut R, len: usize, pulse: &Pulse) -> Result<(), FrameError> {
    let mut flow = Flow::held(len, pulse);
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
        Ok(run(read(&mut bytes, len, &Pulse::new(), |_| ()))?.0)
    }

    /// Pieces as they stand on the wire.
    fn piece(length: u32, bytes: &[u8]) -> Vec<u8> {
        [&length.to_le_bytes()[..], bytes].concat()
    }

    /// Lines as programs have them.
    fn text(lines: usize) -> Vec<u8> {
        (0..lines).flat_map(|i| format!("    let value_{} = compute(&input[{i}]);\n", i % 97).into_bytes()).collect()
    }

    #[test]
    fn text_takes_less_than_half_on_the_way_and_noise_takes_no_more() {
        let text = text(10_000);
        let sent = encoded(&[text.clone().into()]);
        assert!(sent.len() < text.len() / 2, "{} of {} bytes", sent.len(), text.len());
        assert_eq!(decoded(&sent, text.len()).unwrap(), text);
        let noise = noise(3 * PIECE_BYTES + 5);
        assert_eq!(encoded(std::slice::from_ref(&noise)).len(), noise.len() + 4 * LENGTH_BYTES);
    }

    #[test]
    fn what_stays_within_the_machine_is_sent_as_it_is() {
        let text = text(10_000);
        let sent = encoded_by(&[text.clone().into()], Encoding::Plain);
        assert_eq!(sent.len(), text.len() + text.len().div_ceil(PIECE_BYTES) * LENGTH_BYTES);
        assert_eq!(decoded(&sent, text.len()).unwrap(), text);
    }

    #[test]
    fn what_text_saves_counts_for_the_pace_and_of_zeros_hardly_anything() {
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
    fn a_long_body_grows_as_it_comes() {
        let long = [text(60_000), noise(FIRST_ALLOCATION + 1).to_vec(), text(1)].concat();
        assert!(long.len() > 2 * FIRST_ALLOCATION);
        assert_eq!(decoded(&encoded(&[long.clone().into()]), long.len()).unwrap(), long);
    }

    #[test]
    fn a_lie_in_the_middle_is_refused_whether_it_is_read_or_skipped() {
        let good = encoded(&[text(10_000).into()]);
        let first = LENGTH_BYTES + u32::from_le_bytes(good[..LENGTH_BYTES].try_into().unwrap()) as usize;
        let bytes = [&good[..first], &piece(0, &good[first..])].concat();
        let len = text(10_000).len();
        assert!(matches!(decoded(&bytes, len), Err(FrameError::Piece)));
        assert!(matches!(run(skip(&mut &bytes[..], len, &Pulse::new())), Err(FrameError::Piece)));
    }

    proptest! {
        #[test]
        fn bytes_of_a_stranger_make_a_body_of_the_length_told_or_an_error(
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
