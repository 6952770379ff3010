//! A stream as its user has it: reading, writing, and letting go.

use std::task::Poll;

use bytes::Buf;

use super::{ReadHalf, Stream, StreamError, WriteHalf};
use crate::limits::SEND_BUFFER_BYTES;

impl Stream {
    /// Reads into `buffer`. 0 is the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, StreamError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut length = 0;
        while let Some(front) = self.received.front_mut() {
            let part = front.len().min(buffer.len() - length);
            front.copy_to_slice(&mut buffer[length..length + part]);
            length += part;
            if front.is_empty() {
                self.received.pop_front();
            }
            if length == buffer.len() {
                break;
            }
        }
        if length > 0 {
            self.received_bytes -= length;
            self.consumed += length as u64;
            return Poll::Ready(Ok(length));
        }
        match self.read {
            ReadHalf::Open => Poll::Pending,
            ReadHalf::Finished => Poll::Ready(Ok(0)),
            ReadHalf::Failed(error) => Poll::Ready(Err(error)),
        }
    }

    /// Takes as much of `data` as there is room for, at least one byte.
    pub fn write(&mut self, data: &[u8]) -> Poll<Result<usize, StreamError>> {
        match self.write {
            WriteHalf::Open => {}
            WriteHalf::Failed(error) => return Poll::Ready(Err(error)),
            WriteHalf::Closing | WriteHalf::FinSent | WriteHalf::Finished => {
                return Poll::Ready(Err(StreamError::Closed));
            }
        }
        let credit = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.written));
        let room = SEND_BUFFER_BYTES.saturating_sub(self.unsent.len());
        let length = data.len().min(room).min(usize::try_from(credit).unwrap_or(usize::MAX));
        if length == 0 && !data.is_empty() {
            return Poll::Pending;
        }
        self.unsent.extend_from_slice(&data[..length]);
        self.written += length as u64;
        Poll::Ready(Ok(length))
    }

    /// Ready once the data channel has taken all that was written, and the FIN after [`Stream::close_write`].
    pub fn poll_flushed(&self) -> Poll<Result<(), StreamError>> {
        match self.write {
            // Who has got all may well stop reading: of the last message of a handshake we hear so before we ask.
            WriteHalf::Failed(StreamError::Stopped) if !self.cut_short => Poll::Ready(Ok(())),
            WriteHalf::Failed(error) => Poll::Ready(Err(error)),
            WriteHalf::Closing => Poll::Pending,
            WriteHalf::Open if !self.unsent.is_empty() => Poll::Pending,
            WriteHalf::Open | WriteHalf::FinSent | WriteHalf::Finished => Poll::Ready(Ok(())),
        }
    }

    /// Ends the writing half after what is buffered.
    pub fn close_write(&mut self) {
        if self.write == WriteHalf::Open {
            self.write = WriteHalf::Closing;
        }
    }

    /// The user wants no more data.
    pub fn stop_reading(&mut self) {
        if self.read == ReadHalf::Open {
            self.read = ReadHalf::Failed(StreamError::Closed);
            self.stop_due = true;
        }
        self.discard_received();
    }

    /// The user lets go of the stream. What it wrote and closed is still delivered; what it did not close is reset.
    pub fn release(&mut self) {
        self.stop_reading();
        if self.write == WriteHalf::Open {
            self.fail_write(StreamError::Closed);
        }
        // Both are told also where the peer has ended that half: it waits for us to, before it closes the channel.
        self.stop_due |= matches!(self.read, ReadHalf::Failed(_)) && !self.stop_told;
        self.reset_due |= matches!(self.write, WriteHalf::Failed(_)) && !self.end_told;
    }
}
