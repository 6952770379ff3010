//! The compiler that this process brings to the mesh.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use webmesh_compiler::{Compiler, CompilerConfig, Toolchain, answer};
use webmesh_node::host::{CompileAnswer, CompileService};
use webmesh_protocol::PeerKey;

use crate::error::CliError;

/// Starts the compiler of this machine.
pub(crate) async fn start(data_dir: &Path) -> Result<Arc<dyn CompileService>, CliError> {
    let config = CompilerConfig::new(data_dir.join("modules"));
    // Sandboxes are tried out: that takes its time, and waits.
    let started = tokio::task::spawn_blocking(|| Ok(Compiler::new(Toolchain::find(None)?, config)?)).await;
    let compiler: Result<Compiler, CliError> =
        started.map_err(|e| CliError::Failed(format!("starting the compiler ended in a panic: {e}")))?;
    let compiler = Arc::new(compiler?);
    Ok(Arc::new(move |from: PeerKey, name: String, source: Bytes| -> CompileAnswer {
        let compiler = compiler.clone();
        Box::pin(async move { answer(&compiler, from.0, &name, &source).await })
    }))
}
