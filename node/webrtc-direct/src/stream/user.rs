//! The application's side of a stream: reading, writing and releasing.

use std::task::Poll;

use bytes::Buf;

use super::{ReadHalf, Stream, StreamError, WriteHalf};
use crate::limits::SEND_BUFFER_BYTES;

impl Stream {
    /// Reads into `buffer` and returns the number of bytes; 0 is the end of the stream.
    ///
    /// # Errors
    /// [`StreamError`] once buffered data is read and the stream did not end with FIN.
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

    /// Accepts as much of `data` as there is room for, at least one byte, and returns the number of bytes.
    ///
    /// # Errors
    /// [`StreamError`] once this half is closed or reset, or the peer has stopped reading.
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

    /// Ready once everything written, and the FIN after [`Stream::close_write`], has been handed to the data channel.
    ///
    /// # Errors
    /// [`StreamError`] if some of it will never be sent.
    pub fn poll_flushed(&self) -> Poll<Result<(), StreamError>> {
        match self.write {
            // Everything was sent, and the peer stopped reading afterwards. It may do so right after the last message
            // of a handshake, before the flush.
            WriteHalf::Failed(StreamError::Stopped) if !self.cut_short => Poll::Ready(Ok(())),
            WriteHalf::Failed(error) => Poll::Ready(Err(error)),
            WriteHalf::Closing => Poll::Pending,
            WriteHalf::Open if !self.unsent.is_empty() => Poll::Pending,
            WriteHalf::Open | WriteHalf::FinSent | WriteHalf::Finished => Poll::Ready(Ok(())),
        }
    }

    /// Ends the writing half after the buffered data.
    pub fn close_write(&mut self) {
        if self.write == WriteHalf::Open {
            self.write = WriteHalf::Closing;
        }
    }

    /// Discards received data and asks the peer to send no more.
    pub fn stop_reading(&mut self) {
        if self.read == ReadHalf::Open {
            self.read = ReadHalf::Failed(StreamError::Closed);
            self.stop_due = true;
        }
        self.discard_received();
    }

    /// The application drops the stream. A closed writing half is still delivered; one that was not closed is reset.
    pub fn release(&mut self) {
        self.stop_reading();
        if self.write == WriteHalf::Open {
            self.fail_write(StreamError::Closed);
        }
        // Sent even if the peer has ended that half already: it waits for both before it closes the channel.
        self.stop_due |= matches!(self.read, ReadHalf::Failed(_)) && !self.stop_sent;
        self.reset_due |= matches!(self.write, WriteHalf::Failed(_)) && !self.end_sent;
    }
}
