//! Submits or resumes a job and follows it to its end.

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
    /// The job was refused before it started.
    #[error("{0}")]
    Refused(String),
    /// The job failed.
    #[error("the job failed: {0}")]
    Failed(String),
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The job could not be cancelled because this peer no longer knows it.
    #[error("the job cannot be cancelled: {0}")]
    Lost(String),
    /// This peer shut down before the job ended.
    #[error("this peer shut down before the job ended")]
    Gone,
}

/// How a job starts.
#[derive(Debug)]
pub enum Begin {
    /// The job is submitted.
    New {
        /// The manifest; its owner and home are filled in.
        manifest: Box<Manifest>,
        /// Whether decisions are stored in the job's folder, which must exist (see [`crate::job_folder`]).
        kept: bool,
    },
    /// The job is resumed: this peer was started with it.
    Resumed(JobId),
}

/// The manifest as this peer's engine will sign it, and the job id that results.
pub fn named(node: &Node, manifest: Manifest, key: &Keypair) -> (Manifest, JobId) {
    let manifest = Manifest { owner: key.public(), home: node.net().peer(), ..manifest };
    let job = Manifest::id_of(&key.sign(&manifest));
    (manifest, job)
}

/// Starts a job and follows it to its end, with its progress reported to `reporter`. The job is cancelled when
/// `unwanted` completes. `on_submitted` is called with the job's id when the job is announced; if it returns an error,
/// this function returns [`FollowError::Failed`] with it.
///
/// # Errors
/// [`FollowError`]: why there is no result.
pub async fn follow(
    node: &Node,
    begin: Begin,
    key: &Keypair,
    (reporter, outline): (&Reporter, &Outline),
    unwanted: impl Future<Output = ()>,
    mut on_submitted: impl FnMut(JobId) -> Result<(), String>,
) -> Result<JobId, FollowError> {
    // The notices are about all jobs of this peer.
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
        // A cancellation before the job has its id takes effect as soon as it has one.
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
            Notice::Submitted { job } if *job == ours => on_submitted(ours).map_err(FollowError::Failed)?,
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
            // This peer no longer knows its own job: there will be no further notices about it.
            Notice::CancelRefused { job, why } if Some(job) == submitted => return Err(FollowError::Lost(why)),
            Notice::Log(text) => tracing::info!("{text}"),
            _ => {}
        }
    }
}
