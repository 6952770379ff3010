//! HTTP interface of a node: health, metrics, addresses, and the page by which a tab joins.

mod access;
mod headers;
mod job_ends;
mod page;
mod places;
mod socket;
mod watched;

pub use access::{Access, AllowedOrigin, HostName};
pub use page::{Page, PageFile};

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, Request, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::Listener;
use axum::{Json, Router, middleware};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::driver::Node;
use crate::net::PROTOCOL_VERSION;
use places::Places;
use watched::{WatchedBody, WatchedStream};

/// Timeout for a request's head; otherwise a client that sends a byte now and then could hold a connection for ever. It
/// is also the idle timeout of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Write timeout: a connection whose client reads nothing for this long is closed, or it could be held for ever.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Size limit of a request's head, which a connection's buffer holds.
const HEAD_BYTES: usize = 32 << 10;
/// The answer to a connection without a place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n\r\n\
    this node serves as many HTTP connections as it may, many of them from your network; try again in a second\n";

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
    access: Arc<Access>,
    job_ends: Arc<job_ends::Budget>,
    sockets: Arc<Semaphore>,
}

/// Serves the page, `/healthz`, `/metrics` (OpenMetrics), `/.well-known/webmesh.json` and peers over WebSocket at
/// `/ws`, and accepts ends of jobs at `/job-ends`, until the process ends; returns the listen address. With `kiosk`,
/// the page may join without a click if its address asks for it.
///
/// # Errors
/// [`HttpError`] if the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    node: Node,
    page: Page,
    access: Access,
    kiosk: bool,
) -> Result<SocketAddr, HttpError> {
    let in_the_way = |source| HttpError { address, source };
    let listener = TcpListener::bind(address).await.map_err(in_the_way)?;
    let bound = listener.local_addr().map_err(in_the_way)?;
    let access = Arc::new(access);
    let sockets = Arc::new(Semaphore::new(socket::WAITING));
    let started = Instant::now();
    let served = Served { node, page, started, kiosk, access: access.clone(), job_ends: Arc::default(), sockets };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/.well-known/webmesh.json", get(addresses))
        .route(socket::PATH, get(socket::serve))
        .route(job_ends::PATH, post(job_ends::take))
        .fallback(get(page::serve))
        .with_state(served)
        .layer(middleware::from_fn_with_state(access, access::guard));
    tokio::spawn(accept(listener, router, HEAD_TIMEOUT, WRITE_TIMEOUT));
    Ok(bound)
}

