//! HTTP interface of a node: health, metrics, addresses, and the page by which a tab joins.

mod job_ends;
mod page;
mod socket;

pub use page::{Page, PageFile};

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::Listener;
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::driver::Node;
use crate::net::PROTOCOL_VERSION;

/// Maximum number of connections: a scraper, a load balancer and a few people at once. Further ones wait unaccepted.
const CONNECTIONS: usize = 64;
/// Timeout for a request's head; otherwise a client that sends a byte now and then could hold a connection for ever. It
/// is also the idle timeout of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Write timeout: a connection whose client reads nothing for this long is closed, or it could be held for ever.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// HTTP could not be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve HTTP on {address}: {source}; choose another --http address, or stop the program that uses it")]
pub struct HttpError {
    /// The address asked for.
    pub address: SocketAddr,
    /// The system's error.
    pub source: io::Error,
}

#[derive(Clone)]
struct Served {
    node: Node,
    page: Page,
    started: Instant,
    kiosk: bool,
    job_ends: Arc<job_ends::Budget>,
}

/// Serves the page, `/healthz`, `/metrics` (OpenMetrics), `/.well-known/webmesh.json` and peers over WebSocket at
/// `/ws`, and accepts ends of jobs at `/job-ends`, until the process ends; returns the listen address. With `kiosk`,
/// the page may join without a click if its address asks for it.
///
/// # Errors
/// [`HttpError`] if the address cannot be listened on.
pub async fn serve(address: SocketAddr, node: Node, page: Page, kiosk: bool) -> Result<SocketAddr, HttpError> {
    let in_the_way = |source| HttpError { address, source };
    let listener = TcpListener::bind(address).await.map_err(in_the_way)?;
    let bound = listener.local_addr().map_err(in_the_way)?;
    let served = Served { node, page, started: Instant::now(), kiosk, job_ends: Arc::default() };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/.well-known/webmesh.json", get(addresses))
        .route(socket::PATH, get(socket::serve))
        .route(job_ends::PATH, post(job_ends::take))
        .fallback(get(page::serve))
        .with_state(served);
    tokio::spawn(accept(listener, router, HEAD_TIMEOUT, WRITE_TIMEOUT));
    Ok(bound)
}

/// Serves connections, at most [`CONNECTIONS`] at a time.
async fn accept(mut listener: TcpListener, router: Router, head_timeout: Duration, write_timeout: Duration) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    while let Ok(place) = places.clone().acquire_owned().await {
        // Axum's accept loop: errors of one connection, or a lack of descriptors, are temporary.
        let (stream, there) = Listener::accept(&mut listener).await;
        let Ok(here) = stream.local_addr() else { continue };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        let stream = Box::pin(stream);
        let place = Arc::new(place);
        let router = router.clone().layer(Extension(socket::Connection { here, there, place: place.clone() }));
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::spawn(async move {
            // A peer over WebSocket keeps its slot until the swarm counts it.
            if let Err(why) = connection.with_upgrades().await {
                tracing::debug!("an HTTP connection ended early: {why}");
            }
            drop(place);
        });
    }
}

/// Prints the line that says that a node is ready: a JSON object.
pub fn print_ready(node: &Node, http: Option<SocketAddr>) {
    let addresses: Vec<String> = node.net().addresses().iter().map(ToString::to_string).collect();
    let ready = json!({
        "event": "ready",
        "peer": peer_id(node),
        "addresses": addresses,
        "http": http.map(|address| format!("http://{address}")),
    });
    // If the process that started this one no longer reads, the node still works.
    if let Err(why) = writeln!(io::stdout().lock(), "{ready}") {
        tracing::warn!("cannot write the ready line: {why}");
    }
}

fn peer_id(node: &Node) -> String {
    crate::net::peer_id_of(&node.net().peer()).to_string()
}

async fn health(State(served): State<Served>) -> impl IntoResponse {
    Json(json!({
        "status": "ok",
        "peer": peer_id(&served.node),
        "peers": served.node.net().peers().len(),
        "uptime_seconds": served.started.elapsed().as_secs(),
    }))
}

async fn addresses(State(served): State<Served>) -> impl IntoResponse {
    let addresses: Vec<String> = served.node.net().told_addresses().iter().map(ToString::to_string).collect();
    // Pages of other origins may ask for the addresses to dial.
    let anyone = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    let (peer, websocket) = (peer_id(&served.node), socket::PATH);
    let said = json!({
        "protocol": PROTOCOL_VERSION,
        "peer": peer,
        "addresses": addresses,
        "websocket": websocket,
        "jobEnds": job_ends::PATH,
        "kiosk": served.kiosk,
    });
    (anyone, Json(said))
}

async fn metrics(State(served): State<Served>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("webmesh");
    registry.register_collector(Box::new(NodeMetrics(served)));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

struct NodeMetrics(Served);

impl std::fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeMetrics")
    }
}

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Served { node, started, .. } = &self.0;
        let net = node.net();
        let mut gauge = |name, help, value: i64| {
            let metric = ConstGauge::new(value);
            let out = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(out)
        };
        gauge("connected_peers", "Connected peers", net.peers().len() as i64)?;
        gauge("uptime_seconds", "Since this peer started", started.elapsed().as_secs() as i64)?;
        for (name, help, value) in net.counters().named() {
            let metric = ConstCounter::new(value);
            let out = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Timeout of every wait, on however busy a machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn get_text(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn clients_that_never_finish_their_request_time_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "hello" }));
        tokio::spawn(accept(listener, router, Duration::from_millis(500), WRITE_TIMEOUT));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
            silent.push(stream);
        }
        // All slots are taken: this request waits until the silent clients time out.
        let answer = tokio::time::timeout(PATIENCE, get_text(address)).await.expect("it is served at last");
        assert!(answer.ends_with("hello"), "{answer}");
        for stream in &mut silent {
            let mut rest = Vec::new();
            // A reset is also an end.
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        }
    }

    #[tokio::test]
    async fn clients_that_never_read_their_answer_time_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // More than the system buffers for a client that does not read.
        let router =
            Router::new().route("/", get(|| async { "hello" })).route("/large", get(|| async { vec![0; 16 << 20] }));
        tokio::spawn(accept(listener, router, HEAD_TIMEOUT, Duration::from_millis(500)));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            // Shows that its slot is taken.
            stream.readable().await.unwrap();
            silent.push(stream);
        }
        let answer = tokio::time::timeout(PATIENCE, get_text(address)).await.expect("it is served at last");
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
