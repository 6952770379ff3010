//! Requests that the driver has received and not answered yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use webmesh_protocol::io::{RequestId, Token};
use webmesh_protocol::message::Response;

use super::callers::Place;
use crate::net::limits::ANSWER_GRACE;
use crate::platform::Instant;

/// The driver's answer: a response and its body.
pub(super) type Reply = (Response, Vec<Bytes>);

/// Pending requests by token. Bounded by the slots of callers.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    next: AtomicU64,
    requesters: Arc<Requesters>,
}

type Requesters = Mutex<HashMap<Token, Requester>>;

/// The requester that awaits an answer.
#[derive(Debug)]
pub(super) enum Requester {
    /// The task that serves another peer's stream.
    Remote(oneshot::Sender<Reply>),
    /// This peer's own driver.
    Local {
        /// The driver's id for the request.
        id: RequestId,
        /// Held until the answer.
        _place: Place,
        /// Deadline for the answer.
        until: Instant,
    },
}

/// Removes its token when dropped: the requester has gone away.
#[derive(Debug)]
pub(super) struct RemoteToken {
    token: Token,
    requesters: Arc<Requesters>,
}

impl PendingRequests {
    /// Registers a request of another peer; returns its token and the receiver of its answer.
    pub(super) fn remote(&self) -> (RemoteToken, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let token = self.insert(Requester::Remote(reply));
        (RemoteToken { token, requesters: Arc::clone(&self.requesters) }, answer)
    }

    /// Registers a request of this peer to itself, which expires after `patience`.
    pub(super) fn local(&self, id: RequestId, place: Place, patience: Duration) -> Token {
        self.insert(Requester::Local { id, _place: place, until: Instant::now() + patience + ANSWER_GRACE })
    }

    fn insert(&self, requester: Requester) -> Token {
        let token = Token(self.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.requesters).insert(token, requester);
        token
    }

    /// Removes and returns the requester that waits for the answer to `token`; `None` if it has gone away.
    pub(super) fn take(&self, token: Token) -> Option<Requester> {
        lock(&self.requesters).remove(&token)
    }

    /// Whether somebody still waits for the answer to `token`.
    pub(super) fn is_awaited(&self, token: Token) -> bool {
        lock(&self.requesters).contains_key(&token)
    }

    /// Removes local requests that the driver has left unanswered for too long.
    pub(super) fn expired(&self) -> Vec<RequestId> {
        let mut expired = Vec::new();
        lock(&self.requesters).retain(|_, requester| match requester {
            Requester::Local { id, until, .. } if *until <= Instant::now() => {
                expired.push(*id);
                false
            }
            _ => true,
        });
        expired
    }
}

impl RemoteToken {
    pub(super) fn token(&self) -> Token {
        self.token
    }
}

impl Drop for RemoteToken {
    fn drop(&mut self) {
        lock(&self.requesters).remove(&self.token);
    }
}

/// If another holder panics, the map is still usable.
fn lock(requesters: &Requesters) -> MutexGuard<'_, HashMap<Token, Requester>> {
    requesters.lock().unwrap_or_else(PoisonError::into_inner)
}
