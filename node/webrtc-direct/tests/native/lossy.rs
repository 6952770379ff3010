//! A UDP proxy with bad weather: delay, loss, reordering, duplication, and a cut.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use libp2p_webrtc_direct::address::{build, parse_dial};
use libp2p_webrtc_direct::credentials::Version;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::support::*;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub delay: Duration,
    /// Of 1,000 datagrams.
    pub lost: u32,
    pub doubled: u32,
    /// Held back for twice the delay and 20 ms more.
    pub late: u32,
    /// Requests of version 2 do not arrive.
    pub no_v2: bool,
}

impl Weather {
    pub(crate) fn clear() -> Self {
        Self { delay: Duration::ZERO, lost: 0, doubled: 0, late: 0, no_v2: false }
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
    pub(crate) async fn start(to: &Multiaddr, weather: Weather) -> Self {
        let target = parse_dial(to).unwrap();
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = build(front.local_addr().unwrap(), Some(target.fingerprint));
        let cut = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(front, target.socket, weather, cut.clone()));
        Self { address, cut, task }
    }

    /// Nothing gets through any more.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

async fn run(front: Arc<UdpSocket>, server: SocketAddr, weather: Weather, cut: Arc<AtomicBool>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut pumps = JoinSet::new();
    let mut sky = Sky::new(weather, cut.clone());
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = front.recv_from(&mut buffer).await {
        let back = match clients.entry(client) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                back.connect(server).await.unwrap();
                let (front, back_too, mut sky) = (front.clone(), back.clone(), Sky::new(weather, cut.clone()));
                pumps.spawn(async move {
                    let mut buffer = [0; 2048];
                    while let Ok(length) = back_too.recv(&mut buffer).await {
                        for delay in sky.fate(&buffer[..length]) {
                            let (front, datagram) = (front.clone(), buffer[..length].to_vec());
                            send_after(delay, async move { drop(front.send_to(&datagram, client).await) });
                        }
                    }
                });
                new.insert(back).clone()
            }
        };
        for delay in sky.fate(&buffer[..length]) {
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

struct Sky {
    weather: Weather,
    cut: Arc<AtomicBool>,
    chance: StdRng,
}

impl Sky {
    fn new(weather: Weather, cut: Arc<AtomicBool>) -> Self {
        let seed = rand::random();
        println!("weather of seed {seed}");
        Self { weather, cut, chance: StdRng::seed_from_u64(seed) }
    }

    /// After which delays a datagram arrives: once, twice, or not at all.
    fn fate(&mut self, datagram: &[u8]) -> Vec<Duration> {
        let Weather { delay, lost, doubled, late, no_v2 } = self.weather;
        let is_v2 = datagram.windows(17).any(|part| part == b"libp2p+webrtc+v2/");
        if self.cut.load(Ordering::Relaxed) || (no_v2 && is_v2) || self.hit(lost) {
            return Vec::new();
        }
        let mut arrivals = vec![if self.hit(late) { delay * 2 + Duration::from_millis(20) } else { delay }];
        if self.hit(doubled) {
            arrivals.push(delay + Duration::from_millis(5));
        }
        arrivals
    }

    fn hit(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.chance.random_range(0..1000) < of_thousand
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_weather_slows_but_neither_breaks_nor_stalls() {
    let _quiet = together().await;
    let lossy = Weather { delay: Duration::from_millis(25), lost: 10, ..Weather::clear() };
    for (name, weather) in
        [("1 % lost", lossy), ("1 % lost, doubled, late", Weather { doubled: 10, late: 10, ..lossy })]
    {
        let mut server = Server::start(config()).await;
        let proxy = Proxy::start(&server.address, weather).await;
        let (_, mut dialled) = within(dial(&proxy.address, Version::V2)).await.unwrap();
        let _echo = echo(server.accept().await);
        let data = pattern(1 << 20);
        let start = Instant::now();
        assert!(within(ask(&mut open(&mut dialled).await, &data)).await.unwrap() == data);
        let speed = 1.0 / start.elapsed().as_secs_f64();
        println!("50 ms there and back, {name}: {speed:.2} MiB/s in each direction");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_close_and_ids_come_back_in_bad_weather() {
    let _quiet = together().await;
    let weather = Weather { delay: Duration::from_millis(2), lost: 30, doubled: 30, late: 30, no_v2: false };
    let mut server = Server::start(config()).await;
    let proxy = Proxy::start(&server.address, weather).await;
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
    until("all streams are forgotten", || dialled.streams() == 0).await;
}
