//! Detached jobs: a background process, the carrier, runs each job.
//!
//! `webmesh submit --detach` starts the carrier, the same program with the same arguments, in a session of its own,
//! and waits until it has submitted the job. Each detached job has a folder in the data folder, `detached/JOB`:
//!
//! - `log`: the carrier's events (see [`webmesh_node::progress`]). The carrier holds a lock on it until it exits for
//!   whatever reason, so other processes know for certain whether it runs.
//! - `result.tsv`: the result, once it is complete.
//! - `result.blake3`: its checksum, written before the result is renamed into place.
//!
//! Everything that is needed to resume the job is in its folder in `jobs` ([`webmesh_node::job_folder`]).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process, setsid};
use serde::de::IgnoredAny;
use tokio::process::Command;
use webmesh_node::advice::for_disk;
use webmesh_node::job_folder::{self, FolderError, LIFETIME};
use webmesh_node::platform::{files, private};
use webmesh_node::progress::{Display, JobProgress, ProgressEvent, StageProgress, Style};
use webmesh_node::results::{Checksum, OutputFile};
use webmesh_node::signals::Stop;
use webmesh_node::terminal;
use webmesh_protocol::JobId;

use crate::args::{JobArgs, ResultsArgs};
use crate::error::{CliError, interruptible};
use crate::output::Output;
use crate::{ask, home, out, stdin};

/// Size limit of a log: some hours of progress, of which only the last event matters. A larger log is truncated.
const LOG_BYTES: u64 = 4 << 20;
/// Poll interval for new events in a carrier's log.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The folder of all detached jobs, within the data folder.
const FOLDER: &str = "detached";
/// Prefix of the folder of a job that has no id yet.
const NEW: &str = "new-";
const LOG: &str = "log";
const RESULT: &str = "result.tsv";
const CHECKSUM: &str = "result.blake3";

// --- The carrier ------------------------------------------------------------------------------------------

/// Holds the carrier's lock until the process exits: the last event is the reason of a failure, and readers take an
/// unlocked log as complete.
static LOCK: OnceLock<File> = OnceLock::new();

/// A job's folder, locked by this process, its carrier.
pub(crate) struct Carried {
    folder: PathBuf,
    /// Locked while this process runs.
    log: File,
}

impl Carried {
    /// Starts a new session, so that closing the terminal does not stop this process, and locks the folder.
    pub(crate) fn take(folder: PathBuf) -> Result<Self, CliError> {
        let failed = |why: io::Error| cannot_use(&folder, &why);
        setsid().map_err(|why| failed(why.into()))?;
        let log = OpenOptions::new().append(true).open(folder.join(LOG)).map_err(failed)?;
        log.lock().map_err(failed)?;
        let held = log.try_clone().map_err(failed)?;
        LOCK.get_or_init(|| held);
        Ok(Self { folder, log })
    }

    /// A display that writes to the log.
    pub(crate) fn display(&self) -> Result<Display, CliError> {
        let file = self.log.try_clone().map_err(|why| cannot_use(&self.folder, &why))?;
        Ok(Display::to(Style::Json, Box::new(Log { file, kept: 0 })))
    }

    /// Renames the folder to the job's id.
    pub(crate) fn name(&mut self, job: JobId) -> Result<(), CliError> {
        let named = self.folder.with_file_name(job.to_string());
        fs::rename(&self.folder, &named).map_err(|why| cannot_use(&named, &why))?;
        self.folder = named;
        Ok(())
    }

    /// The file for the result.
    pub(crate) fn result(&self) -> Result<OutputFile, CliError> {
        Ok(OutputFile::create_private(&self.folder.join(RESULT))?)
    }

    /// Stores the checksum of the result. Call it after writing the result and before renaming it into place.
    pub(crate) fn seal(&self, sum: &Checksum) -> Result<(), CliError> {
        let path = self.folder.join(CHECKSUM);
        files::write(&path, sum.text().as_ref()).map_err(|why| cannot_use(&path, &why))
    }
}

