//! Prepares a job from its source and inputs, and runs it to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use webmesh_protocol::JobId;
use webmesh_protocol::manifest::BlobRef;
use webmesh_protocol::sign::Keypair;

use super::compilers;
use super::error::JobError;
use super::link::Link;
use super::result::{Destination, JobResult, Kept, Writing};
use super::spec::JobSpec;
use crate::host::Served;
use crate::inputs::{self, Plan};
use crate::job::{JobFacts, map_reduce};
use crate::job_folder::{JobFolder, Origin, Record};
use crate::net::identity;
use crate::peer::Peer;
use crate::platform;
use crate::progress::{Outline, Reporter};
use crate::submit::{self, Begin, FollowError};
use crate::survey;

/// The name of standard input among the inputs.
const STDIN: &str = "-";

/// Everything needed to submit a job.
pub(super) struct Submitter {
    pub(super) peer: Peer,
    /// Whether the mesh is embedded in this process.
    pub(super) is_embedded: bool,
    pub(super) data_dir: PathBuf,
    /// Whether the data folder outlives this process, so that jobs can be resumed.
    pub(super) is_kept: bool,
    /// The peer's key.
    pub(super) identity: Keypair,
    /// How the mesh was reached.
    pub(super) origin: Origin,
}

/// A job that is ready to start.
pub(super) struct Ready {
    pub(super) begin: Begin,
    pub(super) key: Keypair,
    pub(super) outline: Outline,
    /// The module and inputs served to peers until the job is done.
    pub(super) served: Vec<Served>,
    pub(super) writing: Writing,
}

impl Submitter {
    /// Prepares the job, submits it, and runs it to its end.
    pub(super) async fn run(self, spec: JobSpec, destination: Destination, link: Link) -> Result<JobResult, JobError> {
        let ready = link.unless_cancelled(self.prepare(spec, destination, &link)).await??;
        ready.run(&self.peer, &link).await
    }

    async fn prepare(&self, spec: JobSpec, destination: Destination, link: &Link) -> Result<Ready, JobError> {
        let begun = Instant::now();
        let (receiver, place) = destination.open(spec.output.clone(), self.data_dir.clone()).await?;
        let is_piped = spec.inputs.iter().any(|input| input.as_os_str() == STDIN);
        let input = if is_piped { "standard input" } else { "the input" };
        link.reporter.phase(&format!("compiling {} and reading {input}", spec.name));
        let (plan, module) = tokio::try_join!(
            self.plan(&spec, receiver.path(), &link.reporter),
            self.compile(&spec.name, spec.source.clone(), &link.reporter)
        )?;
        for note in &plan.notes {
            link.reporter.note(&note.with_advice(spec.piped_command.as_deref()));
        }
        let outline = Outline::new(&spec.name, &plan);
        link.reporter.outline(outline.clone());
        let host = &self.peer.host;
        let mut served = vec![host.serve_module(module.hash, module.bytes.clone())];
        served.extend(plan.source.clone().map(|packs| host.serve(packs)));
        let facts = JobFacts {
            module: BlobRef { hash: module.hash, len: module.bytes.len() as u64 },
            inputs: plan.inputs.clone(),
            tasks: plan.tasks,
            workers: survey::workers(&self.peer.node).await + u32::from(self.is_embedded),
            nonce: u64::from_le_bytes(platform::random_bytes()),
        };
        let key = owner_key(self.data_dir.clone()).await?;
        let (manifest, job) = submit::named(&self.peer.node, map_reduce(&spec.options(), facts), &key);
        // The folder is created before the job is announced: from then on, this process may be killed at any time.
        let kept = if self.is_kept {
            let cutting = spec.cutting();
            let (output, is_detached) = (receiver.path(), receiver.is_detached());
            let (identity, origin, data_dir) = (self.identity.clone(), self.origin.clone(), self.data_dir.clone());
            let link = link.clone();
            let making = tokio::task::spawn_blocking(move || {
                let list = plan.source.as_ref().map(|source| source.file_list());
                let record = Record::new(&identity, origin, cutting, (output.as_deref(), is_detached), list);
                let (folder, results) = JobFolder::create(&data_dir, job, &record, &module.bytes, list)?;
                Ok::<_, JobError>((Kept::new(Some(folder), &link), results))
            });
            let (kept, results) = making.await.map_err(|why| JobError::Panicked("keeping the job", why))??;
            host.keep_results(job, results);
            kept
        } else {
            Kept::new(None, link)
        };
        let begin = Begin::New { manifest: Box::new(manifest), kept: self.is_kept };
        Ok(Ready { begin, key, outline, served, writing: Writing { receiver, place, kept, begun } })
    }

    async fn compile(&self, name: &str, source: Bytes, reporter: &Reporter) -> Result<submit::Module, JobError> {
        Ok(submit::compile(&self.peer.node, compilers(self.is_embedded), name, source, reporter).await?)
    }

    /// Lists the inputs and splits them into tasks.
    async fn plan(&self, spec: &JobSpec, output: Option<PathBuf>, reporter: &Arc<Reporter>) -> Result<Plan, JobError> {
        let options = inputs::Options {
            numbers: spec.tasks,
            spool_dir: self.data_dir.join("spool"),
            output,
            data_dir: Some(self.data_dir.clone()),
            skip_unreadable: spec.skip_unreadable,
            threads: platform::cores(),
            ..spec.cutting().options()
        };
        let (paths, reporter) = (spec.inputs.clone(), reporter.clone());
        let planning =
            tokio::task::spawn_blocking(move || inputs::plan(&paths, &options, &|planned| reporter.reading(planned)));
        Ok(planning.await.map_err(|why| JobError::Panicked("reading the inputs", why))??)
    }
}

impl Ready {
    /// Starts the job, waits for it to end, and writes its result.
    pub(super) async fn run(self, peer: &Peer, link: &Link) -> Result<JobResult, JobError> {
        let Self { begin, key, outline, served, mut writing } = self;
        let on_submitted = |job: JobId| {
            writing.receiver.named(job)?;
            link.named(job);
            Ok(())
        };
        let shown = (&*link.reporter, &outline);
        let job = match submit::follow(&peer.node, begin, &key, shown, link.cancelled.wait(), on_submitted).await {
            Ok(job) => job,
            Err(why) => {
                // All other errors mean that the job has ended.
                if !matches!(why, FollowError::Gone) {
                    writing.kept.discard();
                }
                // The results so far are not needed any more.
                drop(link.id().map(|job| peer.host.take_results(job)));
                return Err(why.into());
            }
        };
        drop(served);
        let results = peer.host.take_results(job).ok_or(JobError::NoResult { job })?;
        writing.write(job, results, link).await
    }
}

/// The key that owns the jobs submitted with this data folder; created on first use.
pub(super) async fn owner_key(data_dir: PathBuf) -> Result<Keypair, JobError> {
    let loading = tokio::task::spawn_blocking(move || identity::load_or_create(&data_dir.join("owner")));
    Ok(loading.await.map_err(|why| JobError::Panicked("reading the owner's key", why))??)
}
