//! What a node says of itself over HTTP: health, metrics, addresses.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use crate::driver::Node;

#[derive(Clone)]
struct Served {
    node: Node,
    started: Instant,
}

/// Serves `/healthz`, `/metrics` (OpenMetrics) and `/.well-known/webmesh.json` until the process ends; gives
/// the address that it got.
///
/// # Errors
/// What is in the way, and what to do.
pub async fn serve(address: SocketAddr, node: Node) -> Result<SocketAddr, String> {
    let in_the_way = |why| format!("cannot serve HTTP on {address}: {why}; choose another --http address");
    let listener = TcpListener::bind(address).await.map_err(in_the_way)?;
    let bound = listener.local_addr().map_err(in_the_way)?;
    let served = Served { node, started: Instant::now() };
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/.well-known/webmesh.json", get(addresses))
        .with_state(served);
    tokio::spawn(async move {
        if let Err(why) = axum::serve(listener, router).await {
            tracing::error!("HTTP has ended: {why}");
        }
    });
    Ok(bound)
}

/// Prints the line that says that a node is ready: one JSON object.
pub fn print_ready(node: &Node, http: Option<SocketAddr>) {
    let addresses: Vec<String> = node.net().addresses().iter().map(ToString::to_string).collect();
    let ready = json!({
        "event": "ready",
        "peer": peer_id(node),
        "addresses": addresses,
        "http": http.map(|address| format!("http://{address}")),
    });
    println!("{ready}");
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
    let addresses: Vec<String> = served.node.net().addresses().iter().map(ToString::to_string).collect();
    // A page from elsewhere may ask where to dial.
    let anyone = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (anyone, Json(json!({ "protocol": "webmesh/1", "peer": peer_id(&served.node), "addresses": addresses })))
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
        let Served { node, started } = &self.0;
        let net = node.net();
        let mut gauge = |name, help, value: i64| {
            let metric = ConstGauge::new(value);
            let out = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(out)
        };
        gauge("connected_peers", "Peers with a connection", net.peers().len() as i64)?;
        gauge("uptime_seconds", "Since this peer started", started.elapsed().as_secs() as i64)?;
        for (name, help, value) in net.counters().named() {
            let metric = ConstCounter::new(value);
            let out = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(out)?;
        }
        Ok(())
    }
}
