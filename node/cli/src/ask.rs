//! `webmesh jobs`, `status`, `cancel` and `peers`: questions to a mesh.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use libp2p::Multiaddr;
use serde_json::json;
use tokio::time::timeout;
use webmesh_node::client::{Client, Options};
use webmesh_node::job_folder::{self, FolderError, JobFolder, Stopped};
use webmesh_node::net::peer_id_of;
use webmesh_node::survey::{connected, known_peers};
use webmesh_node::terminal;
use webmesh_protocol::JobId;
use webmesh_protocol::io::Notice;
use webmesh_protocol::membership::Roles;
use webmesh_protocol::message::{JobState, JobStatus, Outcome, PeerStatus, Request, Response};

use crate::args::{AskArgs, JobIdArgs};
use crate::error::CliError;
use crate::{home, out};

/// Timeout for the news of a cancelled job's end, which spreads by gossip.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Lists jobs.
pub(crate) async fn jobs(args: AskArgs) -> Result<(), CliError> {
    let stopped = job_folder::stopped(&home::data_dir(args.data.clone())?);
    let mesh = join(args.bootstrap.clone(), args.data.clone()).await?;
    let mut jobs = known_jobs(&mesh).await;
    mesh.leave().await;
    // A stopped job is listed once, even if the mesh still counts it as running.
    jobs.retain(|job| stopped.iter().all(|stopped| stopped.job != job.job));
    if args.json {
        let all = stopped.iter().map(stopped_json).chain(jobs.iter().map(job_json));
        return out::print(&format!("{}\n", serde_json::Value::Array(all.collect())));
    }
    if jobs.is_empty() && stopped.is_empty() {
        out::print_to_stderr("the mesh has no jobs");
    }
    out::print(&stopped.iter().map(stopped_line).chain(jobs.iter().map(job_line)).collect::<String>())
}

/// Shows a job's progress.
pub(crate) async fn status(args: JobIdArgs) -> Result<(), CliError> {
    let mesh = join(args.ask.bootstrap.clone(), args.ask.data.clone()).await?;
    let jobs = known_jobs(&mesh).await;
    mesh.leave().await;
    let job = find(&jobs, &args.job)?;
    if args.ask.json {
        return out::print(&format!("{}\n", job_json(job)));
    }
    let stages = job.stages.iter().enumerate();
    let stages = stages.map(|(i, (done, tasks))| format!("  stage {i}: {done} of {tasks} tasks\n"));
    out::print(&(job_line(job) + &stages.collect::<String>()))
}

/// The state of a job according to a mesh, as one line.
pub(crate) async fn in_words(bootstrap: Vec<Multiaddr>, data: Option<PathBuf>, id: &str) -> Result<String, CliError> {
    let mesh = join(bootstrap, data).await?;
    let jobs = known_jobs(&mesh).await;
    mesh.leave().await;
    Ok(job_line(find(&jobs, id)?).trim_end().to_owned())
}

/// Cancels a job of this user.
pub(crate) async fn cancel(args: JobIdArgs) -> Result<(), CliError> {
    let mesh = join(args.ask.bootstrap.clone(), args.ask.data.clone()).await?;
    let jobs = known_jobs(&mesh).await;
    let outcome = cancel_through(&mesh, &jobs, &args).await;
    mesh.leave().await;
    let job = match (discard(&args)?, outcome) {
        (Some(job), _) => job,
        (None, outcome) => outcome?,
    };
    if args.ask.json {
        return out::print(&format!("{}\n", json!({ "event": "cancelled", "job": job.to_string() })));
    }
    out::print_to_stderr(&format!("cancelled {job}"));
    Ok(())
}

