//! Attacks by a compromised compiler, in every sandbox that works on this host. A shell takes the compiler's place.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Finished, Run, Sandbox, Stop, View, bubblewrap, landlock};
use crate::libraries;

const SHELL: &str = "/bin/sh";
const OUTPUT: usize = 64 << 10;
const PROCESSOR_TIME: Duration = Duration::from_secs(2);

fn run(sandbox: &Sandbox, script: &str, time: Duration) -> Finished {
    sandbox
        .run(&Run {
            program: SHELL.as_ref(),
            arguments: ["-c", script].map(Into::into).to_vec(),
            input: b"the input",
            output_limit: OUTPUT,
            messages_limit: OUTPUT,
            processor_time: PROCESSOR_TIME,
            deadline: Instant::now() + time,
            is_cancelled: &|| false,
        })
        .unwrap()
}

/// All sandboxes in which a shell runs.
fn sandboxes() -> Vec<Sandbox> {
    let libraries = libraries::of(&[SHELL.into()]).unwrap();
    let mut read_only: Vec<PathBuf> = libraries.into_iter().collect();
    read_only.push(SHELL.into());
    let view = View { read_only, folder: None, library_path: Vec::new() };
    let made = [
        bubblewrap::Bubblewrap::new(&view).map(Sandbox::Bubblewrap),
        landlock::Landlock::new(&view).map(Sandbox::Landlock),
    ];
    let mut working = Vec::new();
    for sandbox in made {
        match sandbox {
            Ok(sandbox) => {
                let finished = run(&sandbox, "echo alive", Duration::from_secs(30));
                if finished.output == b"alive\n" {
                    working.push(sandbox);
                } else {
                    eprintln!("NOT TESTED in {}: {finished:?}", sandbox.kind());
                }
            }
            Err(why) => eprintln!("NOT TESTED: {why}"),
        }
    }
    assert!(!working.is_empty(), "no sandbox works here: install bubblewrap (`make setup`)");
    working
}

#[test]
fn a_compromised_compiler_cannot_reach_the_host() {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let attempts = [
        ("start a process", "(:) && echo DONE"),
        ("start another program", "exec /usr/bin/env echo DONE"),
        ("signal a process", "kill -0 $$ && echo DONE"),
        ("read a file", "read line </etc/passwd && echo DONE"),
        ("read another's memory", "read line </proc/self/maps && echo DONE"),
        ("write beside its input", "echo x >/job/file && echo DONE"),
        ("write to the temporary folder", "echo x >/tmp/webmesh_sandbox_test && echo DONE"),
        ("write to the root", "echo x >/webmesh_sandbox_test && echo DONE"),
        ("write over its own program", ": >>/bin/sh && echo DONE"),
        ("list a folder", "for file in /etc/*; do [ \"$file\" = '/etc/*' ] || echo DONE; done"),
        ("raise its limits", "ulimit -v unlimited && echo DONE"),
        ("see who started it", &format!("[ \"$HOME\" = '{home}' ] && echo DONE")),
    ];
    for sandbox in sandboxes() {
        for (what, script) in &attempts {
            let finished = run(&sandbox, script, Duration::from_secs(30));
            let output = String::from_utf8_lossy(&finished.output);
            assert!(!output.contains("DONE"), "in {} it could {what}", sandbox.kind());
            assert_eq!(finished.stop, None, "in {} it hung when it tried to {what}", sandbox.kind());
        }
    }
}

#[test]
fn a_run_ends_at_its_deadline_and_at_its_output_limit() {
    for sandbox in sandboxes() {
        let start = Instant::now();
        let finished = run(&sandbox, "while :; do :; done", Duration::from_millis(500));
        assert_eq!(finished.stop, Some(Stop::Deadline));
        let finished = run(&sandbox, "while :; do echo more; done", Duration::from_secs(30));
        assert_eq!(finished.stop, Some(Stop::Output));
        assert!(finished.output.len() <= OUTPUT);
        let finished = run(&sandbox, "while :; do echo more >&2; done", Duration::from_millis(500));
        assert_eq!(finished.stop, Some(Stop::Deadline));
        assert!(finished.messages.len() == OUTPUT && finished.messages_missing > 0);
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    }
}

#[test]
fn a_run_that_exceeds_its_processor_time_is_distinguished_from_a_timeout() {
    for sandbox in sandboxes() {
        let finished = run(&sandbox, "while :; do :; done", Duration::from_secs(300));
        assert_eq!(finished.stop, None, "the kernel stopped it, not the clock");
        // The signal itself, or as an exit status of a shell or bubblewrap.
        let signal = finished.status.signal().or_else(|| finished.status.code().map(|code| code - 128));
        assert_eq!(signal, Some(libc::SIGXCPU), "{:?}", finished.status);
    }
}

#[test]
fn a_program_that_closes_its_output_still_has_a_deadline() {
    for sandbox in sandboxes() {
        let finished = run(&sandbox, "exec >&- 2>&-; while :; do :; done", Duration::from_millis(500));
        assert_eq!(finished.stop, Some(Stop::Deadline));
    }
}

#[test]
fn the_exit_status_and_both_outputs_are_returned() {
    for sandbox in sandboxes() {
        let finished = run(&sandbox, "echo out; echo err >&2; exit 7", Duration::from_secs(30));
        assert_eq!((finished.status.code(), finished.stop), (Some(7), None));
        assert_eq!((&*finished.output, &*finished.messages), (&b"out\n"[..], &b"err\n"[..]));
    }
}
