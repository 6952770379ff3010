//! Limits on the memory that answers take, from the request until they are written.

use tokio::sync::{Semaphore, SemaphorePermit};
use webmesh_protocol::message::Request;

use super::Requests;
use super::callers::Caller;
use crate::net::budget::Reservation;
use crate::net::limits::ANSWER_QUEUE_TIMEOUT;
use crate::platform;

/// Size class of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// An acknowledgement or a few values.
    Small,
    /// Up to the size of a head, or a module: it grows with jobs, tasks or peers.
    List,
    /// Up to the size of the largest body.
    Bulk,
}

/// Permission to have an answer prepared.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    Small,
    /// Held until the answer is written.
    List {
        _turn: SemaphorePermit<'a>,
    },
    /// Held until the answer has its part of the budget. It never holds that part while it waits for a turn, so there
    /// is no circular wait.
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
        Request::Blob { .. } | Request::Bucket(_) | Request::Pull { .. } => Size::Bulk,
        Request::Manifest { .. }
        | Request::Summary(_)
        | Request::Claims(_)
        | Request::Held { .. }
        | Request::Jobs
        | Request::Peers
        | Request::Homes { .. }
        // Takes seconds, and the compiler limits how many run: it must not hold up blobs.
        | Request::Compile { .. } => Size::List,
        // Statements, which are merely acknowledged.
        _ => Size::Small,
    }
}

impl Requests {
    /// Waits until the answer to `request` may be prepared; `None` if others of its size class take too long.
    pub(super) async fn turn<'a>(&'a self, caller: &'a Caller, request: &Request) -> Option<Turn<'a>> {
        let turn = async {
            Some(match size(request) {
                Size::Small => Turn::Small,
                Size::List => Turn::List { _turn: permit(caller.lists()).await? },
                Size::Bulk => {
                    let _of_peer = permit(caller.bulk()).await?;
                    // A peer that reads slowly must not hold a turn that others wait for either.
                    caller.answers().wait_until_half_free().await;
                    Turn::Bulk { _of_peer, _of_all: permit(&self.bulk_answers).await? }
                }
            })
        };
        platform::timeout(ANSWER_QUEUE_TIMEOUT, turn).await.flatten()
    }

    /// Waits until the budget has room for an answer of `bytes`, to be held until it is written; `None` if the answers
    /// being written take too long.
    pub(super) async fn room<'a>(&self, caller: &Caller, turn: Turn<'a>, bytes: usize) -> Option<Room<'a>> {
        let _bytes = platform::timeout(ANSWER_QUEUE_TIMEOUT, self.answers.reserve(caller.answers(), bytes)).await?;
        let _turn = Some(turn).filter(|turn| !matches!(turn, Turn::Bulk { .. }));
        Some(Room { _turn, _bytes })
    }
}

/// `None` only for a closed semaphore, which never happens.
async fn permit(turns: &Semaphore) -> Option<SemaphorePermit<'_>> {
    turns.acquire().await.ok()
}