async fn cancel_through(mesh: &Client, jobs: &[JobStatus], args: &JobIdArgs) -> Result<JobId, CliError> {
    let status = find(jobs, &args.job)?;
    let key = home::owner_key(&home::data_dir(args.ask.data.clone())?)?;
    if status.owner != key.public() {
        return Err(CliError::Failed(format!(
            "job {} is not yours: it belongs to {}, and only its owner's key can cancel it",
            status.job,
            status.owner.short()
        )));
    }
    if status.state != JobState::Running {
        return Err(CliError::Failed(format!("job {} has ended already", status.job)));
    }
    let node = &mesh.peer().node;
    let mut notices = node.notices();
    let tried = timeout(CANCEL_TIMEOUT, async {
        loop {
            // Refused until this peer has heard of the job; then the cancellation is gossiped.
            node.cancel(status.job, key.clone()).await;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(300)) => {}
                Ok(Notice::CancelRefused { .. }) = notices.recv() => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    continue;
                }
            }
            let ended = known_jobs(mesh).await.into_iter().any(|j| j.job == status.job && j.state != JobState::Running);
            if ended {
                return;
            }
        }
    });
    tried.await.map_err(|_| {
        let seconds = CANCEL_TIMEOUT.as_secs();
        CliError::Failed(format!("no peer reported within {seconds} s that job {} has ended", status.job))
    })?;
    Ok(status.job)
}

/// Removes the files of the job if it has stopped on this machine. Returns its id in that case.
fn discard(args: &JobIdArgs) -> Result<Option<JobId>, CliError> {
    match JobFolder::find(&home::data_dir(args.ask.data.clone())?, &args.job) {
        Ok(folder) => {
            let job = folder.job();
            folder.remove()?;
            Ok(Some(job))
        }
        Err(FolderError::NotFound { .. } | FolderError::InUse { .. }) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// Lists peers.
pub(crate) async fn peers(args: AskArgs) -> Result<(), CliError> {
    let mesh = join(args.bootstrap.clone(), args.data.clone()).await?;
    let mut all = known_peers(&mesh.peer().node).await;
    all.sort_by_key(|status| status.peer);
    let links = mesh.peer().node.net().peers();
    mesh.leave().await;
    if args.json {
        return out::print(&format!("{}\n", serde_json::Value::Array(all.iter().map(peer_json).collect())));
    }
    let lines = all.iter().map(|status| {
        let link = links.iter().find(|l| l.peer == status.peer);
        let address = link.map(|l| l.address.to_string()).or_else(|| status.advert.addresses.first().cloned());
        peer_line(status, &address.unwrap_or_default())
    });
    out::print(&lines.collect::<String>())
}

async fn join(bootstrap: Vec<Multiaddr>, data: Option<PathBuf>) -> Result<Client, CliError> {
    let data_dir = Some(home::data_dir(data)?);
    Ok(Client::connect(Options { bootstrap, data_dir, ..Options::default() }).await?)
}

/// The jobs that the connected peers know: running ones first, then by age, the youngest first.
async fn known_jobs(mesh: &Client) -> Vec<JobStatus> {
    let node = &mesh.peer().node;
    let mut all: BTreeMap<JobId, JobStatus> = BTreeMap::new();
    for peer in connected(node).await {
        let Ok((Response::Jobs(jobs), _)) = node.ask(peer, Request::Jobs, Default::default()).await else { continue };
        for job in jobs {
            match all.entry(job.job) {
                Entry::Vacant(place) => drop(place.insert(job)),
                Entry::Occupied(mut place) => {
                    // The peer that heard the job's home last has the smallest number. `None` is the least.
                    let silent = job.silent.min(place.get().silent);
                    if rank(&job) > rank(place.get()) {
                        place.insert(job);
                    }
                    place.get_mut().silent = silent;
                }
            }
        }
    }
    let mut jobs: Vec<JobStatus> = all.into_values().collect();
    jobs.sort_by_key(|j| (j.state != JobState::Running, j.age));
    jobs
}

/// The reason shown for a job whose submitter left.
const LEFT: &str = "its submitter left the mesh before it was done";

/// Orders answers about one job by how recent they are: state and progress only ever advance.
fn rank(job: &JobStatus) -> (u8, u32, bool) {
    let state = match job.state {
        JobState::Running => 0,
        JobState::Left => 1,
        JobState::Ended(_) => 2,
    };
    (state, job.stages.iter().map(|(done, _)| done).sum(), !job.name.is_empty())
}

fn find<'a>(jobs: &'a [JobStatus], id: &str) -> Result<&'a JobStatus, CliError> {
    let matches: Vec<&JobStatus> = jobs.iter().filter(|j| j.job.to_string().starts_with(id)).collect();
    match matches[..] {
        [job] => Ok(job),
        [] => Err(CliError::Failed(format!("the mesh knows no job `{id}`; `webmesh jobs` lists those that it knows"))),
        _ => Err(CliError::Usage(format!("the ids of several jobs begin with `{id}`; give more of the id"))),
    }
}

