//! Throughput, CPU time and connection time between two native peers on loopback. CPU seconds are for 64 MiB and both
//! ends together.
//!
//! `cargo run --release -p webmesh-webrtc-direct --example bench`

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p_core::Transport as _;
use libp2p_core::connection::Endpoint;
use libp2p_core::muxing::StreamMuxerExt;
use libp2p_core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p_identity::Keypair;
use webmesh_webrtc_direct::{Config, Connection, Transport};

const MIB: usize = 1 << 20;
const TOTAL: usize = 256 * MIB;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut server = Transport::new(Keypair::generate_ed25519(), Config::default());
    server.listen_on(ListenerId::next(), "/ip4/127.0.0.1/udp/0/webrtc-direct".parse()?)?;
    let TransportEvent::NewAddress { listen_addr, .. } = poll_fn(|cx| Pin::new(&mut server).poll(cx)).await else {
        return Err("the listener has no address".into());
    };
    let (sender, mut accepted) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = poll_fn(|cx| Pin::new(&mut server).poll(cx)).await {
                let sender = sender.clone();
                tokio::spawn(async move { drop(sender.send(upgrade.await).await) });
            }
        }
    });
    let mut client = Transport::new(Keypair::generate_ed25519(), Config::default());
    let mut connects = Vec::new();
    for (streams, up) in [(1, true), (1, true), (4, true), (1, false), (4, false)] {
        let start = Instant::now();
        let dial = client.dial(listen_addr.clone(), DialOpts { role: Endpoint::Dialer, port_use: PortUse::New })?;
        let dialled = dial.await?.1;
        connects.push(start.elapsed());
        let accepted = accepted.recv().await.ok_or("the server has stopped")??.1;
        let (from, to) = if up { (dialled, accepted) } else { (accepted, dialled) };
        let (start, cpu) = (Instant::now(), cpu()?);
        transfer(from, to, streams).await?;
        let (took, cpu) = (start.elapsed().as_secs_f64(), self::cpu()?.saturating_sub(cpu).as_secs_f64());
        println!(
            "{} over {streams} stream(s): {:.1} MiB/s, {:.2} s of CPU for 64 MiB",
            if up { "dialer to listener" } else { "listener to dialer" },
            (TOTAL / MIB) as f64 / took,
            cpu * 64.0 / (TOTAL / MIB) as f64,
        );
    }
    println!("connect: {connects:.1?}");
    Ok(())
}

async fn transfer(mut from: Connection, mut to: Connection, streams: usize) -> Result<(), Failure> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let mut stream = poll_fn(|cx| from.poll_outbound_unpin(cx)).await?;
        tasks.spawn(async move {
            let chunk = vec![7; MIB];
            for _ in 0..TOTAL / MIB / streams {
                stream.write_all(&chunk).await?;
            }
            stream.close().await?;
            stream.read_to_end(&mut Vec::new()).await?;
            Ok::<_, std::io::Error>(())
        });
    }
    for _ in 0..streams {
        let mut stream = poll_fn(|cx| to.poll_inbound_unpin(cx)).await?;
        tasks.spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut total = 0;
            while let length @ 1.. = stream.read(&mut buffer).await? {
                total += length;
            }
            assert_eq!(total, TOTAL / streams, "bytes received");
            stream.close().await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// User plus system CPU time of this process.
fn cpu() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of 10 ms.
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
