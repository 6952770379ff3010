//! Random opens, writes, closes and cut connections. `SOAK_SECONDS` sets the duration (3600 for an hour), `SOAK_SEED`
//! replays a seed.

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p_core::muxing::StreamMuxerExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use webmesh_webrtc_direct::credentials::Version;
use webmesh_webrtc_direct::{Connection, Error};

use crate::proxy::{Impairments, Proxy};
use crate::support::*;

/// Concurrent dialers.
const PEERS: u64 = 6;
/// Default duration. With the connections that are still open at the end, below two minutes.
const SECONDS: u64 = 100;
/// Tolerance for the allocator, which does not return all memory.
const GROWTH: usize = 32 << 20;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_operations_leave_no_tasks_sockets_or_memory() {
    let _quiet = alone().await;
    let (seconds, seed) = (setting("SOAK_SECONDS", SECONDS), setting("SOAK_SEED", rand::random()));
    println!("SOAK_SEED={seed}");
    let mut server = Server::start(config()).await;
    let address = server.address.clone();
    let (sockets_before, tasks_before) = (sockets(), tasks());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        loop {
            tokio::select! {
                accepted = server.accepted.recv() => drop(accepted.unwrap().map(|(_, connection)| echo(connection))),
                _ = &mut stopped => return server,
            }
        }
    });
    let mut at_half = 0;
    for half in [1, 2] {
        let deadline = Instant::now() + Duration::from_secs(seconds) / 2;
        let peers = (0..PEERS).map(|i| {
            let rng = StdRng::seed_from_u64(seed.wrapping_add(half * PEERS + i));
            tokio::spawn(dial_repeatedly(address.clone(), rng, deadline))
        });
        let counts: Vec<_> = futures::future::join_all(peers.collect::<Vec<_>>()).await;
        let connections: usize = counts.into_iter().map(Result::unwrap).sum();
        println!("{connections} connections, {} MiB", memory() >> 20);
        if half == 1 {
            at_half = memory();
        }
    }
    // The server's own task for serving is still running.
    until("all tasks have ended", || tasks() <= tasks_before + 1).await;
    until("all sockets are closed", || sockets() <= sockets_before).await;
    let growth = memory().saturating_sub(at_half);
    assert!(growth < GROWTH, "{growth} bytes more after the second half");
    drop(stop);
    within(serving).await.unwrap();
}

/// Repeatedly connects, performs random operations, and ends the connection in a random way. Returns the number of
/// connections.
async fn dial_repeatedly(address: libp2p_core::Multiaddr, mut rng: StdRng, deadline: Instant) -> usize {
    let mut connections = 0;
    while Instant::now() < deadline {
        connections += 1;
        let version = if rng.random() { Version::V1 } else { Version::V2 };
        let latency = Duration::from_millis(1);
        let rough = Impairments { latency, lost: 5, duplicated: 5, delayed: 5, no_v2: false };
        let proxy = match rng.random_range(0..3) {
            0 => Some(Proxy::start(&address, rough).await),
            _ => None,
        };
        let to = proxy.as_ref().map_or(&address, |proxy| &proxy.address);
        let (_, mut connection) = within(dial(to, version)).await.unwrap();
        for _ in 0..rng.random_range(0..10) {
            act(&mut connection, &mut rng).await;
        }
        // An echo is still in progress when the connection ends.
        let mut stream = open(&mut connection).await;
        drop(stream.write(&pattern(rng.random_range(1..20_000))).await);
        match (rng.random_range(0..10), proxy) {
            // Vanishes without closing, which the server notices after its liveness timeout.
            (0, Some(proxy)) => proxy.cut(),
            (1..4, _) => within(std::future::poll_fn(|cx| connection.poll_close_unpin(cx))).await.unwrap(),
            _ => {}
        }
    }
    connections
}

/// Why the connection ended, if it did.
async fn over(connection: &mut Connection) -> Option<Error> {
    let polled = futures::future::poll_immediate(std::future::poll_fn(|cx| connection.poll_unpin(cx))).await;
    polled.and_then(Result::err)
}

async fn act(connection: &mut Connection, rng: &mut StdRng) {
    let length = rng.random_range(0..40_000);
    let data = pattern(length);
    match rng.random_range(0..6) {
        // Several complete echoes at once.
        0..3 => {
            let mut streams = Vec::new();
            for _ in 0..rng.random_range(1..8) {
                streams.push(open(connection).await);
            }
            let answers = streams.iter_mut().map(|stream| ask(stream, &data));
            for answer in within(futures::future::join_all(answers)).await {
                match answer {
                    Ok(answer) => assert!(answer == data),
                    Err(error) => panic!("{error}; the connection: {:?}", over(connection).await),
                }
            }
        }
        // Dropped half way.
        3 => {
            let mut stream = open(connection).await;
            within(stream.write(&data)).await.ok();
        }
        // Opened and dropped, without data.
        4 => drop(open(connection).await),
        // Read in parts, with pauses, and not to the end.
        _ => {
            let (mut reader, mut writer) = open(connection).await.split();
            let asking = async {
                writer.write_all(&data).await.unwrap();
                writer.close().await.unwrap();
            };
            let reading = async {
                let mut part = vec![0; 1 + length / 3];
                for _ in 0..2 {
                    let read = within(reader.read(&mut part)).await.unwrap();
                    tokio::task::yield_now().await;
                    if read == 0 {
                        break;
                    }
                }
                // Unread data must not block the writer forever.
                drop(reader);
            };
            futures::future::select(Box::pin(asking), Box::pin(reading)).await;
        }
    }
    // The server opens no streams.
    let inbound = futures::future::poll_immediate(std::future::poll_fn(|cx| connection.poll_inbound_unpin(cx))).await;
    assert!(inbound.is_none(), "{inbound:?}");
}
