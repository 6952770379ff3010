//! `webmesh-bootstrap`: the node whose address every peer is given. It seeds the DHT, relays, and compiles; it
//! schedules nothing and stores no job's data. If it fails, the mesh keeps working.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use directories::ProjectDirs;
use libp2p::Multiaddr;
use webmesh_compiler::{Compiler, CompilerConfig, Toolchain, answer};
use webmesh_node::host::{CompileAnswer, CompileService};
use webmesh_node::http::{self, Access, AllowedOrigin, HostName};
use webmesh_node::net::parse_address;
use webmesh_node::peer::{Peer, PeerConfig};
use webmesh_node::signals::Stop;
use webmesh_protocol::PeerKey;
use webmesh_protocol::membership::{Kind, Roles};

/// Memory for segments and tasks: none, since it is neither shuffler nor worker.
const NO_MEMORY: u64 = 0;

/// The bootstrap and compiler node of a WebMesh: seeds the DHT, relays, compiles C++ to WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "webmesh-bootstrap", version, max_term_width = 100)]
#[command(after_help = "Examples:
  webmesh-bootstrap                                   ports 4001 (TCP, QUIC), 4002 (WebRTC), 8080 (HTTP)
  webmesh-bootstrap --listen /ip4/127.0.0.1/tcp/0 --http 127.0.0.1:0 --data /tmp/mesh
  webmesh-bootstrap --http-name mesh.example          reached by browsers at http://mesh.example:8080
  webmesh-bootstrap --allow-origin https://pages.example")]
struct Args {
    /// Listen address; may be repeated [default: TCP, QUIC and WebRTC-direct on every interface]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Vec<Multiaddr>,
    /// External address of this node, such as a port that a router forwards to it; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    external: Vec<Multiaddr>,
    /// HTTP listen address: serves the page, WebSockets for tabs, health, metrics and the node's addresses
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    http: SocketAddr,
    /// Host name by which browsers reach --http, besides localhost, this machine's own name, the names in --external
    /// and IP addresses; may be repeated
    #[arg(long, value_name = "NAME")]
    http_name: Vec<HostName>,
    /// Origin of pages elsewhere that may join through --http, such as https://pages.example; * for any page; may be
    /// repeated
    #[allow(rustdoc::bare_urls, reason = "--help shows it as it stands here")]
    #[arg(long, value_name = "URL")]
    allow_origin: Vec<AllowedOrigin>,
    /// Kiosk mode: the page joins the mesh by itself if its URL ends in #join
    #[arg(long)]
    kiosk: bool,
    /// Directory of keys, modules and known peers
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    webmesh_node::exec::run_if_asked();
    let args = Args::parse();
    let filter = std::env::var("WEBMESH_LOG").unwrap_or_else(|_| "info,libp2p=warn,libp2p_kad=error".to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    webmesh_node::platform::install_crypto();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .and_then(|runtime| {
            let outcome = runtime.block_on(serve(args));
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("webmesh-bootstrap: {why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let stop = Stop::listen().context("cannot install signal handlers")?;
    let Some(started) = stop.until_signal(start(args)).await else { return Ok(()) };
    let (peer, http) = started?;
    http::print_ready(&peer.node, Some(http));
    stop.first_signal().await;
    tokio::select! {
        () = peer.node.shutdown() => {}
        () = stop.second_signal() => {}
    }
    Ok(())
}

async fn start(args: Args) -> anyhow::Result<(Peer, SocketAddr)> {
    let usual = || ProjectDirs::from("", "", "webmesh-bootstrap").map(|dirs| dirs.data_dir().to_owned());
    let data_dir = args.data.or_else(usual).context("cannot find the home folder: give --data DIR")?;
    let config = CompilerConfig::new(data_dir.join("modules"));
    // On a blocking thread, because it tries out the sandboxes.
    let compiler = tokio::task::spawn_blocking(|| anyhow::Ok(Compiler::new(Toolchain::find(None)?, config)?));
    let compiler = compiler.await.context("starting the compiler panicked")??;
    let access = Access::new(args.http_name, args.allow_origin, &args.external);
    let listen = if args.listen.is_empty() { usual_addresses() } else { args.listen };
    let peer = Peer::start(PeerConfig {
        kind: Kind::Bootstrap,
        roles: Roles { relay: true, ..Roles::default() },
        threads: 1,
        memory: NO_MEMORY,
        task_memory: NO_MEMORY,
        disk: 0,
        listen,
        external: args.external,
        bootstrap: vec![],
        relayed: false,
        data_dir,
        persistent: true,
        identity: None,
        resumed: None,
        mdns: false,
        compiler: Some(service(Arc::new(compiler))),
    })
    .await?;
    let http = http::serve(args.http, peer.node.clone(), webmesh_page::file, access, args.kiosk).await?;
    Ok((peer, http))
}

fn usual_addresses() -> Vec<Multiaddr> {
    let rest = ["tcp/4001", "udp/4001/quic-v1", "udp/4002/webrtc-direct"];
    rest.iter().map(|rest| format!("/ip4/0.0.0.0/{rest}").parse().expect("a valid multiaddress")).collect()
}

fn service(compiler: Arc<Compiler>) -> Arc<dyn CompileService> {
    Arc::new(move |from: PeerKey, name: String, source: Bytes| -> CompileAnswer {
        let compiler = compiler.clone();
        Box::pin(async move { answer(&compiler, from.0, &name, &source).await })
    })
}
