//! The application's handle of a stream.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use send_wrapper::SendWrapper;

use super::channel::Channel;

/// One stream of a [`Connection`](super::Connection).
///
/// Closing it ends the writing half; reading continues. Dropping it asks the peer to send no more, and resets the
/// writing half unless it was closed.
pub struct Substream {
    /// libp2p requires `Send`. JavaScript objects stay on their thread, which here is the only one.
    channel: SendWrapper<Rc<Channel>>,
}

impl Substream {
    pub(super) fn new(channel: Rc<Channel>) -> Self {
        Self { channel: SendWrapper::new(channel) }
    }
}

impl AsyncRead for Substream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let channel = &self.channel;
        channel.reader.register(cx.waker());
        channel.read(buffer).map_err(io::Error::from)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let channel = &self.channel;
        channel.writer.register(cx.waker());
        let result = channel.stream.borrow_mut().write(data);
        if result.is_ready() {
            channel.pump();
        }
        result.map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let channel = &self.channel;
        channel.writer.register(cx.waker());
        channel.pump();
        channel.stream.borrow().poll_flushed().map_err(io::Error::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.channel.stream.borrow_mut().close_write();
        self.poll_flush(cx)
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        self.channel.release();
    }
}
