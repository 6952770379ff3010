//! The client side: one exchange with another peer.

use std::time::Duration;

use bytes::Bytes;
use libp2p::PeerId;
use tokio::sync::oneshot;
use webmesh_protocol::Hash;
use webmesh_protocol::codec::DecodeError;
use webmesh_protocol::io::RequestError;
use webmesh_protocol::limits as bounds;
use webmesh_protocol::limits::{COMPILE_TIMEOUT, REQUEST_TIMEOUT};
use webmesh_protocol::message::{Request, Response};

use super::error::FrameError;
use super::flow::Flow;
use super::frame::Frame;
use super::pool::Pool;
use super::{Requests, body, frame};
use crate::net::budget::Reservation;
use crate::net::limits::{self, BULK_BYTES, STREAM_ATTEMPTS, STREAM_RETRY_DELAY};
use crate::net::streams::{OpenError, Opened};
use crate::net::swarm::Command;
use crate::platform;

/// An encoded request.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<Bytes>,
    pub(super) bulk: bool,
    /// Expected hash of the answer's body, if there is one.
    pub(super) wanted: Option<Hash>,
    /// Timeout for the first byte of the answer.
    pub(super) patience: Duration,
    /// Size limit of the answer's body, in bytes.
    pub(super) max_body: usize,
}

/// An answer; the reservation covers its body until the driver has it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) body: Bytes,
    pub(super) _reservation: Reservation,
}

/// Why an exchange failed.
enum Failed {
    /// The stream broke before the first byte of an answer: it may have been dead already.
    BeforeAnswer(FrameError),
    /// The stream broke later.
    Frame(FrameError),
    /// The body does not have the expected hash.
    Corrupt,
}

impl Question {
    pub(super) fn new(request: &Request, head: Vec<u8>, body: Vec<Bytes>) -> Self {
        let bulky = matches!(
            request,
            Request::Blob { .. } | Request::Bucket(_) | Request::Pull { .. } | Request::Compile { .. }
        );
        let bulk = bulky || body.iter().map(Bytes::len).sum::<usize>() > BULK_BYTES;
        let wanted = if let Request::Blob { hash } = request { Some(*hash) } else { None };
        Self { head, body, bulk, wanted, patience: patience(request), max_body: max_answer(request) }
    }
}

/// Timeout for the answer to begin.
pub(super) fn patience(request: &Request) -> Duration {
    match request {
        Request::Compile { .. } => COMPILE_TIMEOUT,
        _ => REQUEST_TIMEOUT,
    }
}

/// Size limit of an answer's body: no peer may fill a tab's memory with its answers.
fn max_answer(request: &Request) -> usize {
    match request {
        Request::Blob { .. } => bounds::PACK_BYTES.max(bounds::MODULE_BYTES).max(bounds::INDEX_BYTES),
        Request::Bucket(_) => bounds::BUCKET_PIECE,
        Request::Compile { .. } => bounds::MODULE_BYTES,
        // A bit for each block,
        Request::Summary(_) => bounds::BLOCKS as usize / 8 + 1,
        // and one attempt at least, however large.
        Request::Pull { .. } => bounds::BODY_BYTES,
        _ => 0,
    }
}

impl Requests {
    /// Sends a request to `peer` and awaits its answer. A pooled stream may have died unnoticed: if it breaks before
    /// the first byte of the answer, the request is sent once more on a new one. (Requests are statements or reads, so
    /// receiving one twice does no harm.)
    pub(super) async fn ask(&self, peer: PeerId, question: &Question) -> Result<Answer, RequestError> {
        let pool = self.pools.of(peer, || self.bodies.share(limits::ANSWERS_SHARE));
        let _turn = pool.turn(question.bulk).await.ok_or(RequestError::TimedOut)?;
        if let Some(mut pooled) = pool.take() {
            match self.exchange(&pool, &mut pooled, question).await {
                Ok(answer) => {
                    pool.put(pooled);
                    return Ok(answer);
                }
                Err(Failed::BeforeAnswer(FrameError::Broken(_))) => {}
                Err(failed) => return Err(self.explain(peer, failed).await),
            }
        }
        let mut fresh = self.open(peer).await?;
        match self.exchange(&pool, &mut fresh, question).await {
            Ok(answer) => {
                pool.put(fresh);
                Ok(answer)
            }
            Err(failed) => Err(self.explain(peer, failed).await),
        }
    }

