//! Measurements, not tests: run with `--ignored --nocapture`.

use std::time::Instant;

use super::*;

async fn pair(kind: &str) -> (Net, Peer) {
    let server = Peer::start().await;
    let mut client = Peer::start().await;
    client.dial(&server, kind).await;
    (answer_ok(server), client)
}

/// Answers every request with an empty response, as a shuffler does.
fn answer_ok(mut server: Peer) -> Net {
    let net = server.net.clone();
    tokio::spawn(async move {
        while let Some(event) = server.events.recv().await {
            if let NetEvent::Request { token, .. } = event {
                server.net.respond(token, Response::Ok, vec![]);
            }
        }
    });
    net
}

/// `n` requests with `len` bytes each, `window` of them in flight.
async fn run(client: &mut Peer, to: PeerKey, n: u64, window: u64, len: usize) -> (f64, f64) {
    let body = body(len);
    let request = if len == 0 { Request::Peers } else { compile("x") };
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let (mut sent, mut left) = (0, n);
    while left > 0 {
        while sent < n && sent < n - left + window {
            client.net.request(RequestId(sent), to, request.clone(), vec![body.clone()]);
            sent += 1;
        }
        client.wait(|e| if let NetEvent::Response { outcome, .. } = e { Some(outcome.unwrap()) } else { None }).await;
        left -= 1;
    }
    (started.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

/// CPU time of this process, which runs both peers: on a shared machine, it is more telling than elapsed time.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

#[ignore = "a measurement"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_and_small_exchanges() {
    for kind in ["tcp", "quic"] {
        let (server, mut client) = pair(kind).await;
        run(&mut client, server.peer(), 50, 8, 1 << 20).await;
        for window in [1, 2, 6] {
            let (seconds, cpu) = run(&mut client, server.peer(), 500, window, 1 << 20).await;
            println!(
                "{kind}: {:.0} MiB/s ({:.0} per cpu s), 1 MiB bodies, {window} at a time",
                500.0 / seconds,
                500.0 / cpu
            );
        }
        for window in [1, 8, 64] {
            let (seconds, cpu) = run(&mut client, server.peer(), 20_000, window, 0).await;
            println!(
                "{kind}: {:.0} exchanges/s ({:.0} per cpu s), {window} at a time",
                20_000.0 / seconds,
                20_000.0 / cpu
            );
        }
    }
}
