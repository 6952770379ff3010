//! Reading and writing with a throughput check: no bytes for [`REQUEST_TIMEOUT`], or too few on average, ends a stream.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use webmesh_protocol::limits::REQUEST_TIMEOUT;

use super::activity::Activity;
use super::error::FrameError;
use super::pace::Pace;
use crate::platform;

/// Buffer size for reading data that is discarded.
const DISCARDED: usize = 16 * 1024;

/// One direction of one frame: every byte moved updates the activity and is counted by the throughput check.
pub(super) struct Flow<'a> {
    activity: &'a Activity,
    pace: Pace<'a>,
}

impl<'a> Flow<'a> {
    /// For a frame of `len` bytes that holds a part of a budget, for which others may wait.
    pub(super) fn budgeted(len: usize, activity: &'a Activity) -> Self {
        Self { activity, pace: Pace::new(len, activity) }
    }

    /// For a frame that only its receiver waits for.
    pub(super) fn unbudgeted(activity: &'a Activity) -> Self {
        Self { activity, pace: Pace::unbudgeted() }
    }

    /// Counts `n` more bytes.
    pub(super) fn moved(&mut self, n: usize) -> Result<(), FrameError> {
        self.activity.touch();
        if self.pace.keeps(n) { Ok(()) } else { Err(FrameError::Stalled) }
    }

    /// Reads until `buffer` is full.
    pub(super) async fn fill<R: AsyncRead + Unpin>(&mut self, r: &mut R, buffer: &mut [u8]) -> Result<(), FrameError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match stall(r.read(&mut buffer[filled..])).await? {
                0 => return Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into())),
                n => {
                    filled += n;
                    self.moved(n)?;
                }
            }
        }
        Ok(())
    }

    /// Reads `len` bytes and discards them.
    pub(super) async fn discard<R: AsyncRead + Unpin>(&mut self, r: &mut R, mut len: usize) -> Result<(), FrameError> {
        let mut buffer = vec![0; len.min(DISCARDED)];
        while len > 0 {
            let part = len.min(DISCARDED);
            self.fill(r, &mut buffer[..part]).await?;
            len -= part;
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    pub(super) async fn write<W: AsyncWrite + Unpin>(&mut self, w: &mut W, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            match stall(w.write(bytes)).await? {
                0 => return Err(FrameError::Broken(io::ErrorKind::WriteZero.into())),
                n => {
                    self.moved(n)?;
                    bytes = &bytes[n..];
                }
            }
        }
        Ok(())
    }

    /// Flushes the writer.
    pub(super) async fn flush<W: AsyncWrite + Unpin>(&mut self, w: &mut W) -> Result<(), FrameError> {
        stall(w.flush()).await?;
        self.activity.touch();
        Ok(())
    }
}

/// Fails a read or write that makes no progress.
async fn stall<T>(io: impl Future<Output = io::Result<T>>) -> Result<T, FrameError> {
    match platform::timeout(REQUEST_TIMEOUT, io).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(e)) => Err(FrameError::Broken(e)),
        None => Err(FrameError::Stalled),
    }
}
