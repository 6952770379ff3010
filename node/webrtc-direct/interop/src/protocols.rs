//! Three protocols, each on one stream: `echo`, `sink` (receives data and returns its length) and `source` (sends a
//! requested length).
//!
//! Bulk data is a pattern whose period is not a multiple of any buffer size, so that lost, duplicated or swapped parts
//! are detected.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use libp2p_stream::{Control, OpenStreamError};

/// Echoes data until the end.
pub const ECHO: StreamProtocol = StreamProtocol::new("/interop/echo/1");
/// Receives until the end, then sends the number of bytes (u64, big-endian) and closes.
pub const SINK: StreamProtocol = StreamProtocol::new("/interop/sink/1");
/// Receives a number of bytes (u64, big-endian), sends that many and closes.
pub const SOURCE: StreamProtocol = StreamProtocol::new("/interop/source/1");

/// Period of the pattern: a prime.
const PERIOD: usize = 65_521;
const BUFFER: usize = 64 * 1024;

/// Result of a test protocol.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// More than two periods of the pattern, so that it has a full buffer from every offset.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let once: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(PERIOD)
    .collect();
    [&once[..], &once, &once[..BUFFER - PERIOD]].concat()
}

/// How a server writes.
#[derive(Clone, Copy, Debug)]
pub enum Writes {
    /// As much as the stream accepts.
    Long,
    /// Short and flushed, for libp2p-webrtc: it combines two long writes into one message, then refuses it as too long.
    Short,
}

/// Writes `length` bytes of the pattern.
async fn send(stream: &mut (impl AsyncWrite + Unpin), length: u64, writes: Writes) -> io::Result<()> {
    let pattern = pattern();
    let mut sent = 0;
    while sent < length {
        let offset = (sent % PERIOD as u64) as usize;
        let left = (length - sent) as usize;
        let part = match writes {
            Writes::Long => left.min(BUFFER),
            Writes::Short => left.min(8 * 1024),
        };
        stream.write_all(&pattern[offset..offset + part]).await?;
        if matches!(writes, Writes::Short) {
            stream.flush().await?;
        }
        sent += part as u64;
    }
    Ok(())
}

/// Reads the pattern to the end of the stream. Returns the number of bytes.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    let pattern = pattern();
    let mut buffer = vec![0; BUFFER];
    let mut received = 0u64;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(received);
        }
        let offset = (received % PERIOD as u64) as usize;
        if buffer[..length] != pattern[offset..offset + length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("wrong data after {received} bytes")));
        }
        received += length as u64;
    }
}

/// Serves all three protocols, each stream in its own task.
pub async fn serve(
    mut control: Control,
    writes: Writes,
    spawn: impl Fn(futures::future::BoxFuture<'static, ()>),
) -> Result<()> {
    let mut incoming = futures::stream::select_all([
        control.accept(ECHO)?.map(|(_, stream)| (ECHO, stream)).boxed(),
        control.accept(SINK)?.map(|(_, stream)| (SINK, stream)).boxed(),
        control.accept(SOURCE)?.map(|(_, stream)| (SOURCE, stream)).boxed(),
    ]);
    while let Some((protocol, stream)) = incoming.next().await {
        // The opener reports errors.
        spawn(Box::pin(async move { drop(serve_one(protocol, stream, writes).await) }));
    }
    Ok(())
}

async fn serve_one(protocol: StreamProtocol, mut stream: Stream, writes: Writes) -> io::Result<()> {
    if protocol == ECHO {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            // Does not read again after the end, which is an error in libp2p-webrtc-websys.
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            stream.write_all(&buffer[..length]).await?;
        }
    } else if protocol == SINK {
        let received = receive(&mut stream).await?;
        stream.write_all(&received.to_be_bytes()).await?;
    } else {
        let mut length = [0; 8];
        stream.read_exact(&mut length).await?;
        send(&mut stream, u64::from_be_bytes(length), writes).await?;
    }
    stream.close().await
}

async fn open(control: &mut Control, peer: PeerId, protocol: StreamProtocol) -> Result<Stream> {
    control.open_stream(peer, protocol).await.map_err(|error| match error {
        OpenStreamError::Io(error) => error.into(),
        other => other.to_string().into(),
    })
}

/// Sends `data` and expects the peer to echo it.
pub async fn echo(control: &mut Control, peer: PeerId, data: &[u8]) -> Result<()> {
    let (mut read, mut write) = open(control, peer, ECHO).await?.split();
    let writing = async {
        write.write_all(data).await?;
        write.close().await
    };
    let mut back = Vec::with_capacity(data.len());
    futures::try_join!(writing, read.read_to_end(&mut back))?;
    if back == data {
        Ok(())
    } else {
        Err(format!("sent {} bytes, but received {} different ones", data.len(), back.len()).into())
    }
}

/// Sends `length` bytes to a sink.
pub async fn upload(control: &mut Control, peer: PeerId, length: u64) -> Result<()> {
    let mut stream = open(control, peer, SINK).await?;
    send(&mut stream, length, Writes::Long).await?;
    stream.close().await?;
    let mut received = [0; 8];
    stream.read_exact(&mut received).await?;
    expect(length, u64::from_be_bytes(received))
}

/// Receives `length` bytes from a source.
pub async fn download(control: &mut Control, peer: PeerId, length: u64) -> Result<()> {
    let mut stream = open(control, peer, SOURCE).await?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.close().await?;
    expect(length, receive(&mut stream).await?)
}

/// Requests `length` bytes from a source, and reads them only after `wait`.
pub async fn download_late(
    control: &mut Control,
    peer: PeerId,
    length: u64,
    wait: impl Future<Output = ()>,
) -> Result<()> {
    let mut stream = open(control, peer, SOURCE).await?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.close().await?;
    wait.await;
    expect(length, receive(&mut stream).await?)
}

fn expect(length: u64, received: u64) -> Result<()> {
    if length == received { Ok(()) } else { Err(format!("{received} of {length} bytes arrived").into()) }
}
