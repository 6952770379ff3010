//! Errors of commands: text and exit status.

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

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// The command failed; the text says why.
    #[error("{0}")]
    Failed(String),
    /// The user interrupted the command.
    #[error("interrupted")]
    Interrupted,
    /// SIGTERM stopped the process of a detached job, which can be resumed.
    #[error("its process was stopped (SIGTERM)")]
    Stopped,
    /// The client cannot connect to a mesh.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The job ended without a result.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The peer cannot start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The HTTP server cannot start.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The folder of a job cannot be found or used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The results cannot be merged or written.
    #[error(transparent)]
    Results(#[from] ResultError),
    /// The output file cannot be created or written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// There is no usable C++ toolchain.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The compiler cannot start.
    #[error(transparent)]
    Compiler(#[from] StartError),
}

impl CliError {
    /// 2 for wrong usage, 1 for any other error.
    pub(crate) fn exit_status(&self) -> u8 {
        let usage = match self {
            Self::Usage(_) | Self::Folder(FolderError::Ambiguous { .. }) => true,
            Self::Job(JobError::Inputs(why)) => why.is_usage(),
            Self::Job(JobError::Follow(why)) => matches!(why, FollowError::Refused(_)),
            _ => false,
        };
        if usage { 2 } else { 1 }
    }

    /// The text for standard error. Control characters are escaped, because other peers may have written them; clang's
    /// colours are kept if `colours` is true.
    pub(crate) fn text(&self, colours: bool) -> String {
        match self {
            Self::Job(JobError::Compile(CompileError::DoesNotCompile { .. })) => {
                terminal::diagnostics(&self.to_string(), colours)
            }
            _ => terminal::text(&self.to_string()),
        }
    }
}

/// Runs `work` until it is done or the user interrupts it.
///
/// # Errors
/// Those of `work`, or [`CliError::Interrupted`].
pub(crate) async fn interruptible<T>(
    stop: &Stop,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    stop.until_signal(work).await.unwrap_or(Err(CliError::Interrupted))
}
