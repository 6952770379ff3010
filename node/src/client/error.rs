//! Why there is no mesh, or no result.

use std::error::Error;
use std::io;

use webmesh_protocol::JobId;

use crate::inputs::InputError;
use crate::job_folder::FolderError;
use crate::net::NetError;
use crate::peer::PeerError;
use crate::results::OutputError;
use crate::submit::{CompileError, FollowError};

/// Why a client cannot get to a mesh.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its peer does not start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// No peer of a mesh answers.
    #[error("cannot join the mesh: {}", reasons.join("\n  "))]
    NoMesh {
        /// Why, of each address; then what to do.
        reasons: Vec<String>,
    },
    /// Peers of the mesh within this process do not connect to each other.
    #[error("the peers of the embedded mesh could not connect to each other")]
    Apart,
    /// There is no room for temporary files.
    #[error("cannot create a temporary folder: {0}")]
    Scratch(io::Error),
}

/// Why a job gave no result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was cancelled before it was submitted, or while its result was written.
    #[error("interrupted")]
    Interrupted,
    /// The job does not compile, or no compiler is available.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The inputs cannot be read.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// It was refused, it failed, or it was cancelled.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The key of its owner cannot be used.
    #[error(transparent)]
    Key(#[from] NetError),
    /// What is needed to go on with it cannot be kept, or be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file for its result cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// There is no room for its result.
    #[error("the result cannot be kept: {0}")]
    Scratch(io::Error),
    /// The job is done, and its result is not written. Where the client has a data folder, the job can be resumed, which
    /// writes the result again.
    #[error("{why}")]
    Write {
        /// The job.
        job: JobId,
        /// What went wrong.
        why: Box<dyn Error + Send + Sync>,
    },
    /// The job is done, and nothing of its result was kept.
    #[error("job {job} is done, but its result is missing on this machine")]
    NoResult {
        /// The job.
        job: JobId,
    },
    /// A job that should go on has ended.
    #[error("job {job} has ended: {why}")]
    Over {
        /// The job.
        job: JobId,
        /// How it ended.
        why: String,
    },
    /// A job that should go on is done, and its result is damaged.
    #[error(
        "job {job} is done, but its result on this disk is damaged: submit it again, and remove the files of this one with \
         `webmesh resume {} --discard`",
        job.short()
    )]
    Damaged {
        /// The job.
        job: JobId,
    },
    /// The inputs of a job that should go on have changed.
    #[error(
        "the inputs of job {} have changed since it was submitted:\n  {}\nput them back as they were and run `webmesh resume \
         {}` again, or submit the job again and remove the files of this one with `webmesh resume {} --discard`", job.short(), names.join("\n  "), job.short(), job.short()
    )]
    InputsChanged {
        /// The job.
        job: JobId,
        /// The first of the files, with what is different.
        names: Vec<String>,
    },
    /// What is kept of a job names no mesh.
    #[error("the job's record is damaged: {0}")]
    Record(String),
    /// A job that should go on finds no mesh.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A fault of this library.
    #[error("{0} panicked: {1}")]
    Panicked(&'static str, tokio::task::JoinError),
}
