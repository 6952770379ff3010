//! Requests that the driver has and has not answered.

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

/// An answer on its way from the driver.
pub(super) type Reply = (Response, Vec<Bytes>);

/// Requests by their tokens. Bounded by the places that callers have.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: AtomicU64,
    askers: Arc<Askers>,
}

type Askers = Mutex<HashMap<Token, Asker>>;

/// Who awaits an answer.
#[derive(Debug)]
pub(super) enum Asker {
    /// The task that serves a peer's stream.
    Remote(oneshot::Sender<Reply>),
    /// This peer's own driver.
    Local {
        /// Its name for the request.
        id: RequestId,
        /// Held until the answer.
        _place: Place,
        /// When it is given up.
        until: Instant,
    },
}

/// Forgets its token when dropped: the asker is gone.
#[derive(Debug)]
pub(super) struct RemoteToken {
    token: Token,
    askers: Arc<Askers>,
}

impl Waiting {
    /// A token for a request of another peer, and where its answer comes.
    pub(super) fn remote(&self) -> (RemoteToken, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let token = self.insert(Asker::Remote(reply));
        (RemoteToken { token, askers: Arc::clone(&self.askers) }, answer)
    }

    /// A token for a request of this peer to itself, which waits for `patience`.
    pub(super) fn local(&self, id: RequestId, place: Place, patience: Duration) -> Token {
        self.insert(Asker::Local { id, _place: place, until: Instant::now() + patience + ANSWER_GRACE })
    }

    fn insert(&self, asker: Asker) -> Token {
        let token = Token(self.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.askers).insert(token, asker);
        token
    }

    /// Who waits for the answer to `token`, if anybody still does.
    pub(super) fn take(&self, token: Token) -> Option<Asker> {
        lock(&self.askers).remove(&token)
    }

    /// Whether somebody still waits for the answer to `token`.
    pub(super) fn is_awaited(&self, token: Token) -> bool {
        lock(&self.askers).contains_key(&token)
    }

    /// Takes out local requests that the driver has left unanswered for too long.
    pub(super) fn expired(&self) -> Vec<RequestId> {
        let mut expired = Vec::new();
        lock(&self.askers).retain(|_, asker| match asker {
            Asker::Local { id, until, .. } if *until <= Instant::now() => {
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
        lock(&self.askers).remove(&self.token);
    }
}

/// A panic of another holder leaves the map usable.
fn lock(askers: &Askers) -> MutexGuard<'_, HashMap<Token, Asker>> {
    askers.lock().unwrap_or_else(PoisonError::into_inner)
}
