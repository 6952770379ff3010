//! Standard input as the input of a job: when it is read, and the commands that unpack files into it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use webmesh_node::client::JobError;
use webmesh_node::inputs::unpack_advice;
use webmesh_node::terminal::shell_word;

use crate::args::JobArgs;
use crate::error::CliError;

/// The INPUT that means standard input.
pub(crate) const STDIN: &str = "-";

/// The inputs of a job. By default, unless `--tasks` is given, it is standard input if that is a pipe or a file.
///
/// # Errors
/// [`CliError::Usage`] if there is no input at all: standard input is a terminal or `/dev/null`.
pub(crate) fn inputs(args: &JobArgs) -> Result<Vec<PathBuf>, CliError> {
    if !args.inputs.is_empty() || args.tasks.is_some() {
        return Ok(args.inputs.clone());
    }
    if is_piped() {
        return Ok(vec![STDIN.into()]);
    }
    Err(CliError::Usage(format!(
        "no INPUT for {}: name files or folders, pipe something in (cat FILE | webmesh run JOB.cpp), or give --tasks N \
         for a job whose documents are the numbers from 0 to N-1",
        args.source.display()
    )))
}

/// Whether standard input is a pipe, a file or a socket, as opposed to a device.
fn is_piped() -> bool {
    let kind = io::stdin().as_fd().try_clone_to_owned().and_then(|stdin| File::from(stdin).metadata());
    kind.is_ok_and(|kind| {
        let kind = kind.file_type();
        kind.is_file() || kind.is_fifo() || kind.is_socket()
    })
}

/// The error of an input. If it is about a packed file, with the command that unpacks it into the job.
pub(crate) fn with_advice(why: CliError, args: &JobArgs) -> CliError {
    let CliError::Job(JobError::Inputs(inputs)) = &why else { return why };
    match inputs.unpacked_by() {
        Some(unpack) => CliError::Failed(format!("{inputs}; {}", unpack_advice(&unpack, &this_command(args)))),
        None => why,
    }
}

/// The command line of this process, with standard input in place of its inputs.
pub(crate) fn this_command(args: &JobArgs) -> String {
    let mut words: Vec<String> = Vec::new();
    let (mut source, mut stdin) = (false, false);
    let mut given = std::env::args_os();
    while let Some(word) = given.next() {
        // A detached job cannot read standard input.
        if word == "--carry" {
            given.next();
        } else if word == "--detach" {
        } else if !source && word == args.source {
            source = true;
            words.push(shell_word(&word.to_string_lossy()));
        } else if args.inputs.iter().any(|input| *input == word) {
            if !std::mem::replace(&mut stdin, true) {
                words.push(STDIN.to_owned());
            }
        } else {
            words.push(shell_word(&word.to_string_lossy()));
        }
    }
    words.join(" ")
}
