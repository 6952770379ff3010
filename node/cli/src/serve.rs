//! `webmesh node`: a permanent peer.

use std::net::SocketAddr;

use webmesh_node::http::{self, Access};
use webmesh_node::net::NetConfig;
use webmesh_node::peer::{Peer, PeerConfig};
use webmesh_node::platform::cores;
use webmesh_node::signals::Stop;
use webmesh_protocol::membership::{Kind, Roles};

use crate::args::{NodeArgs, Role};
use crate::error::CliError;
use crate::{compiler, home};

/// Runs a node until the first signal.
pub(crate) async fn node(args: NodeArgs, stop: &Stop) -> Result<(), CliError> {
    let Some(started) = stop.until_signal(start(args)).await else { return Ok(()) };
    let (peer, http) = started?;
    http::print_ready(&peer.node, http);
    stop.first_signal().await;
    peer.node.shutdown().await;
    Ok(())
}

/// Intermediate data gets one part in this many of the node's memory; running tasks get the rest.
const SEGMENTS_PART: u64 = 4;

async fn start(args: NodeArgs) -> Result<(Peer, Option<SocketAddr>), CliError> {
    let data_dir = home::data_dir(args.data)?;
    let access = Access::new(args.http_name, args.allow_origin, &args.external);
    let has = |role| args.roles.contains(&role);
    let listen = if args.listen.is_empty() { NetConfig::everywhere() } else { args.listen };
    let peer = Peer::start(PeerConfig {
        kind: Kind::Node,
        roles: Roles {
            worker: has(Role::Worker),
            shuffler: has(Role::Shuffler),
            relay: has(Role::Relay),
            ..Roles::default()
        },
        threads: args.threads.map_or_else(cores, usize::from),
        memory: args.memory.as_u64() / SEGMENTS_PART,
        task_memory: args.memory.as_u64() - args.memory.as_u64() / SEGMENTS_PART,
        disk: args.disk.as_u64(),
        listen,
        external: args.external,
        bootstrap: args.bootstrap,
        relayed: args.relayed,
        persistent: true,
        identity: None,
        resumed: None,
        mdns: !args.no_mdns,
        compiler: if has(Role::Compiler) { Some(compiler::start(&data_dir).await?) } else { None },
        data_dir,
    })
    .await?;
    let http = match args.http {
        Some(address) => Some(http::serve(address, peer.node.clone(), webmesh_page::file, access, args.kiosk).await?),
        None => None,
    };
    Ok((peer, http))
}
