//! A UDP socket with batched reads and writes, where the kernel supports them.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Requested size of the kernel's socket buffers, which may be reduced by the system's limit: an SCTP window plus the
/// kernel's overhead per datagram.
const KERNEL_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Receive buffer: the maximum that the kernel coalesces (generic receive offload).
const RECEIVE_BYTES: usize = 64 * 1024;

pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Datagrams of one sender, each `stride` bytes long; the last may be shorter.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) from: SocketAddr,
    pub(crate) data: Bytes,
    pub(crate) stride: usize,
}

impl Datagrams {
    /// The datagrams, except empty ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.data.chunks(self.stride.max(1))
    }
}

/// Datagrams to send.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    data: Vec<u8>,
    ends: Vec<(SocketAddr, usize)>,
}

impl Batch {
    pub(crate) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.data.extend_from_slice(datagram);
        self.ends.push((to, self.data.len()));
    }

    fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
        // Frees the memory of a burst.
        self.data.shrink_to(256 * 1024);
    }

    #[cfg(test)]
    pub(crate) fn take(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut start = 0;
        let taken = self.ends.iter().map(|&(to, end)| {
            let datagram = self.data[start..end].to_vec();
            start = end;
            (to, datagram)
        });
        let taken = taken.collect();
        self.clear();
        taken
    }
}

impl Socket {
    /// Binds a socket, within a tokio runtime. An IPv6 socket does not receive IPv4, which has listen addresses of its
    /// own.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        for result in [
            state.set_recv_buffer_size((&io).into(), KERNEL_BUFFER_BYTES),
            state.set_send_buffer_size((&io).into(), KERNEL_BUFFER_BYTES),
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, "cannot enlarge the kernel's socket buffer");
            }
        }
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits for datagrams. Cancel-safe.
    pub(crate) async fn receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<Datagrams> {
        loop {
            self.io.readable().await?;
            match self.try_receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP error about a datagram sent earlier, possibly to another peer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                result => return result,
            }
        }
    }

    /// Receives what has arrived. `WouldBlock` if nothing has.
    pub(crate) fn try_receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<Datagrams> {
        let mut meta = [RecvMeta::default()];
        self.io.try_io(Interest::READABLE, || {
            self.state.recv((&self.io).into(), &mut [IoSliceMut::new(&mut buffer.0)], &mut meta)
        })?;
        let [meta] = meta;
        Ok(Datagrams { from: meta.addr, data: Bytes::copy_from_slice(&buffer.0[..meta.len]), stride: meta.stride })
    }

    /// Sends a batch, waiting for room in the socket's buffer. Datagrams that fail to send count as lost.
    pub(crate) async fn send(&self, batch: &mut Batch) -> io::Result<()> {
        let (mut first, mut start) = (0, 0);
        while first < batch.ends.len() {
            let (count, end, segment_size) = self.run(batch, first, start);
            let transmit = Transmit {
                destination: batch.ends[first].0,
                ecn: None,
                contents: &batch.data[start..end],
                segment_size: (count > 1).then_some(segment_size),
                src_ip: None,
            };
            loop {
                self.io.writable().await?;
                let sent = self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), &transmit));
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        tracing::debug!(%error, to = %transmit.destination, "cannot send a datagram");
                        break;
                    }
                    Ok(()) => break,
                }
            }
            (first, start) = (first + count, end);
        }
        batch.clear();
        Ok(())
    }

    /// The run of datagrams that the kernel can send at once (generic segmentation offload), from the one numbered
    /// `first`, at offset `start`: all have one destination and size, and the last may be shorter. Returns their
    /// number, end offset and size.
    fn run(&self, batch: &Batch, first: usize, start: usize) -> (usize, usize, usize) {
        let (to, mut end) = batch.ends[first];
        let size = end - start;
        let mut count = 1;
        while count < self.state.max_gso_segments()
            && let Some(&(next_to, next_end)) = batch.ends.get(first + count)
            && next_to == to
            && next_end - end <= size
            && next_end - start < RECEIVE_BYTES
        {
            let shorter = next_end - end < size;
            end = next_end;
            count += 1;
            if shorter {
                break;
            }
        }
        (count, end, size)
    }
}

/// Buffer for receiving datagrams, one per task.
pub(crate) struct ReceiveBuffer(Box<[u8]>);

impl Default for ReceiveBuffer {
    fn default() -> Self {
        Self(vec![0; RECEIVE_BYTES].into())
    }
}
