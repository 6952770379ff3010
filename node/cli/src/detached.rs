//! Detached jobs: carried by a process in the background, for as long as that process lives.
//!
//! `webmesh submit --detach` starts the carrier, the same program with the same arguments, in a session of its own,
//! and waits until it has submitted the job. Each detached job has a folder in the data folder, `detached/JOB`:
//!
//! - `log`: what the carrier says, as events (see [`webmesh_node::progress`]). The carrier holds a lock on it, so that
//!   whether it lives is never a guess, however it ends.
//! - `result.tsv`: the result, once it is whole.
//! - `result.blake3`: its checksum, written before the result gets its name.
//!
//! Everything else about a job that may have to go on lies in its folder in `jobs` ([`webmesh_node::job_folder`]).

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
use webmesh_node::progress::{Display, JobProgress, ProgressEvent, StageProgress, Style};
use webmesh_node::results::{Checksum, OutputFile};
use webmesh_node::signals::Stop;
use webmesh_node::terminal;
use webmesh_protocol::JobId;

use crate::args::{JobArgs, ResultsArgs};
use crate::error::{CliError, interruptible};
use crate::output::Output;
use crate::{ask, home, out, stdin};

/// A log is cut back when it is larger: some hours of progress, of which the last is what matters.
const LOG_BYTES: u64 = 4 << 20;
/// How often it is looked whether a carrier has said more.
const LOOK: Duration = Duration::from_millis(50);
/// Where their folders lie in the data folder.
const FOLDER: &str = "detached";
/// Folders of jobs that have no id yet begin so.
const NEW: &str = "new-";
const LOG: &str = "log";
const RESULT: &str = "result.tsv";
const CHECKSUM: &str = "result.blake3";

// --- The carrier ------------------------------------------------------------------------------------------

/// Keeps a carrier's lock until the process is gone: why a job failed is the last that it says, and whoever finds the
/// log unlocked takes what stands there for all there is.
static LOCK: OnceLock<File> = OnceLock::new();

/// The carrier's hold on its job's folder.
pub(crate) struct Carried {
    folder: PathBuf,
    /// Locked while this process lives.
    log: File,
}

impl Carried {
    /// Leaves the session of whoever started this process, and takes the folder.
    pub(crate) fn take(folder: PathBuf) -> Result<Self, CliError> {
        let failed = |why: io::Error| trouble(&folder, &why);
        setsid().map_err(|why| failed(why.into()))?;
        let log = OpenOptions::new().append(true).open(folder.join(LOG)).map_err(failed)?;
        log.lock().map_err(failed)?;
        let held = log.try_clone().map_err(failed)?;
        LOCK.get_or_init(|| held);
        Ok(Self { folder, log })
    }

    /// A display that writes to the log.
    pub(crate) fn display(&self) -> Result<Display, CliError> {
        let file = self.log.try_clone().map_err(|why| trouble(&self.folder, &why))?;
        Ok(Display::to(Style::Json, Box::new(Log { file, kept: 0 })))
    }

    /// Gives the folder the name of its job.
    pub(crate) fn name(&mut self, job: JobId) -> Result<(), CliError> {
        let named = self.folder.with_file_name(job.to_string());
        fs::rename(&self.folder, &named).map_err(|why| trouble(&named, &why))?;
        self.folder = named;
        Ok(())
    }

    /// The file for the result.
    pub(crate) fn result(&self) -> Result<OutputFile, CliError> {
        Ok(OutputFile::create(&self.folder.join(RESULT))?)
    }

    /// Keeps the checksum of the result, which must be written and have no name yet.
    pub(crate) fn seal(&self, sum: &Checksum) -> Result<(), CliError> {
        let path = self.folder.join(CHECKSUM);
        fs::write(&path, sum.text()).map_err(|why| trouble(&path, &why))
    }
}

/// A log that is cut back to what was said up to the job's submission when it grows too long. Each write is a line.
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

// --- Whoever starts it ------------------------------------------------------------------------------------

/// Starts a carrier, and prints the job's id once it has submitted the job.
pub(crate) async fn start(args: &JobArgs, stop: &Stop) -> Result<(), CliError> {
    if stdin::inputs(args)?.iter().any(|input| input.as_os_str() == stdin::STDIN) {
        return Err(CliError::Usage(
            "standard input cannot be the input of a detached job, which outlives it: name files or folders".to_owned(),
        ));
    }
    let all = home::data_dir(args.data.clone())?.join(FOLDER);
    fs::create_dir_all(&all).map_err(|why| trouble(&all, &why))?;
    sweep(&all);
    // Removed where this ends without a job.
    let folder = tempfile::Builder::new().prefix(NEW).tempdir_in(&all).map_err(|why| trouble(&all, &why))?;
    // The carrier renames it once the job has its id.
    carry(folder.path(), std::env::args_os().skip(1), args.json, stop).await
}

