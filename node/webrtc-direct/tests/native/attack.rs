use std::net::UdpSocket;
use std::time::Duration;

use webmesh_webrtc_direct::address::parse_dial;
use webmesh_webrtc_direct::credentials::Version;

use crate::support::*;

fn target(server: &Server) -> std::net::SocketAddr {
    parse_dial(&server.address).unwrap().socket
}

/// A well-formed STUN Binding request with a wrong MESSAGE-INTEGRITY.
fn forged(username: &str, nonce: u32) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend_from_slice(&kind.to_be_bytes());
        attributes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, username.as_bytes());
    attribute(0x0024, &1u32.to_be_bytes());
    attribute(0x0008, &[7; 20]);
    let mut message = vec![0, 1];
    message.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&nonce.to_be_bytes());
    message.extend_from_slice(&attributes);
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_invalid_datagrams_starts_no_connection_and_others_are_served() {
    let _quiet = alone().await;
    let mut server = Server::start(config()).await;
    let (tasks_before, memory_before) = (tasks(), memory());
    let to = target(&server);
    for port in 0..20u32 {
        let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
        for i in 0..500u32 {
            let username = format!("libp2p+webrtc+v2/{:022}:{:08}", i, port);
            attacker.send_to(&forged(&username, i), to).unwrap();
            attacker.send_to(&forged("libp2p+webrtc+v7/0123456789012345678901:abcd", i), to).unwrap();
            attacker.send_to(&[22, 254, 253, 0, 0, 0, 0], to).unwrap();
            attacker.send_to(&[], to).unwrap();
            attacker.send_to(&i.to_be_bytes().repeat(i as usize % 300), to).unwrap();
        }
    }
    let (dialled, _accepted) = server.connect(Version::V2).await;
    assert!(server.accepted.try_recv().is_err(), "the flood has opened a connection");
    drop((dialled, _accepted));
    until("no task is left", || tasks() <= tasks_before).await;
    let growth = memory().saturating_sub(memory_before);
    assert!(growth < 8 << 20, "{growth} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_pending_handshakes_all_connect_in_the_end() {
    let _quiet = together().await;
    const PENDING: usize = 8;
    let mut server = Server::start(config().with_pending_handshakes(PENDING, PENDING)).await;
    let tasks_before = tasks();
    let proxy = crate::proxy::Proxy::start(&server.address, crate::proxy::Impairments::none()).await;
    let mut dials = Vec::new();
    for _ in 0..2 * PENDING {
        let address = proxy.address.clone();
        dials.push(tokio::spawn(async move { dial(&address, Version::V2).await }));
    }
    // Dials beyond the limit retransmit their requests until a handshake has finished.
    for dial in dials {
        within(dial).await.unwrap().unwrap();
    }
    // The connections have lost their path; dropping both ends frees them.
    drop(proxy);
    for _ in 0..2 * PENDING {
        drop(server.accept().await);
    }
    until("all connections have ended", || tasks() <= tasks_before).await;
    assert!(within(dial(&server.address, Version::V2)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_handshake_times_out_and_frees_its_slot() {
    let _quiet = together().await;
    let mut server = Server::start(config().with_pending_handshakes(1, 1)).await;
    let before = tasks();
    // Forwards STUN but not DTLS, so that the handshake never finishes.
    let stun_only = std::sync::Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = webmesh_webrtc_direct::address::build(
        stun_only.local_addr().unwrap(),
        Some(parse_dial(&server.address).unwrap().fingerprint),
    );
    let to = target(&server);
    let relay = tokio::spawn(async move {
        let mut client = None;
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = stun_only.recv_from(&mut buffer).await {
            let other = if from == to {
                client
            } else {
                {
                    client = Some(from);
                    Some(to)
                }
            };
            if let Some(other) = other.filter(|_| buffer[0] < 4) {
                drop(stun_only.send_to(&buffer[..length], other).await);
            }
        }
    });
    let stuck = tokio::spawn(async move { dial(&address, Version::V2).await });
    let failed = within(server.accepted.recv()).await.unwrap();
    assert!(matches!(failed, Err(webmesh_webrtc_direct::Error::HandshakeTimeout(_))), "{failed:?}");
    assert!(within(stuck).await.unwrap().is_err());
    relay.abort();
    until("its task has ended", || tasks() <= before).await;
    server.connect(Version::V1).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), server.accepted.recv()).await.is_err());
}
