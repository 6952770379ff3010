//! `webmesh`: run jobs, be a peer, ask a mesh what it does.

mod args;
mod ask;
mod compiler;
mod error;
mod home;
mod mesh;
mod run;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::error::CliError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.verbose);
    webmesh_node::platform::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return report(&CliError::Failed(format!("no threads can be had: {why}"))),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::Submit(args) => run::submit(args).await,
            Command::Node(args) => serve::node(args).await,
            Command::Jobs(args) => ask::jobs(args).await,
            Command::Status(args) => ask::status(args).await,
            Command::Cancel(args) => ask::cancel(args).await,
            Command::Peers(args) => ask::peers(args).await,
        }
    });
    // Blocking reads (a task that ignores its cancelling for a few milliseconds) are not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => report(&why),
    }
}

fn report(why: &CliError) -> ExitCode {
    eprintln!("webmesh: {why}");
    ExitCode::from(why.exit_status())
}

/// The log goes to standard error: standard output carries results alone.
fn start_log(verbose: u8) {
    let level = ["warn,libp2p_kad=error", "info,libp2p=warn", "debug"][usize::from(verbose.min(2))];
    let filter = std::env::var("WEBMESH_LOG").unwrap_or_else(|_| level.to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