/// A log that is truncated to the events up to the job's submission when it exceeds [`LOG_BYTES`]. Each write is one
/// line.
struct Log {
    file: File,
    kept: u64,
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.file.metadata()?.len() + line.len() as u64 > LOG_BYTES {
            self.file.set_len(self.kept)?;
        }
        self.file.write_all(line)?;
        if matches!(serde_json::from_slice(line), Ok(ProgressEvent::Submitted { .. })) {
            self.kept = self.file.metadata()?.len();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// --- Starting a carrier -----------------------------------------------------------------------------------

/// Starts a carrier, and prints the job's id once it has submitted the job.
pub(crate) async fn start(args: &JobArgs, stop: &Stop) -> Result<(), CliError> {
    if stdin::inputs(args)?.iter().any(|input| input.as_os_str() == stdin::STDIN) {
        return Err(CliError::Usage(
            "a detached job cannot read standard input, because it outlives this command: name files or folders"
                .to_owned(),
        ));
    }
    let all = home::data_dir(args.data.clone())?.join(FOLDER);
    private::create_folder(&all).map_err(|why| cannot_use(&all, &why))?;
    sweep(&all);
    // Removed on drop, if no job is submitted.
    let folder = private::temporary_folder().prefix(NEW).tempdir_in(&all).map_err(|why| cannot_use(&all, &why))?;
    // The carrier renames it once the job has its id.
    carry(folder.path(), std::env::args_os().skip(1), args.json, stop).await
}

/// Starts a carrier for a stopped job, and prints the job's id once it has resumed the job.
pub(crate) async fn restart(data_dir: &Path, job: &JobId, json: bool, stop: &Stop) -> Result<(), CliError> {
    let folder = data_dir.join(FOLDER).join(job.to_string());
    let failed = |why: io::Error| cannot_use(&folder, &why);
    private::create_folder(&folder).map_err(failed)?;
    if folder.join(LOG).exists() && is_carried(&folder).map_err(failed)? {
        return Err(FolderError::InUse { job: *job }.into());
    }
    // The previous carrier's events are obsolete.
    private::options().write(true).create(true).truncate(true).open(folder.join(LOG)).map_err(failed)?;
    carry(&folder, std::env::args_os().skip(1), json, stop).await
}

/// Starts a carrier with these arguments, and prints the job's id once it has submitted or resumed the job.
async fn carry(
    folder: &Path,
    arguments: impl Iterator<Item = OsString>,
    json: bool,
    stop: &Stop,
) -> Result<(), CliError> {
    let failed = |why: io::Error| cannot_use(folder, &why);
    let log = private::options().append(true).create(true).open(folder.join(LOG)).map_err(failed)?;
    let mut events = Reader::begin(folder).map_err(failed)?;
    let carrier = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.arg("--carry").arg(folder).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
    });
    let mut carrier = carrier.map_err(|why| CliError::Failed(format!("cannot start a process for the job: {why}")))?;
    let relay = Relay::new(json);
    let (mut interrupted, mut why) = (false, None);
    loop {
        // Checked first, so that the events below include everything that an ended carrier wrote.
        let ended = carrier.try_wait().map_err(failed)?;
        for event in events.read_new().map_err(failed)? {
            match event {
                ProgressEvent::Submitted { job, .. } => {
                    drop(relay);
                    return out::print(&if json { event.to_json() + "\n" } else { format!("{job}\n") });
                }
                ProgressEvent::Error { why: text } => why = Some(text),
                event => relay.show(&event),
            }
        }
        if let Some(status) = ended {
            let why = why.unwrap_or_else(|| format!("the job's process ended ({status}): {}", events.last_text));
            return Err(if status.code() == Some(2) { CliError::Usage(why) } else { CliError::Failed(why) });
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.first_signal(), if !interrupted => {
                interrupted = true;
                // The carrier reports the interruption itself. If it has exited already, its log has another reason.
                if let Some(pid) = carrier.id().and_then(|id| Pid::from_raw(id as i32)) {
                    let _ = kill_process(pid, Signal::INT);
                }
            }
        }
    }
}

// --- Fetching a result ------------------------------------------------------------------------------------

