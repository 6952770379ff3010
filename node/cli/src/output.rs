//! The destination of a result: a file or standard output.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use webmesh_node::client::Results;
use webmesh_node::progress::Display;
use webmesh_node::results::{OutputFile, ResultError, Stats};
use webmesh_node::signals::Stop;

use crate::error::{CliError, interruptible};
use crate::out;

/// The argument of -o that means standard output.
const STDOUT: &str = "-";

/// The destination of a result.
pub(crate) enum Output {
    Stdout(File),
    File(OutputFile),
}

impl Output {
    /// Opens the file named with `-o`, or standard output. Called before the job starts, so that a file that cannot be
    /// written is reported at once.
    pub(crate) async fn open(named: Option<&Path>, stop: &Stop) -> Result<Self, CliError> {
        let Some(path) = named.filter(|path| path.as_os_str() != STDOUT) else {
            return Ok(Self::Stdout(out::stdout()?));
        };
        let path = path.to_owned();
        // On a blocking thread: opening a named pipe waits for its reader.
        let opening = tokio::task::spawn_blocking(move || OutputFile::create(&path));
        let opened =
            async { Ok(opening.await.map_err(|e| CliError::Failed(format!("opening the output panicked: {e}")))??) };
        interruptible(stop, opened).await.map(Self::File)
    }

    /// The path of the file that the result is written to, which must not be an input of the same job; `None` if it is
    /// not a file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Stdout(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => {
                std::fs::canonicalize("/dev/stdout").ok()
            }
            Self::Stdout(_) => None,
            Self::File(file) => Some(file.target().to_owned()),
        }
    }

    /// Merges the results into it; `None` if the reader of standard output has closed it. If that is a terminal, `display`
    /// removes its bars first, which would otherwise be drawn over the results.
    pub(crate) fn write(self, results: Results, display: &Arc<Display>) -> Result<Option<Stats>, CliError> {
        let (writer, file) = match self {
            Self::Stdout(out) if out.is_terminal() => {
                return match results.merge(Cleared { out, display: Some(display.clone()) }) {
                    Err(ResultError::Write(why)) => out::unless_closed(Err(why)),
                    merged => Ok(Some(merged?)),
                };
            }
            Self::Stdout(out) => (out, None),
            Self::File(file) => (file.writer()?, Some(file)),
        };
        let stats = match results.merge(writer) {
            Err(ResultError::Write(why)) => {
                return match file {
                    Some(file) if !(file.is_direct() && why.kind() == io::ErrorKind::BrokenPipe) => {
                        Err(file.error(why).into())
                    }
                    _ => out::unless_closed(Err(why)),
                };
            }
            merged => merged?,
        };
        file.map_or(Ok(()), OutputFile::finish)?;
        Ok(Some(stats))
    }

    /// Copies a complete result into it.
    pub(crate) fn copy(self, result: &mut File) -> Result<(), CliError> {
        match self {
            Self::Stdout(mut out) => out::unless_closed(io::copy(result, &mut out)).map(drop),
            Self::File(file) => {
                match io::copy(result, &mut file.writer()?) {
                    Err(why) if file.is_direct() && why.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(why) => return Err(file.error(why).into()),
                    Ok(_) => {}
                }
                Ok(file.finish()?)
            }
        }
    }
}

/// A terminal from which bars are removed at the first write.
struct Cleared {
    out: File,
    display: Option<Arc<Display>>,
}

impl Write for Cleared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(display) = self.display.take() {
            display.clear();
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
