//! Errors of the client and of its jobs.

use std::error::Error;
use std::io;

use webmesh_protocol::JobId;

use crate::inputs::InputError;
use crate::job_folder::FolderError;
use crate::net::NetError;
use crate::peer::PeerError;
use crate::results::OutputError;
use crate::submit::{CompileError, FollowError};

/// Why a client cannot connect to a mesh.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client's peer cannot start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// No peer of the mesh could be reached.
    #[error("cannot join the mesh: {}", reasons.join("\n  "))]
    NoMesh {
        /// The error of each address, then what to do about it.
        reasons: Vec<String>,
    },
    /// The peers of an embedded mesh did not connect to each other in time.
    #[error("the peers of the embedded mesh could not connect to each other")]
    Apart,
    /// Temporary files cannot be created.
    #[error("cannot create a temporary folder: {0}")]
    Scratch(io::Error),
}

/// Why a job gave no result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job was cancelled before it was submitted, or while its result was being written.
    #[error("interrupted")]
    Interrupted,
    /// The job does not compile, or no compiler is available.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The inputs cannot be read.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// The job was refused, failed, or was cancelled.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The owner's key cannot be read or created.
    #[error(transparent)]
    Key(#[from] NetError),
    /// The folder for resuming the job cannot be written or read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The output file cannot be created.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The temporary file for the result cannot be created.
    #[error("cannot create a temporary file for the result: {0}")]
    Scratch(io::Error),
    /// The job is done, but writing its result failed. If the client has a data folder, resuming the job writes the
    /// result again.
    #[error("{why}")]
    Write {
        /// The job.
        job: JobId,
        /// The error.
        why: Box<dyn Error + Send + Sync>,
    },
    /// The job is done, but this peer has no results of it.
    #[error("job {job} is done, but its result is missing on this machine")]
    NoResult {
        /// The job.
        job: JobId,
    },
    /// The job to resume had already failed or been cancelled.
    #[error("job {job} cannot be resumed: {why}")]
    Over {
        /// The job.
        job: JobId,
        /// How it ended.
        why: String,
    },
    /// The job to resume is done, but its stored result is damaged.
    #[error(
        "job {job} is done, but its stored result is damaged: submit the job again, and remove the files of this one \
         with `webmesh resume {} --discard`",
        job.short()
    )]
    Damaged {
        /// The job.
        job: JobId,
    },
    /// The inputs of the job to resume have changed.
    #[error(
        "the inputs of job {} have changed since it was submitted:\n  {}\nput them back as they were, and run `webmesh \
         resume {}` again; or submit the job again, and remove the files of this one with `webmesh resume {} \
         --discard`",
        job.short(), names.join("\n  "), job.short(), job.short()
    )]
    InputsChanged {
        /// The job.
        job: JobId,
        /// The first changed files, each with how it changed.
        names: Vec<String>,
    },
    /// The job's record contains no valid address of a mesh.
    #[error("the job's record is damaged: {0}")]
    Record(String),
    /// A resumed job cannot connect to its mesh.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A task of this library panicked: what it was doing, and the panic.
    #[error("{0} panicked: {1}")]
    Panicked(&'static str, tokio::task::JoinError),
}
