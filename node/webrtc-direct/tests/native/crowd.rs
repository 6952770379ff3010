use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use webmesh_webrtc_direct::credentials::Version;

use crate::support::*;

/// Both ends of every connection are in this process, so one end costs less than the memory measured here.
#[tokio::test(flavor = "multi_thread")]
async fn one_listener_serves_500_connections_one_in_ten_busy_within_the_memory_limit() {
    const CONNECTIONS: usize = 500;
    const BYTES_EACH: usize = 512 * 1024;
    const BUSY: Duration = Duration::from_secs(10);
    let _quiet = alone().await;
    let mut server = Server::start(config()).await;
    // Allocates what is allocated only once.
    drop(server.connect(Version::V2).await);
    let (before, start) = (memory(), Instant::now());
    let address = server.address.clone();
    // Below the limit on concurrent handshakes of one host.
    let dialled: Vec<_> = stream::iter(0..CONNECTIONS)
        .map(|i| {
            let address = &address;
            async move { within(dial(address, if i % 2 == 0 { Version::V1 } else { Version::V2 })).await.unwrap().1 }
        })
        .buffer_unordered(24)
        .collect()
        .await;
    println!("{CONNECTIONS} connections in {:.1} s", start.elapsed().as_secs_f64());
    let mut echoes = Vec::new();
    for _ in 0..CONNECTIONS {
        echoes.push(echo(server.accept().await));
    }
    let each = memory().saturating_sub(before) / CONNECTIONS;
    println!("{} KiB for both ends of an idle connection", each / 1024);
    assert!(each < BYTES_EACH, "{each} bytes each");

    let (mut busy, mut idle) = (Vec::new(), Vec::new());
    for (i, connection) in dialled.into_iter().enumerate() {
        if i % 10 == 0 { busy.push(connection) } else { idle.push(connection) }
    }
    let data = pattern(64 * 1024);
    let until = Instant::now() + BUSY;
    let asked = busy.iter_mut().map(|connection| {
        let data = &data;
        async move {
            let mut asked = 0;
            while Instant::now() < until {
                assert!(within(ask(&mut open(connection).await, data)).await.unwrap() == *data);
                asked += 1;
            }
            asked
        }
    });
    let asked = futures::future::join_all(asked).await;
    let (all, least) = (asked.iter().sum::<usize>(), asked.iter().min().unwrap());
    println!("{:.1} MiB/s echoed by {} of them", all as f64 / 16.0 / BUSY.as_secs_f64(), asked.len());
    assert!(*least > 0, "one busy connection made no progress");
    let each = memory().saturating_sub(before) / CONNECTIONS;
    println!("{} KiB for both ends of a connection, one in ten busy", each / 1024);
    assert!(each < BYTES_EACH, "{each} bytes each");
    // The idle connections still work.
    for connection in &mut idle {
        assert_eq!(within(ask(&mut open(connection).await, b"there?")).await.unwrap(), b"there?");
    }
    drop((busy, idle));
    for echo in echoes {
        within(echo).await.unwrap();
    }
}
