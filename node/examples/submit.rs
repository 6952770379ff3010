//! Submits a job and prints its result: `cargo run --example submit -- ADDRESS JOB.cpp INPUT…`

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

use webmesh_node::client::{Client, JobSpec, Options};
use webmesh_node::progress::ProgressEvent;

/// Runs a job over `inputs` on the mesh of `peer` and returns its result.
pub(crate) async fn submit(peer: &str, source: &Path, inputs: Vec<PathBuf>) -> Result<String, Box<dyn Error>> {
    let client = Client::connect(Options { bootstrap: vec![peer.parse()?], ..Options::default() }).await?;
    let job = client.submit(JobSpec { source: std::fs::read(source)?.into(), inputs, ..JobSpec::default() });
    let mut events = job.events();
    while let Some(event) = events.next().await {
        if let ProgressEvent::Progress(progress) = event {
            progress.stages.iter().for_each(|stage| eprintln!("{} {}/{}", stage.name, stage.done, stage.tasks));
        }
    }
    let result = job.result().await?;
    eprintln!("{} lines in {:.1} s", result.lines, result.seconds);
    let mut lines = String::new();
    result.into_reader()?.read_to_string(&mut lines)?;
    client.leave().await;
    Ok(lines)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, source, inputs @ ..] = &arguments[..] else {
        return Err("usage: submit ADDRESS JOB.cpp INPUT…".into());
    };
    print!("{}", submit(peer, source.as_ref(), inputs.iter().map(PathBuf::from).collect()).await?);
    Ok(())
}