fn percent(stages: &[(u32, u32)]) -> f64 {
    let sum = |(d, t), &(done, tasks): &(u32, u32)| (d + u64::from(done), t + u64::from(tasks));
    let (done, tasks) = stages.iter().fold((0u64, 0u64), sum);
    if tasks == 0 { 0.0 } else { 100.0 * done as f64 / tasks as f64 }
}

fn stages_json(stages: &[(u32, u32)]) -> serde_json::Value {
    stages.iter().map(|(done, tasks)| json!({ "done": done, "tasks": tasks })).collect()
}

/// A job that has stopped on this machine, as one line.
pub(crate) fn stopped_line(job: &Stopped) -> String {
    let (name, begins) = (terminal::line(&job.name), job.job.short());
    let (age, percent) = (age(job), percent(&job.stages));
    format!("{}  {name:20}  {age:>6} s  stopped here at {percent:.0}%: webmesh resume {begins}\n", job.job)
}

/// A job that has stopped on this machine, as JSON.
pub(crate) fn stopped_json(job: &Stopped) -> serde_json::Value {
    json!({
        "job": job.job.to_string(),
        "owner": job.owner.to_string(),
        "name": job.name,
        "state": "stopped",
        "why": null,
        "age_seconds": age(job),
        "silent_seconds": null,
        "stages": stages_json(&job.stages),
    })
}

fn age(job: &Stopped) -> u64 {
    (webmesh_node::platform::wall_micros() / 1_000_000).saturating_sub(job.begun)
}

fn state(job: &JobStatus) -> String {
    match &job.state {
        JobState::Running => {
            let percent = percent(&job.stages);
            match job.silent {
                None => format!("running {percent:3.0}%"),
                Some(seconds) => format!("running {percent:3.0}%, its submitter unresponsive for {seconds} s"),
            }
        }
        JobState::Left => format!("failed: {LEFT}"),
        JobState::Ended(Outcome::Done) => "done".to_owned(),
        JobState::Ended(Outcome::Cancelled) => "cancelled".to_owned(),
        JobState::Ended(Outcome::Failed(why)) => format!("failed: {why}"),
    }
}

fn job_line(job: &JobStatus) -> String {
    let (name, state) = (terminal::line(&job.name), terminal::line(&state(job)));
    format!("{}  {name:20}  {:>6} s  {state}\n", job.job, job.age)
}

fn job_json(job: &JobStatus) -> serde_json::Value {
    let (state, why) = match &job.state {
        JobState::Running => ("running", None),
        JobState::Left => ("failed", Some(LEFT)),
        JobState::Ended(Outcome::Done) => ("done", None),
        JobState::Ended(Outcome::Cancelled) => ("cancelled", None),
        JobState::Ended(Outcome::Failed(why)) => ("failed", Some(&why[..])),
    };
    json!({
        "job": job.job.to_string(),
        "owner": job.owner.to_string(),
        "name": job.name,
        "state": state,
        "why": why,
        "age_seconds": job.age,
        "silent_seconds": job.silent,
        "stages": stages_json(&job.stages),
    })
}

fn peer_line(status: &PeerStatus, address: &str) -> String {
    let (peer, advert) = (peer_id_of(&status.peer), &status.advert);
    let (kind, roles) = (advert.kind.name(), role_names(&advert.roles).join(","));
    format!("{peer}  {kind:9}  {:2} threads  {roles}  {}\n", advert.threads, terminal::line(address))
}

fn peer_json(status: &PeerStatus) -> serde_json::Value {
    let advert = &status.advert;
    json!({
        "peer": peer_id_of(&status.peer).to_string(),
        "kind": advert.kind.name(),
        "roles": role_names(&advert.roles),
        "threads": advert.threads,
        "addresses": advert.addresses,
        "agent": advert.agent,
    })
}

fn role_names(roles: &Roles) -> Vec<&'static str> {
    let all = [
        (roles.worker, "worker"),
        (roles.shuffler, "shuffler"),
        (roles.compiler, "compiler"),
        (roles.relay, "relay"),
        (roles.steward, "steward"),
    ];
    all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
}
