//! Signed ends of jobs whose tabs close: a closing tab has no time to reach the mesh, but its browser still sends what
//! it was given (`navigator.sendBeacon`).
//!
//! Only the owner's signature counts; the pages that may send one are those that may join ([`access`](super::access)).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use webmesh_protocol::codec;
use webmesh_protocol::codec::Wire;
use webmesh_protocol::message::{End, Request};

use super::Served;
use crate::net::Bucket;

/// Path to which they are posted, one in each request.
pub(super) const PATH: &str = "/job-ends";
/// Size limit of the body: an end with its signature and the names of its fields.
const BODY_BYTES: usize = End::MAX_BYTES + 512;
/// Timeout for the body; otherwise a client that sends a byte now and then could hold a connection for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Ends accepted a second; five times as many in a burst: enough for a class that closes its tabs together. Each costs
/// one signature check, a tenth of a millisecond. A job whose end is refused stays listed until its peers find it
/// unresponsive.
const PER_SECOND: f64 = 20.0;

/// The rate limit's token bucket.
pub(super) struct Budget(Mutex<Bucket>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(Bucket::new(PER_SECOND, Instant::now())))
    }
}

impl Budget {
    fn take(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

/// Accepts the signed end of a job, and passes it on to the mesh.
pub(super) async fn take(State(served): State<Served>, body: Body) -> Response {
    let refused = |status: StatusCode, why: &str| (status, format!("{why}\n")).into_response();
    let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES)).await else {
        return refused(StatusCode::REQUEST_TIMEOUT, "timeout while reading the body");
    };
    let Ok(body) = body else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large for the end of a job");
    };
    if !served.job_ends.take() {
        return refused(StatusCode::TOO_MANY_REQUESTS, "too many ends of jobs; try again in a second");
    }
    let end = match codec::decode::<Request>(&body) {
        Ok(Request::Ended(end)) => end,
        Ok(_) => return refused(StatusCode::BAD_REQUEST, "this is a request, but not the end of a job"),
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    if let Err(why) = end.open() {
        return refused(StatusCode::BAD_REQUEST, &why.to_string());
    }
    served.node.bring_end(end).await;
    StatusCode::NO_CONTENT.into_response()
}