    /// Opens a new stream; the swarm dials if there is no connection.
    ///
    /// A connection that is just closing silently drops a request for a stream, until the swarm knows that it is gone:
    /// the request is then repeated after a moment, and leads to a new connection.
    async fn open(&self, peer: PeerId) -> Result<Opened, RequestError> {
        for attempt in 0..STREAM_ATTEMPTS {
            let (opener, opened) = oneshot::channel();
            let commands = self.commands.upgrade().ok_or(RequestError::Unreachable)?;
            commands.send(Command::Open { peer, opener }).await.map_err(|_| RequestError::Unreachable)?;
            drop(commands);
            match platform::timeout(REQUEST_TIMEOUT, opened).await {
                Some(Ok(Ok(opened))) => {
                    self.meters.streams_opened.add(1);
                    return Ok(opened);
                }
                Some(Ok(Err(e @ OpenError::Unsupported))) => return Err(RequestError::Protocol(e.to_string())),
                Some(Ok(Err(OpenError::NoConnection(why)))) => {
                    tracing::debug!(%peer, why, "no stream");
                    return Err(RequestError::Unreachable);
                }
                Some(Err(_)) => platform::sleep(STREAM_RETRY_DELAY * 2_u32.pow(attempt)).await,
                None => return Err(RequestError::TimedOut),
            }
        }
        Err(RequestError::Unreachable)
    }

    async fn exchange(&self, pool: &Pool, opened: &mut Opened, question: &Question) -> Result<Answer, Failed> {
        let (stream, encoding) = (&mut opened.stream, body::Encoding::over(opened.way));
        let asked = Frame { head: &question.head, body: &question.body };
        let sent = frame::write(stream, asked, encoding, Flow::unbudgeted(&pool.activity));
        let sent = sent.await.map_err(Failed::BeforeAnswer)?;
        self.meters.bytes_out.add(sent);
        let lengths = platform::timeout(question.patience, frame::read_lengths(stream)).await;
        let lengths = lengths.unwrap_or(Err(FrameError::Stalled)).map_err(Failed::BeforeAnswer)?;
        if lengths.body > question.max_body {
            let (claimed, max) = (lengths.body as u64, question.max_body);
            return Err(Failed::Frame(FrameError::TooLong { what: "body", claimed, max }));
        }
        let reservation = self.bodies.reserve(&pool.share, lengths.total()).await;
        let response = frame::read_head(stream, lengths.head, &pool.activity).await;
        let mut hasher = question.wanted.map(|_| blake3::Hasher::new());
        // Hashed piece by piece, while the bytes are in the processor's cache and without holding up other tasks.
        let seen = |piece: &[u8]| {
            if let Some(hasher) = &mut hasher {
                hasher.update(piece);
            }
        };
        let response: Response = response.map_err(Failed::Frame)?;
        let body = body::read(stream, lengths.body, &pool.activity, seen).await;
        let (body, came) = body.map_err(Failed::Frame)?;
        self.meters.bytes_in.add(lengths.head + came);
        let hashed = hasher.map(|h| Hash(*h.finalize().as_bytes()));
        if response == Response::Body && hashed != question.wanted {
            return Err(Failed::Corrupt);
        }
        Ok(Answer { response, body, _reservation: reservation })
    }

    /// The error for the engine.
    async fn explain(&self, peer: PeerId, failed: Failed) -> RequestError {
        match failed {
            Failed::Corrupt => RequestError::Corrupt,
            Failed::BeforeAnswer(FrameError::Stalled) | Failed::Frame(FrameError::Stalled) => RequestError::TimedOut,
            Failed::BeforeAnswer(FrameError::Broken(e)) | Failed::Frame(FrameError::Broken(e)) => {
                tracing::debug!(%peer, %e, "a stream broke");
                RequestError::Unreachable
            }
            Failed::BeforeAnswer(e) | Failed::Frame(e) => {
                if let FrameError::Head(DecodeError::Version { .. }) = e {
                    self.incompatible(peer, e.to_string()).await;
                }
                RequestError::Protocol(e.to_string())
            }
        }
    }
}
