//! A UDP socket with batched reads and writes, where the kernel has them.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Asked of the kernel, which may give less. A window of SCTP in each direction, and what datagrams cost above it.
const KERNEL_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Receive buffer: the most that the kernel puts together of one sender.
const RECEIVE_BYTES: usize = 64 * 1024;

pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Datagrams of one sender, each `stride` long, the last perhaps shorter.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) from: SocketAddr,
    pub(crate) data: Bytes,
    pub(crate) stride: usize,
}

impl Datagrams {
    /// Each of them. Empty ones are passed over.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.data.chunks(self.stride.max(1))
    }
}

/// Datagrams on their way out.
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
        // One burst is not to hold its memory for the rest of a quiet connection.
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
    /// Binds in the current runtime. An IPv6 socket takes no IPv4: each family is listened on by its own address.
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
                tracing::debug!(%error, "the kernel's socket buffer keeps its size");
            }
        }
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits for datagrams. Can be cancelled.
    pub(crate) async fn receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<Datagrams> {
        loop {
            self.io.readable().await?;
            match self.try_receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP message about an earlier datagram of ours: says nothing about this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                result => return result,
            }
        }
    }

    /// Takes what is there.
    pub(crate) fn try_receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<Datagrams> {
        let mut meta = [RecvMeta::default()];
        self.io.try_io(Interest::READABLE, || {
            self.state.recv((&self.io).into(), &mut [IoSliceMut::new(&mut buffer.0)], &mut meta)
        })?;
        let [meta] = meta;
        Ok(Datagrams { from: meta.addr, data: Bytes::copy_from_slice(&buffer.0[..meta.len]), stride: meta.stride })
    }

    /// Sends all of a batch, waiting for room. What the network refuses is lost, as on the way.
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
                        tracing::debug!(%error, to = %transmit.destination, "datagram not sent");
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

    /// How many datagrams from `first` on, which begins at `start`, the kernel can send as one: of one size and
    /// destination, the last perhaps shorter. With where they end and their size.
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

/// Where datagrams are received. One per task.
pub(crate) struct ReceiveBuffer(Box<[u8]>);

impl Default for ReceiveBuffer {
    fn default() -> Self {
        Self(vec![0; RECEIVE_BYTES].into())
    }
}
