//! Submits jobs in this tab.

use std::time::Duration;

use bytes::Bytes;
use js_sys::{Function, Promise};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use webmesh_node::job::{JobFacts, JobOptions, map_reduce};
use webmesh_node::platform;
use webmesh_node::progress::{Display, Outline, ProgressEvent, Reporter};
use webmesh_node::submit::{self, Begin, CompileError, Compilers, cut_name};
use webmesh_node::survey;
use webmesh_protocol::manifest::{BlobRef, Inputs};

use super::options::Options;
use super::{Tab, error};

/// The page's options of a job.
fn job_options(options: &Options) -> Result<JobOptions, JsError> {
    let usual = JobOptions::default();
    let millis = options.number::<u32>("taskMillis")?;
    Ok(JobOptions {
        name: cut_name(&options.text("name").unwrap_or_default()).to_owned(),
        partitions: options.number("partitions")?,
        replicas: options.number("replicas")?.unwrap_or(usual.replicas),
        task_timeout: millis.map_or(usual.task_timeout, |millis| Duration::from_millis(millis.into())),
        task_memory: options.number("taskMemory")?.unwrap_or(usual.task_memory),
        retries: options.number("retries")?.unwrap_or(usual.retries),
    })
}

/// A compiled job, whose module is served until this is freed.
#[wasm_bindgen]
pub struct CompiledJob {
    module: BlobRef,
    blobs: SendWrapper<std::rc::Rc<std::cell::RefCell<super::blobs::Blobs>>>,
}

impl Drop for CompiledJob {
    fn drop(&mut self) {
        self.blobs.borrow_mut().release(self.module.hash);
    }
}

#[wasm_bindgen]
impl Tab {
    /// Has a source compiled by a peer of the mesh. `sink` is called with each [`ProgressEvent`] as JSON; with
    /// [`ProgressEvent::Diagnostics`], too, if it does not compile.
    pub async fn compile(&self, name: String, source: String, sink: Function) -> Result<CompiledJob, JsError> {
        let reporter = reporter_to(sink);
        let compiled = submit::compile(&self.node, Compilers::OfMesh, &name, Bytes::from(source), &reporter).await;
        let module = compiled.map_err(|why| {
            if let CompileError::DoesNotCompile { diagnostics, .. } = &why {
                reporter.report(ProgressEvent::Diagnostics { text: diagnostics.clone() });
            }
            error(why)
        })?;
        let blobs = self.host.blobs.clone();
        blobs.borrow_mut().pin(module.hash, module.bytes.clone());
        let module = BlobRef { hash: module.hash, len: module.bytes.len() as u64 };
        Ok(CompiledJob { module, blobs: SendWrapper::new(blobs) })
    }

    /// Submits a job and follows it until it is done; returns its id. `spec` is JSON. The job is cancelled once
    /// `unwanted` settles. `sink` is called with progress, as by [`compile`](Self::compile).
    pub async fn submit(
        &self,
        job: &CompiledJob,
        spec: String,
        unwanted: Promise,
        sink: Function,
    ) -> Result<String, JsError> {
        let spec = Options::parse(&spec)?;
        let options = job_options(&spec)?;
        // What `Storage::hold` gave.
        let plan = spec.object("plan");
        let inputs = plan.text("inputs").unwrap_or_default();
        let inputs: Inputs = super::storage::inputs_of(&inputs).map_err(error)?;
        let tasks = plan.required("tasks")?;
        let (documents, bytes, files) = (plan.required("documents")?, plan.required("bytes")?, plan.required("files")?);
        let own = u32::from(self.works.get());
        let facts = JobFacts {
            module: job.module,
            inputs,
            tasks,
            workers: survey::workers(&self.node).await + own,
            nonce: u64::from_le_bytes(platform::random_bytes()),
        };
        let reporter = reporter_to(sink);
        let outline = Outline { name: options.name.clone(), documents, tasks, bytes, files, source: None };
        reporter.outline(outline.clone());
        let unwanted = async {
            // Whether it resolves or rejects.
            let _ = JsFuture::from(unwanted).await;
        };
        let manifest = Box::new(map_reduce(&options, facts));
        let shown = (&reporter, &outline);
        // A tab has no disk that outlives it.
        let begin = Begin::New { manifest, kept: false };
        let mut running = None;
        let named = |job| {
            running = Some(job);
            self.running.borrow_mut().insert(job);
            Ok(())
        };
        let done = submit::follow(&self.node, begin, &self.owner, shown, unwanted, named).await;
        if let Some(job) = running {
            self.running.borrow_mut().remove(&job);
        }
        Ok(done.map_err(error)?.to_string())
    }
}

/// A reporter that gives each event to JavaScript, as `webmesh run --json` writes it.
fn reporter_to(sink: Function) -> Reporter {
    let sink = SendWrapper::new(sink);
    let display = Display::json(move |event| {
        // Errors of the page's own function do not matter here.
        let _ = sink.call1(&JsValue::NULL, &JsValue::from_str(event));
    });
    Reporter::new(move |event| display.show(&event))
}
