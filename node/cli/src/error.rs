//! What a command fails with, and what the shell and its user are told.

use webmesh_compiler::{StartError, ToolchainError};
use webmesh_node::client::{ClientError, JobError};
use webmesh_node::http::HttpError;
use webmesh_node::job_folder::FolderError;
use webmesh_node::net::NetError;
use webmesh_node::peer::PeerError;
use webmesh_node::results::{OutputError, ResultError};
use webmesh_node::signals::Stop;
use webmesh_node::submit::{CompileError, FollowError};
use webmesh_node::terminal;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// Its user did not want it any more.
    #[error("interrupted")]
    Interrupted,
    /// There is no mesh.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The job gave no result.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The peer does not start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What is kept of a job.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The result.
    #[error(transparent)]
    Results(#[from] ResultError),
    /// The file for the result.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The toolchain.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The compiler.
    #[error(transparent)]
    Compiler(#[from] StartError),
}

impl CliError {
    /// 2 for wrong usage, 1 for the rest.
    pub(crate) fn exit_status(&self) -> u8 {
        let usage = match self {
            Self::Usage(_) | Self::Folder(FolderError::Ambiguous { .. }) => true,
            Self::Job(JobError::Inputs(why)) => why.is_usage(),
            Self::Job(JobError::Follow(why)) => matches!(why, FollowError::Refused(_)),
            _ => false,
        };
        if usage { 2 } else { 1 }
    }

    /// The text for standard error: what strangers wrote controls no terminal, and of clang's own words only the
    /// colours stay, where there is a terminal for them.
    pub(crate) fn text(&self, colours: bool) -> String {
        match self {
            Self::Job(JobError::Compile(CompileError::DoesNotCompile { .. })) => {
                terminal::diagnostics(&self.to_string(), colours)
            }
            _ => terminal::text(&self.to_string()),
        }
    }
}

/// Does `work` unless its user wants it no more.
pub(crate) async fn interruptible<T>(
    stop: &Stop,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    stop.until_told(work).await.unwrap_or(Err(CliError::Interrupted))
}
