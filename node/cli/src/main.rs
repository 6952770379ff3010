//! `webmesh`: runs jobs, runs a peer, and asks a mesh about its jobs and peers.

mod args;
mod ask;
mod closed;
mod compiler;
mod detached;
mod error;
mod home;
mod job;
mod log;
mod out;
mod output;
mod resume;
mod run;
mod serve;
mod stdin;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use webmesh_node::progress::ProgressEvent;
use webmesh_node::signals::Stop;
use webmesh_node::terminal;

use crate::args::{Cli, Command};
use crate::error::{CliError, interruptible};

/// At the second signal, whatever runs is dropped, and its temporary files with it. This is how long it is given.
const DROP_TIME: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    webmesh_node::exec::run_if_asked();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // With `--json`, usage errors are JSON too.
        Err(why) if why.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            return report(&CliError::Usage(why.to_string().trim_start_matches("error: ").trim_end().to_owned()), true);
        }
        Err(why) => why.exit(),
    };
    // A carrier's standard error is the log of its job.
    let json = cli.command.is_json() || cli.carry.is_some();
    log::start(cli.verbose, json);
    webmesh_node::platform::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return report(&CliError::Failed(format!("cannot start the async runtime: {why}")), json),
    };
    let outcome = runtime.block_on(async {
        let stop = Stop::listen().map_err(|why| CliError::Failed(format!("cannot install signal handlers: {why}")))?;
        tokio::select! {
            outcome = execute(cli, &stop) => outcome.map(Some),
            () = stop.second_signal() => Ok(None),
        }
    });
    // Does not wait for blocking threads, such as a task that has not noticed its cancellation yet.
    if matches!(outcome, Ok(None)) {
        runtime.shutdown_timeout(DROP_TIME);
    } else {
        runtime.shutdown_background();
    }
    match outcome {
        Ok(Some(())) => ExitCode::SUCCESS,
        Ok(None) => report(&CliError::Interrupted, json),
        Err(why) => report(&why, json),
    }
}

async fn execute(cli: Cli, stop: &Stop) -> Result<(), CliError> {
    match cli.command {
        Command::Run(args) => run::run(args, stop).await,
        Command::Submit(args) => match cli.carry {
            Some(folder) => run::submit(args.job, args.bootstrap, Some(detached::Carried::take(folder)?), stop).await,
            None if args.detach => detached::start(&args.job, stop).await,
            None => run::submit(args.job, args.bootstrap, None, stop).await,
        },
        Command::Resume(args) => resume::resume(args, cli.carry, stop).await,
        Command::Results(args) => detached::results(args, stop).await,
        Command::Node(args) => serve::node(args, stop).await,
        Command::Jobs(args) => interruptible(stop, ask::jobs(args)).await,
        Command::Status(args) => interruptible(stop, ask::status(args)).await,
        Command::Cancel(args) => interruptible(stop, ask::cancel(args)).await,
        Command::Peers(args) => interruptible(stop, ask::peers(args)).await,
    }
}

fn report(why: &CliError, json: bool) -> ExitCode {
    if json {
        out::print_to_stderr(&ProgressEvent::Error { why: why.text(false) }.to_json());
    } else {
        out::print_to_stderr(&format!("webmesh: {}", why.text(terminal::has_colours())));
    }
    ExitCode::from(why.exit_status())
}
