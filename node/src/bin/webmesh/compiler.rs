//! The compiler that this process brings to the mesh.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use webmesh_compiler::{Compiler, CompilerConfig, Toolchain, answer};
use webmesh_node::host::{CompileAnswer, CompileService};
use webmesh_protocol::PeerKey;

use crate::error::CliError;

/// Starts the compiler of this machine.
pub(crate) fn start(data_dir: &Path) -> Result<Arc<dyn CompileService>, CliError> {
    let toolchain = Toolchain::find(None)?;
    let compiler = Arc::new(Compiler::new(toolchain, CompilerConfig::new(data_dir.join("modules")))?);
    Ok(Arc::new(move |from: PeerKey, name: String, source: Bytes| -> CompileAnswer {
        let compiler = compiler.clone();
        Box::pin(async move { answer(&compiler, from.0, &name, &source).await })
    }))
}
