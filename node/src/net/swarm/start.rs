//! Sets up the swarm, and listens before anything else happens.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::mpsc;

use super::Task;
use crate::net::address_book::{AddressBook, is_public, peer_of};
use crate::net::behaviour::{Protocols, ProtocolsEvent};
use crate::net::bootstrap::Bootstrap;
use crate::net::checked_file::{self, Content};
use crate::net::counters::Meters;
use crate::net::dial_permits::DialPermits;
use crate::net::error::NetError;
use crate::net::gossip::GossipGate;
use crate::net::places::Places;
use crate::net::requests::Requests;
use crate::net::status::Status;
use crate::net::{Net, NetConfig, NetEvent, identity, limits, peers_file};
use crate::platform::{self, Instant};

/// Size limit of the certificate file; a certificate is a few hundred bytes.
const CERTIFICATE_BYTES: usize = 64 * 1024;

/// See [`Net::start`].
pub(in crate::net) async fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let me = identity::key_of(&config.identity)?;
    let certificate = match platform::needs_certificate(&config.listen) {
        true => Some(certificate(config.data_dir.as_deref())?),
        false => None,
    };
    let meters = Arc::new(Meters::default());
    let protocols = |relay_client| Protocols::new(&config, Arc::clone(&meters), relay_client);
    let permits = DialPermits::default();
    for address in &config.bootstrap {
        peer_of(address).into_iter().for_each(|peer| permits.lock().give(peer, address));
    }
    let (mut swarm, acceptor) =
        platform::swarm(&config.identity, certificate.as_deref(), limits::CONNECTION_IDLE_TIMEOUT, &permits, protocols)
            .map_err(|e| NetError::Setup(e.to_string()))?;
    let mut early = Vec::new();
    listen(&mut swarm, &config.listen, &mut early).await?;

    let (events, receiver) = mpsc::channel(limits::EVENT_QUEUE);
    let (commands, commanded) = mpsc::channel(limits::COMMAND_QUEUE);
    let requests = Requests::new(me, events.downgrade(), commands.downgrade(), config.body_budget, Arc::clone(&meters));
    let requests = Arc::new(requests);
    let status = Arc::new(Status::default());
    let peer = *swarm.local_peer_id();
    let forwarded = !config.external.is_empty();
    status.lock().public_only = forwarded || config.bootstrap.iter().any(is_public);
    for address in config.external {
        status.lock().external.insert(external(&address, peer)?);
        swarm.add_external_address(address);
    }
    let mut task = Task {
        swarm,
        me: peer,
        events,
        held: VecDeque::new(),
        requests: Arc::clone(&requests),
        status: Arc::clone(&status),
        gate: GossipGate::new(config.gossip_of_source, Arc::clone(&meters)),
        book: AddressBook::default(),
        permits,
        places: Places::new(config.incoming_places),
        bootstrap: Bootstrap::new(&config.bootstrap),
        wanted_peers: config.wanted_peers,
        awaiting: HashMap::new(),
        address_dials: HashMap::new(),
        speculative: HashMap::new(),
        lookups: HashMap::new(),
        relayed: config.relayed,
        forwarded,
        relays: Vec::new(),
        peers_file: config.data_dir.as_deref().map(peers_file::path),
        remembered: Instant::now(),
        save_delay: limits::SAVE_INITIAL_DELAY,
    };
    for (peer, addresses) in task.peers_file.as_deref().map(peers_file::load).unwrap_or_default() {
        addresses.into_iter().for_each(|address| task.book.add(peer, address));
    }
    task.note_reach();
    early.into_iter().for_each(|event| task.on_swarm(event));
    platform::spawn(task.run(commanded));
    Ok((Net { me, commands, requests, status, meters, acceptor }, receiver))
}

/// The external address `address` of `me`, with its id at the end, if it is valid.
fn external(address: &Multiaddr, me: PeerId) -> Result<Multiaddr, NetError> {
    let wrong = |why| NetError::External { address: address.clone(), why };
    let nowhere = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => false,
        _ => true,
    };
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    if nowhere {
        return Err(wrong("it does not begin with the address of a machine"));
    }
    if port.is_none_or(|port| port == 0) {
        return Err(wrong("it has no port"));
    }
    address.clone().with_p2p(me).map_err(|_| wrong("the id at its end belongs to another peer"))
}

/// Listens on every address, and waits until each listener has reported its first address. Other events meanwhile are
/// kept in `early`.
async fn listen(
    swarm: &mut Swarm<Protocols>,
    wanted: &[Multiaddr],
    early: &mut Vec<SwarmEvent<ProtocolsEvent>>,
) -> Result<(), NetError> {
    let mut waiting: HashMap<ListenerId, Multiaddr> = HashMap::new();
    for address in wanted {
        let listener = platform::check_port(address)
            .map_err(|e| NetError::listening(address.clone(), &e))
            .and_then(|()| swarm.listen_on(address.clone()).map_err(|e| NetError::listening(address.clone(), &e)));
        match listener {
            // Not awaited: a machine may have no interface of that kind.
            Ok(_) if is_any_ip6(address) => {}
            Ok(id) => drop(waiting.insert(id, address.clone())),
            // Many machines have no IPv6 at all; that must not make "every interface" fail.
            Err(NetError::Listen { why, .. }) if is_any_ip6(address) => {
                tracing::debug!(why, "no IPv6")
            }
            Err(e) => return Err(e),
        }
    }
    let ready = async {
        while !waiting.is_empty() {
            let event = swarm.select_next_some().await;
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => drop(waiting.remove(listener_id)),
                SwarmEvent::ListenerClosed { listener_id, reason: Err(e), .. } => {
                    if let Some(address) = waiting.remove(listener_id) {
                        return Err(NetError::listening(address, e));
                    }
                }
                _ => {}
            }
            early.push(event);
        }
        Ok(())
    };
    let silent = platform::timeout(limits::LISTEN_TIMEOUT, ready).await;
    silent.unwrap_or_else(|| match waiting.into_values().next() {
        Some(address) => Err(NetError::Listen { address, why: "no interface has this address".to_owned() }),
        None => Ok(()),
    })
}

fn is_any_ip6(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

/// Loads the WebRTC certificate from the data folder, or generates it and stores it with permissions 0600. A damaged
/// one is replaced: nobody could connect with it, and adverts and HTTP publish the new hash, which is part of the
/// addresses.
fn certificate(data_dir: Option<&Path>) -> Result<String, NetError> {
    let new = || platform::new_certificate().map_err(|e| NetError::Setup(e.to_string()));
    let Some(path) = data_dir.map(|d| d.join("webrtc.pem")) else {
        return new();
    };
    let file = |why: String| NetError::File { path: path.clone(), why };
    match checked_file::read(&path, CERTIFICATE_BYTES).map_err(|e| file(e.to_string()))? {
        Some(Content::Whole(pem)) => return Ok(pem),
        Some(Content::Unchecked(pem)) => {
            checked_file::upgrade(&path, &pem);
            return Ok(pem);
        }
        Some(Content::Damaged) => {
            tracing::warn!("{} was damaged and has been replaced: this peer's WebRTC addresses change", path.display());
        }
        None => {}
    }
    let pem = new()?;
    checked_file::write(&path, &pem).map_err(|e| file(e.to_string()))?;
    Ok(pem)
}