/// Starts a carrier for a job that has stopped, and prints the job's id once it goes on.
pub(crate) async fn restart(data_dir: &Path, job: &JobId, json: bool, stop: &Stop) -> Result<(), CliError> {
    let folder = data_dir.join(FOLDER).join(job.to_string());
    let failed = |why: io::Error| trouble(&folder, &why);
    fs::create_dir_all(&folder).map_err(failed)?;
    if folder.join(LOG).exists() && is_carried(&folder).map_err(failed)? {
        return Err(FolderError::InUse { job: *job }.into());
    }
    // What the carrier before said is of no use any more.
    File::create(folder.join(LOG)).map_err(failed)?;
    carry(&folder, std::env::args_os().skip(1), json, stop).await
}

/// Starts a carrier with these arguments, and prints the job's id once the job is submitted.
async fn carry(
    folder: &Path,
    arguments: impl Iterator<Item = OsString>,
    json: bool,
    stop: &Stop,
) -> Result<(), CliError> {
    let failed = |why: io::Error| trouble(folder, &why);
    let log = OpenOptions::new().append(true).create(true).open(folder.join(LOG)).map_err(failed)?;
    let mut said = Reader::begin(folder).map_err(failed)?;
    let carrier = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.arg("--carry").arg(folder).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
    });
    let mut carrier =
        carrier.map_err(|why| CliError::Failed(format!("no process for the job can be started: {why}")))?;
    let relay = Relay::new(json);
    let (mut told, mut why) = (false, None);
    loop {
        // Asked first: what it said before it ended is read below.
        let ended = carrier.try_wait().map_err(failed)?;
        for event in said.news().map_err(failed)? {
            match event {
                ProgressEvent::Submitted { job, .. } => {
                    drop(relay);
                    return out::print(&if json { event.to_json() + "\n" } else { format!("{job}\n") });
                }
                ProgressEvent::Error { why: said } => why = Some(said),
                event => relay.show(&event),
            }
        }
        if let Some(status) = ended {
            let why = why.unwrap_or_else(|| format!("the job's process ended ({status}): {}", said.noise));
            return Err(if status.code() == Some(2) { CliError::Usage(why) } else { CliError::Failed(why) });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.told(), if !told => {
                told = true;
                // It says itself that it was interrupted. If it is gone already, it has said something else.
                if let Some(pid) = carrier.id().and_then(|id| Pid::from_raw(id as i32)) {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    }
}

// --- Whoever wants the result -----------------------------------------------------------------------------

/// Writes the result of a detached job, or says how it stands.
pub(crate) async fn results(args: ResultsArgs, stop: &Stop) -> Result<(), CliError> {
    let data_dir = home::data_dir(args.data.clone())?;
    let all = data_dir.join(FOLDER);
    sweep(&all);
    let job = match Kept::find(&all, &args.job) {
        Err(CliError::Failed(why)) if !args.bootstrap.is_empty() => {
            let known = interruptible(stop, ask::in_words(args.bootstrap, args.data, &args.job)).await?;
            return Err(CliError::Failed(format!("{why}; the mesh knows of it: {known}")));
        }
        found => found?,
    };
    let failed = |why: io::Error| trouble(&job.folder, &why);
    let output = Output::open(args.output.as_deref(), stop).await?;
    let relay = Relay::new(args.json);
    let mut said = Reader::begin(&job.folder).map_err(|why| trouble(&job.folder.join(LOG), &why))?;
    let mut last = Last::default();
    loop {
        // Asked first: what it said before it ended is read below.
        let runs = job.is_carried().map_err(failed)?;
        for event in said.news().map_err(failed)? {
            // How it ended is told at the end.
            let is_end = matches!(event, ProgressEvent::Error { .. } | ProgressEvent::Result { .. });
            if args.wait && !is_end {
                relay.show(&event);
            }
            last.take(event);
        }
        // The event, for who wants it, follows the file in a moment.
        if job.folder.join(RESULT).exists() && (last.result.is_some() || !runs || !args.json) {
            break;
        }
        if !runs {
            let why = last.error.unwrap_or_else(|| {
                let ended = "the process that carried it ended before it, or the machine did";
                match job.id.get(..8).filter(|_| job_folder::is_stopped(&data_dir, &job.id)) {
                    Some(begins) => {
                        format!("job {} has stopped: {ended}; `webmesh resume {begins}` goes on with it", job.id)
                    }
                    None => format!("job {} is lost: {ended}; submit it again", job.id),
                }
            });
            return Err(CliError::Failed(why));
        }
        if !args.wait {
            let mut progress = last.progress.as_ref().map_or("it has just begun".to_owned(), progress_text);
            if let Some(why) = &last.waiting {
                progress += &format!("; it waits: {}", terminal::text(why));
            }
            let begins = job.id.get(..8).unwrap_or(&job.id);
            let remedy = format!("to wait for it: webmesh results {begins} --wait");
            return Err(CliError::Failed(format!("job {} still runs ({progress}); {remedy}", job.id)));
        }
        stop.until_told(tokio::time::sleep(LOOK)).await.ok_or(CliError::Interrupted)?;
    }
    drop(relay);
    job.check_result()?;
    let mut result = File::open(job.folder.join(RESULT)).map_err(failed)?;
    output.copy(&mut result)?;
    if args.json
        && let Some(event) = last.result
    {
        out::complain(&event.to_json());
    }
    Ok(())
}

/// A detached job on this machine.
struct Kept {
    id: String,
    folder: PathBuf,
}

impl Kept {
    /// The job whose id begins with `wanted`.
    fn find(all: &Path, wanted: &str) -> Result<Self, CliError> {
        let kept = folders(all).filter(|folder| !wanted.is_empty() && name(folder).starts_with(wanted));
        let mut kept: Vec<_> = kept.filter(|folder| !name(folder).starts_with(NEW)).collect();
        match (kept.pop(), kept.is_empty()) {
            (Some(folder), true) => Ok(Self { id: name(&folder), folder }),
            (Some(_), false) => Err(CliError::Usage(format!("several jobs begin with `{wanted}`; say more of the id"))),
            (None, _) => Err(CliError::Failed(format!(
                "no job `{wanted}` in {}: only what was submitted with --detach from here is kept, for {} days",
                all.display(),
                LIFETIME.as_secs() / (24 * 3600)
            ))),
        }
    }

    fn is_carried(&self) -> io::Result<bool> {
        is_carried(&self.folder)
    }

    /// Whether the result is still what the job wrote. One of an earlier version has no checksum.
    fn check_result(&self) -> Result<(), CliError> {
        let [result, kept] = [RESULT, CHECKSUM].map(|name| self.folder.join(name));
        let wanted = match fs::read(&kept) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            wanted => wanted.map_err(|why| trouble(&kept, &why))?,
        };
        let sum = Checksum::of_file(&result).map_err(|why| trouble(&result, &why))?;
        if sum.as_bytes() == wanted.trim_ascii_end() {
            return Ok(());
        }
        Err(CliError::Failed(format!(
            "the result that was kept in {} is damaged: it does not have the checksum in {CHECKSUM} beside it; submit \
             the job again",
            result.display()
        )))
    }
}

/// What was last said of a job.
#[derive(Default)]
struct Last {
    progress: Option<JobProgress>,
    /// What the job waits for.
    waiting: Option<String>,
    /// The event that tells of the result.
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

// --- What both share --------------------------------------------------------------------------------------

/// The folders of jobs; none where there never was one.
fn folders(all: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a carrier lives. Looking shares the lock for a moment, which holds up nobody but a carrier that starts.
fn is_carried(folder: &Path) -> io::Result<bool> {
    match File::open(folder.join(LOG))?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(why)) => Err(why),
    }
}

/// Removes what has been kept for long enough.
fn sweep(all: &Path) {
    for folder in folders(all) {
        let last_word = fs::metadata(folder.join(LOG)).or_else(|_| fs::metadata(&folder)).and_then(|m| m.modified());
        let is_old = last_word.is_ok_and(|then| SystemTime::now().duration_since(then).is_ok_and(|age| age > LIFETIME));
        if is_old
            && !is_carried(&folder).unwrap_or(false)
            && let Err(why) = fs::remove_dir_all(&folder)
        {
            tracing::warn!("{} cannot be removed: {why}", folder.display());
        }
    }
}

fn trouble(path: &Path, why: &io::Error) -> CliError {
    let remedy = for_disk(why, "choose another folder with --data");
    CliError::Failed(format!("cannot use {}: {why}; {remedy}", path.display()))
}

/// Reads a log while it grows.
struct Reader {
    file: File,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    /// The last line that was no event: what a process says that falls over.
    noise: String,
}

impl Reader {
    fn begin(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(folder.join(LOG))?, rest: Vec::new(), noise: "it said nothing".to_owned() })
    }

    /// The events that came since the last time.
    fn news(&mut self) -> io::Result<Vec<ProgressEvent>> {
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
                Err(_) => self.noise = String::from_utf8_lossy(line).into_owned(),
            }
        }
        self.rest.drain(..whole);
        Ok(events)
    }
}

/// Shows what a carrier says as if this process carried the job.
enum Relay {
    /// As events, as they are.
    Json,
    /// For people.
    Display(Display),
}

impl Relay {
    fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Display(Display::new(Style::of_stderr(false))) }
    }

    fn show(&self, event: &ProgressEvent) {
        match self {
            Self::Json => out::complain(&event.to_json()),
            Self::Display(display) => display.show(event),
        }
    }
}
