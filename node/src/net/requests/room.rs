//! Room for answers: what one may take in memory, from when it is asked for until it is written.

use tokio::sync::{Semaphore, SemaphorePermit};
use webmesh_protocol::message::Request;

use super::Requests;
use super::callers::Caller;
use crate::net::budget::Reservation;
use crate::net::limits::ANSWER_ROOM;
use crate::platform;

/// What an answer may grow to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// A word or two.
    Small,
    /// Up to a head, or a module: what grows with jobs, tasks or peers.
    List,
    /// Up to the largest body.
    Bulk,
}

/// The right to have an answer made.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    Small,
    /// Held until the answer is written.
    List {
        _turn: SemaphorePermit<'a>,
    },
    /// Held until the answer has its part of the budget. It never holds that part while it waits for a turn, so
    /// that nobody waits in a circle.
    Bulk {
        _of_peer: SemaphorePermit<'a>,
        _of_all: SemaphorePermit<'a>,
    },
}

/// Held until the answer is written.
#[derive(Debug)]
pub(super) struct Room<'a> {
    _turn: Option<Turn<'a>>,
    _bytes: Reservation,
}

fn size(request: &Request) -> Size {
    match request {
        Request::Blob { .. } | Request::Bucket { .. } | Request::Pull { .. } => Size::Bulk,
        Request::Manifest { .. }
        | Request::Summary { .. }
        | Request::Claims { .. }
        | Request::Held { .. }
        | Request::Jobs
        | Request::Peers
        | Request::Homes { .. }
        // Takes seconds, and the compiler itself bounds how many it takes: not to be in the way of blobs.
        | Request::Compile { .. } => Size::List,
        // Statements, acknowledged in a word.
        _ => Size::Small,
    }
}

impl Requests {
    /// Waits until the answer to `request` may be made; `None` if others of its kind are in the way for too long.
    pub(super) async fn turn<'a>(&'a self, caller: &'a Caller, request: &Request) -> Option<Turn<'a>> {
        let turn = async {
            Some(match size(request) {
                Size::Small => Turn::Small,
                Size::List => Turn::List { _turn: permit(caller.lists()).await? },
                Size::Bulk => {
                    let _of_peer = permit(caller.bulk()).await?;
                    // Nor does a peer that reads slowly hold a turn that others wait for.
                    caller.answers().half_free().await;
                    Turn::Bulk { _of_peer, _of_all: permit(&self.bulk_answers).await? }
                }
            })
        };
        platform::timeout(ANSWER_ROOM, turn).await.flatten()
    }

    /// Waits until an answer of `bytes` may be held until it is written; `None` if what is written already is in
    /// the way for too long.
    pub(super) async fn room<'a>(&self, caller: &Caller, turn: Turn<'a>, bytes: usize) -> Option<Room<'a>> {
        let _bytes = platform::timeout(ANSWER_ROOM, self.answers.reserve(caller.answers(), bytes)).await?;
        let _turn = Some(turn).filter(|turn| !matches!(turn, Turn::Bulk { .. }));
        Some(Room { _turn, _bytes })
    }
}

/// `None` only for a closed semaphore, which nobody closes.
async fn permit(turns: &Semaphore) -> Option<SemaphorePermit<'_>> {
    turns.acquire().await.ok()
}
