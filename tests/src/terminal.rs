//! Runs a command on a terminal, and records what a user would see.

use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::process::Watchdog;

/// Lines of the terminal.
const ROWS: NonZero<u16> = NonZero::new(24).expect("it has lines");
/// Columns of the terminal.
const COLUMNS: NonZero<u16> = NonZero::new(120).expect("it has columns");

/// What a command showed on a terminal that was its standard error.
#[derive(Debug)]
pub struct Seen {
    /// Each screen that differed from the one before, as text, without trailing spaces.
    pub screens: Vec<String>,
    /// Its exit status.
    pub status: ExitStatus,
}

/// Runs a command to its end on a terminal, except for its standard output, which goes to the file `stdout`.
pub fn watch(command: &Command, stdout: &Path) -> Seen {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> = words.map(|word| quote(word.to_str().expect("these words are text"))).collect();
    let line = format!(
        "stty rows {ROWS} cols {COLUMNS} && exec {} >{}",
        quoted.join(" "),
        quote(&stdout.display().to_string())
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script is there (bsdutils)");
    let _watchdog = Watchdog::over(&child);
    let mut shown = child.stdout.take().expect("what is shown is piped");
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    let (mut screens, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = shown.read(&mut buffer).expect("what is shown can be read");
        if read == 0 {
            break;
        }
        parser.process(&buffer[..read]);
        // Row by row: indicatif fills lines up to the edge, and they would be taken for a wrapped line.
        let rows: Vec<String> = parser.screen().rows(0, COLUMNS.get()).collect();
        let screen = rows.join("\n");
        if screens.last() != Some(&screen) {
            screens.push(screen);
        }
    }
    Seen { screens, status: child.wait().expect("it can be waited for") }
}

/// A word quoted for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
