//! Three protocols, each one stream: `echo`, `sink` (takes and says how much) and `source` (gives as much as asked).
//!
//! Bulk data is a pattern whose period is no multiple of any buffer's size, so that a lost, doubled or swapped part
//! is noticed.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use libp2p_stream::{Control, OpenStreamError};

/// Sends back what it gets, to the end.
pub const ECHO: StreamProtocol = StreamProtocol::new("/interop/echo/1");
/// Takes all, then says how many bytes it were and closes.
pub const SINK: StreamProtocol = StreamProtocol::new("/interop/sink/1");
/// Is told a number of bytes, gives them and closes.
pub const SOURCE: StreamProtocol = StreamProtocol::new("/interop/source/1");

/// A prime.
const PERIOD: usize = 65_521;
const BUFFER: usize = 64 * 1024;

/// Why a stream did not do what it should.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The pattern, twice, so that a buffer's worth of it is there from every offset.
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
    /// As much as the stream takes.
    Long,
    /// What libp2p-webrtc can take: it puts two long writes into one message and then refuses it as too long.
    Short,
}

/// Writes `length` bytes of the pattern.
async fn give(stream: &mut (impl AsyncWrite + Unpin), length: u64, writes: Writes) -> io::Result<()> {
    let pattern = pattern();
    let mut given = 0;
    while given < length {
        let offset = (given % PERIOD as u64) as usize;
        let left = (length - given) as usize;
        let part = match writes {
            Writes::Long => left.min(BUFFER),
            Writes::Short => left.min(8 * 1024),
        };
        stream.write_all(&pattern[offset..offset + part]).await?;
        if matches!(writes, Writes::Short) {
            stream.flush().await?;
        }
        given += part as u64;
    }
    Ok(())
}

/// Reads the pattern to the end of the stream. How many bytes it were.
async fn take(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    let pattern = pattern();
    let mut buffer = vec![0; BUFFER];
    let mut taken = 0u64;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(taken);
        }
        let offset = (taken % PERIOD as u64) as usize;
        if buffer[..length] != pattern[offset..offset + length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("wrong data after {taken} bytes")));
        }
        taken += length as u64;
    }
}

/// Serves all three to everyone, each stream on its own.
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
        // A stream that breaks off is its opener's to notice.
        spawn(Box::pin(async move { drop(serve_one(protocol, stream, writes).await) }));
    }
    Ok(())
}

async fn serve_one(protocol: StreamProtocol, mut stream: Stream, writes: Writes) -> io::Result<()> {
    if protocol == ECHO {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            // Not asked again after the end: libp2p-webrtc-websys then fails.
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            stream.write_all(&buffer[..length]).await?;
        }
    } else if protocol == SINK {
        let taken = take(&mut stream).await?;
        stream.write_all(&taken.to_be_bytes()).await?;
    } else {
        let mut length = [0; 8];
        stream.read_exact(&mut length).await?;
        give(&mut stream, u64::from_be_bytes(length), writes).await?;
    }
    stream.close().await
}

async fn open(control: &mut Control, peer: PeerId, protocol: StreamProtocol) -> Result<Stream> {
    control.open_stream(peer, protocol).await.map_err(|error| match error {
        OpenStreamError::Io(error) => error.into(),
        other => other.to_string().into(),
    })
}

/// Sends `data` and wants it back.
pub async fn echo(control: &mut Control, peer: PeerId, data: &[u8]) -> Result<()> {
    let (mut read, mut write) = open(control, peer, ECHO).await?.split();
    let send = async {
        write.write_all(data).await?;
        write.close().await
    };
    let mut back = Vec::with_capacity(data.len());
    futures::try_join!(send, read.read_to_end(&mut back))?;
    if back == data {
        Ok(())
    } else {
        Err(format!("sent {} bytes, {} others came back", data.len(), back.len()).into())
    }
}

/// Sends `length` bytes to a sink.
pub async fn upload(control: &mut Control, peer: PeerId, length: u64) -> Result<()> {
    let mut stream = open(control, peer, SINK).await?;
    give(&mut stream, length, Writes::Long).await?;
    stream.close().await?;
    let mut taken = [0; 8];
    stream.read_exact(&mut taken).await?;
    expect(length, u64::from_be_bytes(taken))
}

/// Takes `length` bytes from a source.
pub async fn download(control: &mut Control, peer: PeerId, length: u64) -> Result<()> {
    let mut stream = open(control, peer, SOURCE).await?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.close().await?;
    expect(length, take(&mut stream).await?)
}

/// Asks a source for `length` bytes, reads none of them until `wait` is over, then all.
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
    expect(length, take(&mut stream).await?)
}

fn expect(length: u64, taken: u64) -> Result<()> {
    if length == taken { Ok(()) } else { Err(format!("{taken} of {length} bytes arrived").into()) }
}
