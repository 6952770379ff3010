//! Submitting a job and seeing it through.

use std::pin::pin;

use tokio::sync::broadcast::error::RecvError;
use webmesh_protocol::JobId;
use webmesh_protocol::io::{Notice, Submission};
use webmesh_protocol::manifest::Manifest;
use webmesh_protocol::message::Outcome;
use webmesh_protocol::sign::Keypair;

use crate::driver::Node;
use crate::progress::{Outline, Reporter, Traffic};

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

/// How a job begins.
#[derive(Debug)]
pub enum Begin {
    /// It is submitted.
    New {
        /// Its manifest; its owner and home are entered here.
        manifest: Box<Manifest>,
        /// Its decisions are kept, in a folder that must be there (see [`crate::job_folder`]).
        kept: bool,
    },
    /// This peer was started with it, to go on with it.
    Resumed(JobId),
}

/// The manifest as the engine of this peer will sign it, and the id that the job gets by that.
pub fn named(node: &Node, manifest: Manifest, key: &Keypair) -> (Manifest, JobId) {
    let manifest = Manifest { owner: key.public(), home: node.net().peer(), ..manifest };
    let job = Manifest::id_of(&key.sign(&manifest));
    (manifest, job)
}

/// Begins a job and follows it until it is done, with `reporter` telling how far it is. Once `unwanted` ends, it is
/// cancelled; `told` is told its id once others may hear of it, and may have reasons not to go on.
///
/// # Errors
/// [`FollowError`]: there is no result.
pub async fn follow(
    node: &Node,
    begin: Begin,
    key: &Keypair,
    (reporter, outline): (&Reporter, &Outline),
    unwanted: impl Future<Output = ()>,
    mut told: impl FnMut(JobId) -> Result<(), String>,
) -> Result<JobId, FollowError> {
    // This peer may have several jobs, and all of them are told of here.
    let (mut notices, ours, nonce) = match begin {
        Begin::New { manifest, kept } => {
            let notices = node.notices();
            let (manifest, ours) = named(node, *manifest, key);
            let nonce = manifest.nonce;
            node.submit(Submission { manifest, key: key.clone(), kept }).await;
            (notices, ours, Some(nonce))
        }
        Begin::Resumed(ours) => (node.notices_of_resumed(), ours, None),
    };
    let (mut submitted, mut cancelled, mut stopping) = (None::<JobId>, false, false);
    let mut unwanted = pin!(unwanted);
    loop {
        // Who stops before the job has its id is heard as soon as it has one.
        if let (true, false, Some(job)) = (stopping, cancelled, submitted) {
            cancelled = true;
            node.cancel(job, key.clone()).await;
        }
        let notice = tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notice) => notice,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Err(FollowError::Gone),
            },
            () = &mut unwanted, if !stopping => {
                stopping = true;
                continue;
            }
        };
        let counters = node.net().counters();
        let peers = node.net().peers().len() as u32;
        reporter.traffic(Traffic { peers, sent: counters.bytes_out, received: counters.bytes_in });
        match &notice {
            Notice::Submitted { job } if *job == ours => told(ours).map_err(FollowError::Failed)?,
            Notice::Submitted { .. } => continue,
            _ => {}
        }
        reporter.notice(&notice);
        match notice {
            Notice::Submitted { job } => submitted = Some(job),
            Notice::SubmitRefused { nonce: refused, why } if nonce.is_none_or(|nonce| nonce == refused) => {
                return Err(FollowError::Refused(why));
            }
            Notice::Ended { job, outcome, failure } if job == ours => {
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
