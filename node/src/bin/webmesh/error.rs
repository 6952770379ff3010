//! What a command fails with, and what the shell is told.

use webmesh_compiler::{StartError, ToolchainError};
use webmesh_node::http::HttpError;
use webmesh_node::inputs::InputError;
use webmesh_node::net::NetError;
use webmesh_node::peer::PeerError;
use webmesh_node::results::ResultError;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
    /// The peer does not start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The inputs.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// The result.
    #[error(transparent)]
    Results(#[from] ResultError),
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
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}