/// Serves the connections that have a place.
async fn accept(mut listener: TcpListener, router: Router, head_timeout: Duration, write_timeout: Duration) {
    let places = Places::default();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES);
    loop {
        // Axum's accept loop: errors of one connection, or a lack of descriptors, are temporary.
        let (stream, there) = Listener::accept(&mut listener).await;
        let Ok(here) = stream.local_addr() else { continue };
        let Some(place) = places.take(there.ip(), Instant::now()) else {
            refuse(stream);
            continue;
        };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        let activity = place.activity();
        let stream = WatchedStream::new(Box::pin(stream), activity.clone());
        let place = Arc::new(place);
        let router = TowerToHyperService::new(router.clone());
        let connection = socket::Connection { here, there, place: place.clone() };
        let service = service_fn(move |mut request: Request<Incoming>| {
            let answering = activity.answering();
            request.extensions_mut().insert(connection.clone());
            let answer = router.call(request);
            async move { answer.await.map(|answer| answer.map(|body| WatchedBody::new(body, answering))) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::spawn(async move {
            // A peer over WebSocket keeps its place beyond the connection's end as HTTP, until the swarm counts it.
            let ended = tokio::select! {
                ended = connection => ended,
                () = place.evicted() => return,
            };
            if let Err(why) = ended {
                tracing::debug!("an HTTP connection ended early: {why}");
            }
        });
    }
}

/// Tells a client that there is no place for its connection, if that is possible at once.
fn refuse(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        // It does not block, and a client that is gone need not be told.
        let _ = stream.write(FULL);
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

async fn addresses(State(served): State<Served>, asked: HeaderMap) -> impl IntoResponse {
    let addresses: Vec<String> = served.node.net().told_addresses().iter().map(ToString::to_string).collect();
    // Pages of the origins that may use the node may ask for the addresses to dial.
    let reader = served.access.other_origin(&asked).map(|origin| [(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)]);
    let (peer, websocket) = (peer_id(&served.node), socket::PATH);
    let said = json!({
        "protocol": PROTOCOL_VERSION,
        "peer": peer,
        "addresses": addresses,
        "websocket": websocket,
        "jobEnds": job_ends::PATH,
        "kiosk": served.kiosk,
    });
    ([(header::VARY, "origin")], reader, Json(said))
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

    /// Serves `router` until the test ends.
    async fn served(router: Router, head_timeout: Duration, write_timeout: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, router, head_timeout, write_timeout));
        address
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    /// Opens connections that fill all places, and never end their heads.
    async fn slow_heads(address: SocketAddr) -> Vec<TcpStream> {
        let mut slow = Vec::new();
        for _ in 0..places::CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
            slow.push(stream);
        }
        slow
    }

    async fn assert_closed(streams: &mut [TcpStream]) {
        for stream in streams {
            let mut rest = Vec::new();
            // A reset is also an end.
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        }
    }

    #[tokio::test]
    async fn clients_that_never_finish_their_request_time_out() {
        let address = served(hello(), Duration::from_millis(500), WRITE_TIMEOUT).await;
        let mut slow = slow_heads(address).await;
        assert_closed(&mut slow).await;
    }

    #[tokio::test]
    async fn clients_that_never_finish_their_request_do_not_keep_a_newcomer_out() {
        // No timeout makes room in this test.
        let address = served(hello(), 10 * PATIENCE, WRITE_TIMEOUT).await;
        let mut slow = slow_heads(address).await;
        let answer = tokio::time::timeout(PATIENCE, get_text(address)).await.expect("it is served");
        assert!(answer.ends_with("hello"), "{answer}");
        assert_closed(&mut slow[..1]).await;
    }

    #[tokio::test]
    async fn clients_that_never_read_their_answer_time_out() {
        // More than the system buffers for a client that does not read.
        let large = axum::body::Bytes::from(vec![0; 16 << 20]);
        let router = hello().route("/large", get(move || async move { large }));
        let address = served(router, HEAD_TIMEOUT, Duration::from_millis(500)).await;
        let mut silent = Vec::new();
        for _ in 0..places::CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            // Shows that its place is taken.
            stream.readable().await.unwrap();
            silent.push(stream);
        }
        let served = async {
            // While the places are taken by answers that are being sent, newcomers of the same network are refused.
            loop {
                let answer = get_text(address).await;
                if answer.ends_with("hello") {
                    return;
                }
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
            }
        };
        tokio::time::timeout(PATIENCE, served).await.expect("it is served at last");
    }

    #[tokio::test]
    async fn a_client_that_finds_no_place_is_told_so() {
        let (release, held) = tokio::sync::watch::channel(());
        let router =
            hello().route("/held", get(move || async move { held.clone().changed().await.is_err().to_string() }));
        let address = served(router, HEAD_TIMEOUT, WRITE_TIMEOUT).await;
        let mut busy = Vec::new();
        for _ in 0..places::CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            busy.push(stream);
        }
        let refused = async {
            // Until all requests have been read, connections without one make room.
            loop {
                let mut newcomer = TcpStream::connect(address).await.unwrap();
                let mut told = String::new();
                let read = newcomer.read_to_string(&mut told);
                match tokio::time::timeout(Duration::from_millis(50), read).await {
                    Ok(Ok(_)) if !told.is_empty() => return told,
                    _ => {}
                }
            }
        };
        let told = tokio::time::timeout(PATIENCE, refused).await.expect("there is no place");
        assert!(told.starts_with("HTTP/1.1 503") && told.ends_with("try again in a second\n"), "{told}");
        drop(release);
    }
}
