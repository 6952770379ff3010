//! The peer on a page, called from a test's JavaScript.

use std::collections::HashMap;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::{SinkExt, StreamExt, future};
use futures_timer::Delay;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder};
use libp2p_stream::Control;
use wasm_bindgen::prelude::*;
use web_time::Instant;
use webmesh_webrtc_direct::credentials::Version;
use webmesh_webrtc_direct::{Config, Transport};

use crate::protocols;

/// A peer that dials.
#[wasm_bindgen]
pub struct Peer {
    control: Control,
    commands: mpsc::Sender<Command>,
}

enum Command {
    Dial(Multiaddr, oneshot::Sender<Result<PeerId, String>>),
    Disconnect(PeerId),
    /// Answered once there is no connection to the peer.
    Gone(PeerId, oneshot::Sender<()>),
}

fn error(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

#[wasm_bindgen]
impl Peer {
    /// `transport` is `ours`, `ours-v1` or `ours-v2` (which dial with that version only), or `published`.
    #[wasm_bindgen(constructor)]
    pub fn new(transport: &str) -> Result<Peer, JsError> {
        let swarm = swarm(transport)?;
        let control = swarm.behaviour().new_control();
        wasm_bindgen_futures::spawn_local({
            let control = control.clone();
            async move {
                if let Err(error) =
                    protocols::serve(control, protocols::Writes::Long, wasm_bindgen_futures::spawn_local).await
                {
                    web_sys::console::error_1(&error.to_string().into());
                }
            }
        });
        let (commands, receiver) = mpsc::channel(16);
        wasm_bindgen_futures::spawn_local(run(swarm, receiver));
        Ok(Peer { control, commands })
    }

    /// Connects and returns the peer's id.
    pub async fn dial(&self, address: String) -> Result<String, JsError> {
        let (answer, result) = oneshot::channel();
        let address = address.parse::<Multiaddr>().map_err(error)?;
        self.commands.clone().send(Command::Dial(address, answer)).await.map_err(error)?;
        Ok(result.await.map_err(error)?.map_err(error)?.to_string())
    }

    /// Closes all connections to a peer.
    pub async fn disconnect(&self, peer: String) -> Result<(), JsError> {
        self.commands.clone().send(Command::Disconnect(peer.parse().map_err(error)?)).await.map_err(error)
    }

    /// Ready when no connection to the peer is left.
    pub async fn gone(&self, peer: String) -> Result<(), JsError> {
        let (answer, result) = oneshot::channel();
        self.commands.clone().send(Command::Gone(peer.parse().map_err(error)?, answer)).await.map_err(error)?;
        result.await.map_err(error)
    }

    /// Sends data that the peer must echo.
    pub async fn echo(&self, peer: String, data: Vec<u8>) -> Result<(), JsError> {
        protocols::echo(&mut self.control.clone(), peer.parse().map_err(error)?, &data).await.map_err(error)
    }

    /// Sends `bytes` on each of `streams`. Returns the duration in milliseconds.
    pub async fn upload(&self, peer: String, bytes: f64, streams: u32) -> Result<f64, JsError> {
        self.bulk(peer, streams, async |control, peer| protocols::upload(control, peer, bytes as u64).await).await
    }

    /// Receives `bytes` on each of `streams`. Returns the duration in milliseconds.
    pub async fn download(&self, peer: String, bytes: f64, streams: u32) -> Result<f64, JsError> {
        self.bulk(peer, streams, async |control, peer| protocols::download(control, peer, bytes as u64).await).await
    }

    /// Receives `bytes`, starting to read only after `ms`.
    #[wasm_bindgen(js_name = downloadLate)]
    pub async fn download_late(&self, peer: String, bytes: f64, ms: u32) -> Result<(), JsError> {
        let peer = peer.parse().map_err(error)?;
        let wait = Delay::new(Duration::from_millis(ms.into()));
        protocols::download_late(&mut self.control.clone(), peer, bytes as u64, wait).await.map_err(error)
    }

    async fn bulk(
        &self,
        peer: String,
        streams: u32,
        work: impl AsyncFn(&mut Control, PeerId) -> protocols::Result<()>,
    ) -> Result<f64, JsError> {
        let peer = peer.parse().map_err(error)?;
        let start = Instant::now();
        future::try_join_all((0..streams).map(|_| async {
            let mut control = self.control.clone();
            work(&mut control, peer).await
        }))
        .await
        .map_err(error)?;
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    }
}

type Node = Swarm<libp2p_stream::Behaviour>;

fn swarm(transport: &str) -> Result<Node, JsError> {
    let builder = SwarmBuilder::with_new_identity().with_wasm_bindgen();
    // Longer than any test, so that only the test closes connections.
    let idle = Duration::from_secs(3600);
    macro_rules! build {
        ($transport:expr) => {
            builder
                .with_other_transport($transport)
                .map_err(error)?
                .with_behaviour(|_| libp2p_stream::Behaviour::new())
                .map_err(error)?
                .with_swarm_config(|config| config.with_idle_connection_timeout(idle))
                .build()
        };
    }
    let config = Config::default();
    let config = match transport {
        "ours" => config,
        "ours-v1" => config.with_dial_versions(&[Version::V1]),
        "ours-v2" => config.with_dial_versions(&[Version::V2]),
        #[cfg(feature = "published")]
        "published" => {
            return Ok(build!(|keys| libp2p_webrtc_websys::Transport::new(libp2p_webrtc_websys::Config::new(keys))));
        }
        other => return Err(JsError::new(&format!("this build has no transport {other}"))),
    };
    Ok(build!(|keys| Transport::new(keys.clone(), config)))
}

async fn run(mut swarm: Node, mut commands: mpsc::Receiver<Command>) {
    let mut dials: HashMap<ConnectionId, oneshot::Sender<Result<PeerId, String>>> = HashMap::new();
    let mut waiting: Vec<(PeerId, oneshot::Sender<()>)> = Vec::new();
    loop {
        futures::select! {
            command = commands.next() => match command {
                // The page has dropped the peer.
                None => return,
                Some(Command::Dial(address, answer)) => {
                    let options = DialOpts::from(address);
                    let id = options.connection_id();
                    match swarm.dial(options) {
                        Ok(()) => drop(dials.insert(id, answer)),
                        Err(error) => drop(answer.send(Err(error.to_string()))),
                    }
                }
                Some(Command::Disconnect(peer)) => drop(swarm.disconnect_peer_id(peer)),
                Some(Command::Gone(peer, answer)) => waiting.push((peer, answer)),
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                    if let Some(answer) = dials.remove(&connection_id) {
                        drop(answer.send(Ok(peer_id)));
                    }
                }
                SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                    if let Some(answer) = dials.remove(&connection_id) {
                        drop(answer.send(Err(error.to_string())));
                    }
                }
                _ => {}
            },
        }
        let (over, still): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(peer, _)| !swarm.is_connected(peer));
        for (_, answer) in over {
            // The page may have stopped waiting.
            let _ = answer.send(());
        }
        waiting = still;
    }
}
