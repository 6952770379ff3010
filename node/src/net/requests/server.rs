//! The server side: streams that other peers opened.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{self, Either};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p::swarm::Stream;
use tokio::sync::oneshot;
use webmesh_protocol::PeerKey;
use webmesh_protocol::codec::{self, DecodeError};
use webmesh_protocol::message::{Request, Response};

use super::callers::{Caller, Place};
use super::client::patience;
use super::error::FrameError;
use super::flow::Flow;
use super::frame::{Frame, Lengths};
use super::pending::Reply;
use super::{Requests, body, frame};
use crate::net::NetEvent;
use crate::net::keys::peer_id_of;
use crate::net::limits::{ANSWER_GRACE, REQUEST_BODY_BYTES, SERVED_STREAM_IDLE_TIMEOUT};
use crate::platform::{self, Instant};

/// Waits for the driver's answer; fails if the requester goes away meanwhile. It must not send anything before the
/// answer.
async fn awaited(stream: &mut Stream, answer: oneshot::Receiver<Reply>) -> Result<Reply, FrameError> {
    let mut word = [0];
    match future::select(answer, stream.read(&mut word)).await {
        Either::Left((answer, _)) => answer.map_err(|_| FrameError::Stalled),
        Either::Right((read, _)) => Err(FrameError::Broken(match read {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::other("a request came before the last one was answered"),
            Err(e) => e,
        })),
    }
}

/// Whether a peer that gets [`Response::Ok`] for `request` has taken part in a job: it has brought what others accept.
fn is_work(request: &Request) -> bool {
    matches!(
        request,
        Request::Push(_) | Request::Commit(_) | Request::Accept(_) | Request::Sealed(_) | Request::Output(_)
    )
}

impl Requests {
    /// Serves a peer's requests on one stream, until the peer closes it, breaks it, or sends an invalid frame.
    pub(super) async fn serve(self: Arc<Self>, peer: PeerId, key: PeerKey, caller: Caller, mut stream: Stream) {
        if let Err(e) = self.serve_all(key, &caller, &mut stream).await {
            tracing::debug!(%peer, %e, "stream closed");
            match e {
                // The rest of the stream cannot be interpreted; say so before closing it.
                FrameError::TooLong { .. } | FrameError::Piece => {
                    let _ = self.answer(&mut stream, &caller, Response::Refused(e.to_string())).await;
                    let _ = stream.close().await;
                }
                FrameError::Head(DecodeError::Version { .. }) => self.incompatible(peer, e.to_string()).await,
                FrameError::Head(_) | FrameError::Broken(_) | FrameError::Stalled => {}
            }
        }
    }

    async fn serve_all(&self, key: PeerKey, caller: &Caller, stream: &mut Stream) -> Result<(), FrameError> {
        // The end of an idle stream is normal.
        while let Some(Ok(lengths)) =
            platform::timeout(SERVED_STREAM_IDLE_TIMEOUT, frame::read_lengths(stream)).await.map(|read| match read {
                Err(FrameError::Broken(_)) => Err(()),
                other => Ok(other),
            })
        {
            let lengths = lengths?.with_body_up_to(REQUEST_BODY_BYTES)?;
            match caller.enter() {
                Some(place) => self.serve_one(key, caller, place, lengths, stream).await?,
                None => {
                    frame::skip(stream, lengths, caller.activity()).await?;
                    self.answer(stream, caller, Response::Busy).await?;
                }
            }
        }
        Ok(())
    }

    /// Reads a request, hands it to the driver, and writes its answer. The body's part of the budget is held until the
    /// answer is there: a driver that falls behind slows its peers down. The request's slot is held until the answer is
    /// written, and a large answer is not prepared before there is room for it: a peer that does not read its answers
    /// gets no more of them.
    async fn serve_one(
        &self,
        key: PeerKey,
        caller: &Caller,
        _place: Place,
        lengths: Lengths,
        stream: &mut Stream,
    ) -> Result<(), FrameError> {
        let reservation = self.bodies.reserve(caller.share(), lengths.total()).await;
        let request = frame::read_head::<Request, _>(stream, lengths.head, caller.activity()).await;
        let request = match request {
            Ok(request) => request,
            Err(FrameError::Head(e)) if !matches!(e, DecodeError::Version { .. }) => {
                body::skip(stream, lengths.body, caller.activity()).await?;
                return self.answer(stream, caller, Response::Refused(e.to_string())).await;
            }
            Err(e) => return Err(e),
        };
        let (body, came) = body::read(stream, lengths.body, caller.activity(), |_| ()).await?;
        self.meters.bytes_in.add(lengths.head + came);
        self.meters.requests_in.add(1);
        let Some(turn) = self.turn(caller, &request).await else {
            return self.answer(stream, caller, Response::Busy).await;
        };
        let (token, answer) = self.pending.remote();
        let patience = patience(&request) + ANSWER_GRACE;
        let is_work = is_work(&request);
        let event = NetEvent::Request { from: key, token: token.token(), request, body };
        if !self.send(event).await {
            return Ok(()); // the driver is gone, and the network with it
        }
        let answer = platform::timeout(patience, awaited(stream, answer)).await;
        drop((token, reservation));
        let (response, body) = answer.unwrap_or(Err(FrameError::Stalled))?;
        if is_work && response == Response::Ok {
            self.standing.note(peer_id_of(&key), Instant::now());
        }
        let head = codec::encode(&response);
        let bytes = head.len() + body.iter().map(Bytes::len).sum::<usize>();
        match self.room(caller, turn, bytes).await {
            Some(_room) => self.write(stream, caller, &head, &body).await,
            None => {
                drop((head, body));
                self.answer(stream, caller, Response::Busy).await
            }
        }
    }

    /// Writes a short answer.
    async fn answer(&self, stream: &mut Stream, caller: &Caller, response: Response) -> Result<(), FrameError> {
        self.write(stream, caller, &codec::encode(&response), &[]).await
    }

    async fn write(&self, stream: &mut Stream, caller: &Caller, head: &[u8], body: &[Bytes]) -> Result<(), FrameError> {
        // It holds a part of a budget, for which others may wait.
        let frame = Frame { head, body };
        let sent = frame::write(stream, frame, caller.encoding, Flow::budgeted(frame.len(), caller.activity())).await?;
        self.meters.bytes_out.add(sent);
        Ok(())
    }
}
