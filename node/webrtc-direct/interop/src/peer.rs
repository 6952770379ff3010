//! `interop-peer`: listens, serves, dials.
//!
//! Commands, one per line: `dial ADDRESS`, `echo PEER BYTES`, `upload PEER BYTES STREAMS`, `download PEER BYTES
//! STREAMS`, `disconnect PEER`, `stats`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use futures::StreamExt;
use futures::future::BoxFuture;
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, ping};
use libp2p_stream::Control;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use webmesh_webrtc_direct::credentials::Version;
use webmesh_webrtc_direct::{Config, Transport};
use webrtc_direct_interop::protocols;

#[derive(Parser)]
struct Arguments {
    /// Transport implementation.
    #[arg(long, value_enum, default_value_t = Kind::Ours)]
    transport: Kind,
    /// Protocol version to dial with, 1 or 2. Both by default.
    #[arg(long)]
    dial_version: Option<u8>,
    /// Listen address.
    #[arg(long, default_value = "/ip4/127.0.0.1/udp/0/webrtc-direct")]
    listen: Multiaddr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Ours,
    Published,
}

#[derive(libp2p::swarm::NetworkBehaviour)]
struct Behaviour {
    stream: libp2p_stream::Behaviour,
    ping: ping::Behaviour,
}

fn emit(line: &Value) {
    println!("{line}");
}

/// Runs until standard input ends.
#[tokio::main(flavor = "current_thread")]
pub(super) async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let mut swarm = swarm(&arguments)?;
    let control = swarm.behaviour().stream.new_control();
    let writes = match arguments.transport {
        Kind::Ours => protocols::Writes::Long,
        Kind::Published => protocols::Writes::Short,
    };
    let spawn = |task: BoxFuture<'static, ()>| drop(tokio::spawn(task));
    tokio::spawn({
        let control = control.clone();
        async move {
            if let Err(error) = protocols::serve(control, writes, spawn).await {
                emit(&json!({ "error": error.to_string() }));
            }
        }
    });
    swarm.listen_on(arguments.listen)?;
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            command = commands.next_line() => match command? {
                None => return Ok(()),
                Some(command) => {
                    if let Err(error) = on_command(&command, &mut swarm, &control) {
                        emit(&json!({ "error": format!("{command}: {error:#}") }));
                    }
                }
            },
            event = swarm.select_next_some() => on_event(event, *swarm.local_peer_id()),
        }
    }
}

fn swarm(arguments: &Arguments) -> anyhow::Result<Swarm<Behaviour>> {
    // Longer than any test, so that only the test closes connections.
    let idle = Duration::from_secs(3600);
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    macro_rules! build {
        ($transport:expr) => {
            builder
                .with_other_transport($transport)?
                .with_behaviour(|_| Behaviour {
                    stream: libp2p_stream::Behaviour::new(),
                    // Answers pings; sends practically none.
                    ping: ping::Behaviour::new(ping::Config::new().with_interval(idle)),
                })?
                .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
                .build()
        };
    }
    match arguments.transport {
        Kind::Ours => {
            let config = Config::default();
            let config = match arguments.dial_version {
                None => config,
                Some(1) => config.with_dial_versions(&[Version::V1]),
                Some(2) => config.with_dial_versions(&[Version::V2]),
                Some(other) => bail!("--dial-version must be 1 or 2, not {other}"),
            };
            Ok(build!(|keys| Transport::new(keys.clone(), config)))
        }
        #[cfg(feature = "published")]
        Kind::Published => {
            use libp2p_webrtc::tokio::{Certificate, Transport};
            // It uses the process's default provider, which is ambiguous if a build has two. An error means that one is
            // installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let certificate = Certificate::generate(&mut rand::rng())?;
            Ok(build!(|keys| Transport::new(keys.clone(), certificate)))
        }
        #[cfg(not(feature = "published"))]
        Kind::Published => bail!("build with `--features published` for this transport"),
    }
}

fn on_event(event: SwarmEvent<BehaviourEvent>, local: PeerId) {
    match event {
        SwarmEvent::NewListenAddr { mut address, .. } => {
            address.push(libp2p::multiaddr::Protocol::P2p(local));
            emit(&json!({ "listening": address.to_string() }));
        }
        SwarmEvent::ConnectionEstablished { peer_id, .. } => emit(&json!({ "connected": peer_id.to_string() })),
        SwarmEvent::ConnectionClosed { peer_id, cause, .. } => {
            emit(&json!({ "closed": peer_id.to_string(), "cause": cause.map(|cause| cause.to_string()) }));
        }
        SwarmEvent::OutgoingConnectionError { error, .. } => emit(&json!({ "failed": error.to_string() })),
        SwarmEvent::IncomingConnectionError { error, .. } => emit(&json!({ "refused": error.to_string() })),
        _ => {}
    }
}

fn on_command(command: &str, swarm: &mut Swarm<Behaviour>, control: &Control) -> anyhow::Result<()> {
    let mut words = command.split_whitespace();
    let mut word = || words.next().context("missing argument");
    match word()? {
        "dial" => swarm.dial(word()?.parse::<Multiaddr>()?)?,
        "disconnect" => drop(swarm.disconnect_peer_id(word()?.parse()?)),
        "stats" => emit(&stats()?),
        kind @ ("echo" | "upload" | "download") => {
            let (peer, bytes) = (word()?.parse()?, word()?.parse()?);
            let streams = if kind == "echo" { 1 } else { word()?.parse()? };
            tokio::spawn(work(kind.to_owned(), control.clone(), peer, bytes, streams));
        }
        other => bail!("unknown command: {other}"),
    }
    Ok(())
}

async fn work(kind: String, control: Control, peer: PeerId, bytes: u64, streams: u32) {
    let start = Instant::now();
    let all = (0..streams).map(|_| async {
        let mut control = control.clone();
        match kind.as_str() {
            "echo" => protocols::echo(&mut control, peer, &vec![7; bytes as usize]).await,
            "upload" => protocols::upload(&mut control, peer, bytes).await,
            _ => protocols::download(&mut control, peer, bytes).await,
        }
    });
    match futures::future::try_join_all(all).await {
        Ok(_) => emit(&json!({ "done": kind, "ms": start.elapsed().as_secs_f64() * 1000.0 })),
        Err(error) => emit(&json!({ "error": format!("{kind}: {error}") })),
    }
}

/// Resource usage of this process: resident memory in KiB, open files, and CPU seconds so far.
fn stats() -> anyhow::Result<Value> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in /proc/self/status")?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()
            .context("empty line")?
            .parse::<u64>()
            .context("not a number")
    };
    let files = std::fs::read_dir("/proc/self/fd")?.count();
    let usage = std::fs::read_to_string("/proc/self/stat")?;
    // After the name, which is in parentheses and may contain any characters, user and system time are the 12th and
    // 13th fields.
    let (_, numbers) = usage.rsplit_once(") ").context("unexpected /proc/self/stat")?;
    let ticks: u64 = numbers.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or_default()).sum();
    let hertz = rustix::param::clock_ticks_per_second();
    Ok(json!({
        "stats": { "rss_kib": field("VmRSS")?, "files": files, "cpu_s": ticks as f64 / hertz as f64 }
    }))
}