/// Writes the result of a detached job. Fails with the job's state if there is no result yet.
pub(crate) async fn results(args: ResultsArgs, stop: &Stop) -> Result<(), CliError> {
    let data_dir = home::data_dir(args.data.clone())?;
    let all = data_dir.join(FOLDER);
    sweep(&all);
    let job = match Kept::find(&all, &args.job) {
        Err(CliError::Failed(why)) if !args.bootstrap.is_empty() => {
            let known = interruptible(stop, ask::in_words(args.bootstrap, args.data, &args.job)).await?;
            return Err(CliError::Failed(format!("{why}; the mesh knows it: {known}")));
        }
        found => found?,
    };
    let failed = |why: io::Error| cannot_use(&job.folder, &why);
    let output = Output::open(args.output.as_deref(), stop).await?;
    let relay = Relay::new(args.json);
    let mut events = Reader::begin(&job.folder).map_err(|why| cannot_use(&job.folder.join(LOG), &why))?;
    let mut last = Last::default();
    loop {
        // Checked first, so that the events below include everything that an ended carrier wrote.
        let runs = job.is_carried().map_err(failed)?;
        for event in events.read_new().map_err(failed)? {
            // The outcome is reported after the loop.
            let is_end = matches!(event, ProgressEvent::Error { .. } | ProgressEvent::Result { .. });
            if args.wait && !is_end {
                relay.show(&event);
            }
            last.take(event);
        }
        // With `--json` the result event is needed too: the carrier writes it just after the file.
        if job.folder.join(RESULT).exists() && (last.result.is_some() || !runs || !args.json) {
            break;
        }
        if !runs {
            let stopped = CliError::Stopped.to_string();
            let why = match last.error.filter(|why| *why != stopped) {
                Some(why) => why,
                None => {
                    let ended = "its process was killed, or the machine went down";
                    match job.id.get(..8).filter(|_| job_folder::is_stopped(&data_dir, &job.id)) {
                        Some(begins) => {
                            format!("job {} has stopped: {ended}; `webmesh resume {begins}` resumes it", job.id)
                        }
                        None => format!("job {} is lost: {ended}; submit it again", job.id),
                    }
                }
            };
            return Err(CliError::Failed(why));
        }
        if !args.wait {
            let mut progress = last.progress.as_ref().map_or("no progress yet".to_owned(), progress_text);
            if let Some(why) = &last.waiting {
                progress += &format!("; waiting: {}", terminal::text(why));
            }
            let begins = job.id.get(..8).unwrap_or(&job.id);
            let remedy = format!("to wait for it: webmesh results {begins} --wait");
            return Err(CliError::Failed(format!("job {} is still running ({progress}); {remedy}", job.id)));
        }
        stop.until_signal(tokio::time::sleep(POLL_INTERVAL)).await.ok_or(CliError::Interrupted)?;
    }
    drop(relay);
    job.check_result()?;
    let mut result = File::open(job.folder.join(RESULT)).map_err(failed)?;
    output.copy(&mut result)?;
    if args.json
        && let Some(event) = last.result
    {
        out::print_to_stderr(&event.to_json());
    }
    Ok(())
}

/// A detached job on this machine.
struct Kept {
    id: String,
    folder: PathBuf,
}

impl Kept {
    /// Finds the job whose id begins with `wanted`.
    fn find(all: &Path, wanted: &str) -> Result<Self, CliError> {
        let kept = folders(all).filter(|folder| !wanted.is_empty() && name(folder).starts_with(wanted));
        let mut kept: Vec<_> = kept.filter(|folder| !name(folder).starts_with(NEW)).collect();
        match (kept.pop(), kept.is_empty()) {
            (Some(folder), true) => Ok(Self { id: name(&folder), folder }),
            (Some(_), false) => {
                Err(CliError::Usage(format!("the ids of several jobs begin with `{wanted}`; give more of the id")))
            }
            (None, _) => Err(CliError::Failed(format!(
                "no job `{wanted}` in {}: only jobs submitted with --detach on this machine are stored, for {} days",
                all.display(),
                LIFETIME.as_secs() / (24 * 3600)
            ))),
        }
    }

    fn is_carried(&self) -> io::Result<bool> {
        is_carried(&self.folder)
    }

