//! A UDP proxy that impairs traffic by latency, loss, duplication, reordering or a cut, and tests over it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use webmesh_webrtc_direct::address::{build, parse_dial};
use webmesh_webrtc_direct::credentials::Version;

use crate::support::*;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Impairments {
    /// One-way latency.
    pub latency: Duration,
    /// Lost, per 1,000 datagrams.
    pub lost: u32,
    /// Duplicated, per 1,000 datagrams.
    pub duplicated: u32,
    /// Delayed by twice the latency plus 20 ms, per 1,000 datagrams.
    pub delayed: u32,
    /// Drops STUN requests of version 2.
    pub no_v2: bool,
}

impl Impairments {
    pub(crate) fn none() -> Self {
        Self { latency: Duration::ZERO, lost: 0, duplicated: 0, delayed: 0, no_v2: false }
    }
}

pub(crate) struct Proxy {
    pub address: Multiaddr,
    cut: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(to: &Multiaddr, impairments: Impairments) -> Self {
        let target = parse_dial(to).unwrap();
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = build(front.local_addr().unwrap(), Some(target.fingerprint));
        let cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(front, target.socket, impairments, cut.clone()));
        Self { address, cut, task }
    }

    /// Drops all traffic from now on.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

async fn run(front: Arc<UdpSocket>, server: SocketAddr, impairments: Impairments, cut: Arc<AtomicBool>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut pumps = JoinSet::new();
    let mut impairer = Impairer::new(impairments, cut.clone());
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = front.recv_from(&mut buffer).await {
        let back = match clients.entry(client) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(server).await.unwrap();
                let (front, back_too, mut impairer) =
                    (front.clone(), back.clone(), Impairer::new(impairments, cut.clone()));
                pumps.spawn(async move {
                    let mut buffer = [0; 2048];
                    while let Ok(length) = back_too.recv(&mut buffer).await {
                        for delay in impairer.arrivals(&buffer[..length]) {
                            let (front, datagram) = (front.clone(), buffer[..length].to_vec());
                            send_after(delay, async move { drop(front.send_to(&datagram, client).await) });
                        }
                    }
                });
                new.insert(back).clone()
            }
        };
        for delay in impairer.arrivals(&buffer[..length]) {
            let (back, datagram) = (back.clone(), buffer[..length].to_vec());
            send_after(delay, async move { drop(back.send(&datagram).await) });
        }
    }
}

fn send_after(delay: Duration, send: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        send.await;
    });
}

/// Decides on the datagrams of one direction.
struct Impairer {
    impairments: Impairments,
    cut: Arc<AtomicBool>,
    rng: StdRng,
}

impl Impairer {
    fn new(impairments: Impairments, cut: Arc<AtomicBool>) -> Self {
        let seed = rand::random();
        println!("network impairments of seed {seed}");
        Self { impairments, cut, rng: StdRng::seed_from_u64(seed) }
    }

    /// The delays after which a datagram arrives: one, two if duplicated, none if lost.
    fn arrivals(&mut self, datagram: &[u8]) -> Vec<Duration> {
        let Impairments { latency, lost, duplicated, delayed, no_v2 } = self.impairments;
        let is_v2 = datagram.windows(17).any(|part| part == b"libp2p+webrtc+v2/");
        if self.cut.load(Ordering::Relaxed) || (no_v2 && is_v2) || self.hit(lost) {
            return Vec::new();
        }
        let mut arrivals = vec![if self.hit(delayed) { latency * 2 + Duration::from_millis(20) } else { latency }];
        if self.hit(duplicated) {
            arrivals.push(latency + Duration::from_millis(5));
        }
        arrivals
    }

    fn hit(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.rng.random_range(0..1000) < of_thousand
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_echo_completes_over_an_impaired_path() {
    let _quiet = together().await;
    let lossy = Impairments { latency: Duration::from_millis(25), lost: 10, ..Impairments::none() };
    let all = Impairments { duplicated: 10, delayed: 10, ..lossy };
    for (name, impairments) in [("1 % lost", lossy), ("1 % each lost, duplicated, delayed", all)] {
        let mut server = Server::start(config()).await;
        let proxy = Proxy::start(&server.address, impairments).await;
        let (_, mut dialled) = within(dial(&proxy.address, Version::V2)).await.unwrap();
        let _echo = echo(server.accept().await);
        let data = pattern(1 << 20);
        let start = Instant::now();
        assert!(within(ask(&mut open(&mut dialled).await, &data)).await.unwrap() == data);
        let speed = 1.0 / start.elapsed().as_secs_f64();
        println!("50 ms round-trip time, {name}: {speed:.2} MiB/s in each direction");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_close_and_ids_are_reused_over_an_impaired_path() {
    let _quiet = together().await;
    let latency = Duration::from_millis(2);
    let impairments = Impairments { latency, lost: 30, duplicated: 30, delayed: 30, no_v2: false };
    let mut server = Server::start(config()).await;
    let proxy = Proxy::start(&server.address, impairments).await;
    let (_, mut dialled) = within(dial(&proxy.address, Version::V2)).await.unwrap();
    let _echo = echo(server.accept().await);
    let data = pattern(2000);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut asked = 0;
    while asked < 300 && Instant::now() < deadline {
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(open(&mut dialled).await);
        }
        let answers = streams.iter_mut().map(|stream| ask(stream, &data));
        for answer in within(futures::future::join_all(answers)).await {
            assert!(answer.unwrap() == data, "after {asked} streams");
        }
        asked += 20;
    }
    assert!(asked >= 100, "only {asked} streams in 30 s");
    until("all streams are removed", || dialled.streams() == 0).await;
}
