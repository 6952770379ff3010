//! Submitting a job and seeing it through.

use std::pin::pin;

use tokio::sync::broadcast::error::RecvError;
use webmesh_protocol::JobId;
use webmesh_protocol::io::{Notice, Submission};
use webmesh_protocol::manifest::Manifest;
use webmesh_protocol::message::Outcome;
use webmesh_protocol::sign::Keypair;

use crate::driver::Node;
use crate::progress::{Display, Outline, Traffic};

/// Why a job gave no result.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It was not begun.
    #[error("{0}")]
    Refused(String),
    /// It failed.
    #[error("the job failed: {0}")]
    Failed(String),
    /// Somebody took it back.
    #[error("the job was cancelled")]
    Cancelled,
    /// This peer does not know of it any more.
    #[error("the job cannot be cancelled: {0}")]
    Lost(String),
    /// This peer ended first.
    #[error("this peer ended before its job")]
    Gone,
}

/// Submits a job and follows it until it is done, with `display` showing how far it is. Once `unwanted` ends, it is
/// cancelled; `named` is told its id, and may have reasons not to go on.
///
/// # Errors
/// [`FollowError`]: there is no result.
pub async fn follow(
    node: &Node,
    manifest: Manifest,
    key: &Keypair,
    (display, outline): (&Display, &Outline),
    unwanted: impl Future<Output = ()>,
    mut named: impl FnMut(JobId) -> Result<(), String>,
) -> Result<JobId, FollowError> {
    let mut notices = node.notices();
    // As the engine will sign it: this peer may have several jobs, and all of them are told of here.
    let manifest = Manifest { owner: key.public(), home: node.net().peer(), ..manifest };
    let (ours, nonce) = (Manifest::id_of(&key.sign(&manifest)), manifest.nonce);
    node.submit(Submission { manifest, key: key.clone(), kept: false }).await;
    let (mut submitted, mut cancelled, mut told) = (None::<JobId>, false, false);
    let mut unwanted = pin!(unwanted);
    loop {
        // Who stops before the job has its id is heard as soon as it has one.
        if let (true, false, Some(job)) = (told, cancelled, submitted) {
            cancelled = true;
            node.cancel(job, key.clone()).await;
        }
        let notice = tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notice) => notice,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Err(FollowError::Gone),
            },
            () = &mut unwanted, if !told => {
                told = true;
                continue;
            }
        };
        let counters = node.net().counters();
        let peers = node.net().peers().len() as u32;
        display.traffic(Traffic { peers, sent: counters.bytes_out, received: counters.bytes_in });
        match &notice {
            Notice::Submitted { job } if *job == ours => named(ours).map_err(FollowError::Failed)?,
            Notice::Submitted { .. } => continue,
            _ => {}
        }
        display.notice(&notice);
        match notice {
            Notice::Submitted { job } => submitted = Some(job),
            Notice::SubmitRefused { nonce: refused, why } if refused == nonce => return Err(FollowError::Refused(why)),
            Notice::Ended { job, outcome, failure } if Some(job) == submitted => {
                return match outcome {
                    Outcome::Done => Ok(job),
                    Outcome::Cancelled => Err(FollowError::Cancelled),
                    Outcome::Failed(why) => {
                        Err(FollowError::Failed(failure.map_or(why, |failure| outline.explain(&failure))))
                    }
                };
            }
            // This peer does not know its own job any more: nothing else will be heard of it.
            Notice::CancelRefused { job, why } if Some(job) == submitted => return Err(FollowError::Lost(why)),
            Notice::Log(text) => tracing::info!("{text}"),
            _ => {}
        }
    }
}