    /// Verifies the result's checksum. A result without one is from an earlier version and is accepted.
    fn check_result(&self) -> Result<(), CliError> {
        let [result, kept] = [RESULT, CHECKSUM].map(|name| self.folder.join(name));
        let wanted = match fs::read(&kept) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            wanted => wanted.map_err(|why| cannot_use(&kept, &why))?,
        };
        let sum = Checksum::of_file(&result).map_err(|why| cannot_use(&result, &why))?;
        if sum.as_bytes() == wanted.trim_ascii_end() {
            return Ok(());
        }
        Err(CliError::Failed(format!(
            "the stored result {} is damaged: it does not match the checksum in {CHECKSUM} beside it; submit the job \
             again",
            result.display()
        )))
    }
}

/// The last event of each kind in a job's log.
#[derive(Default)]
struct Last {
    progress: Option<JobProgress>,
    /// What the job waits for; absent while it makes progress.
    waiting: Option<String>,
    /// The event of the written result.
    result: Option<ProgressEvent>,
    error: Option<String>,
}

impl Last {
    fn take(&mut self, event: ProgressEvent) {
        match event {
            ProgressEvent::Progress(progress) => self.progress = Some(progress),
            ProgressEvent::Waiting { why, .. } => self.waiting = Some(why),
            ProgressEvent::WaitingOver { .. } => self.waiting = None,
            ProgressEvent::Result { .. } => self.result = Some(event),
            ProgressEvent::Error { why } => self.error = Some(why),
            _ => {}
        }
    }
}

fn progress_text(progress: &JobProgress) -> String {
    let stage = |s: &StageProgress| format!("{} {} of {} tasks", s.name, s.done, s.tasks);
    progress.stages.iter().map(stage).collect::<Vec<_>>().join(", ")
}

// --- Shared helpers ---------------------------------------------------------------------------------------

/// The folders within `all`; none if it does not exist.
fn folders(all: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a carrier is running. The check holds a shared lock briefly, which can only delay a carrier's start.
fn is_carried(folder: &Path) -> io::Result<bool> {
    match File::open(folder.join(LOG))?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(why)) => Err(why),
    }
}

/// Removes the folders of jobs that have had no event for [`LIFETIME`].
fn sweep(all: &Path) {
    for folder in folders(all) {
        let last_word = fs::metadata(folder.join(LOG)).or_else(|_| fs::metadata(&folder)).and_then(|m| m.modified());
        let is_old = last_word.is_ok_and(|then| SystemTime::now().duration_since(then).is_ok_and(|age| age > LIFETIME));
        if is_old
            && !is_carried(&folder).unwrap_or(false)
            && let Err(why) = fs::remove_dir_all(&folder)
        {
            tracing::warn!("cannot remove {}: {why}", folder.display());
        }
    }
}

fn cannot_use(path: &Path, why: &io::Error) -> CliError {
    let remedy = for_disk(why, "choose another folder with --data");
    CliError::Failed(format!("cannot use {}: {why}; {remedy}", path.display()))
}

/// Reads a log while it grows.
struct Reader {
    file: File,
    /// The last line, if it is still incomplete.
    rest: Vec<u8>,
    /// The last line that was not an event, such as a panic message.
    last_text: String,
}

impl Reader {
    fn begin(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(folder.join(LOG))?, rest: Vec::new(), last_text: "it wrote no error".to_owned() })
    }

    /// The events since the last call.
    fn read_new(&mut self) -> io::Result<Vec<ProgressEvent>> {
        if self.file.metadata()?.len() < self.file.stream_position()? {
            self.rest.clear();
            self.file.seek(SeekFrom::Start(0))?;
        }
        self.file.read_to_end(&mut self.rest)?;
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let mut events = Vec::new();
        for line in self.rest[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(event) => events.push(event),
                // An event of another version.
                Err(_) if serde_json::from_slice::<IgnoredAny>(line).is_ok() => {}
                Err(_) => self.last_text = String::from_utf8_lossy(line).into_owned(),
            }
        }
        self.rest.drain(..whole);
        Ok(events)
    }
}

/// Shows a carrier's events as if this process ran the job.
enum Relay {
    /// As JSON.
    Json,
    /// As text or bars for users.
    Display(Display),
}

impl Relay {
    fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Display(Display::new(Style::of_stderr(false))) }
    }

    fn show(&self, event: &ProgressEvent) {
        match self {
            Self::Json => out::print_to_stderr(&event.to_json()),
            Self::Display(display) => display.show(event),
        }
    }
}
