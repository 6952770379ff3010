//! The compiler of this process, which serves its mesh.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use webmesh_compiler::{Compiler, CompilerConfig, Toolchain, answer};
use webmesh_node::host::{CompileAnswer, CompileService};
use webmesh_protocol::PeerKey;

use crate::error::CliError;

/// Starts the compiler, with its module cache in `data_dir`.
pub(crate) async fn start(data_dir: &Path) -> Result<Arc<dyn CompileService>, CliError> {
    let config = CompilerConfig::new(data_dir.join("modules"));
    // On a blocking thread, because it tries out the sandboxes.
    let started = tokio::task::spawn_blocking(|| Ok(Compiler::new(Toolchain::find(None)?, config)?)).await;
    let compiler: Result<Compiler, CliError> =
        started.map_err(|e| CliError::Failed(format!("starting the compiler panicked: {e}")))?;
    let compiler = Arc::new(compiler?);
    Ok(Arc::new(move |from: PeerKey, name: String, source: Bytes| -> CompileAnswer {
        let compiler = compiler.clone();
        Box::pin(async move { answer(&compiler, from.0, &name, &source).await })
    }))
}
