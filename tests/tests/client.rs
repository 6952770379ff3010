//! Jobs submitted with the client library, on a mesh of processes and on an embedded mesh.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use webmesh_compiler::{Compiler, CompilerConfig, Toolchain, answer};
use webmesh_node::client::{Client, JobError, JobHandle, JobResult, JobSpec, Options};
use webmesh_node::host::{CompileAnswer, CompileService};
use webmesh_node::progress::{Ending, ProgressEvent};
use webmesh_node::submit::{CompileError, FollowError};
use webmesh_protocol::PeerKey;
use webmesh_tests::mesh::{Mesh, assert_same, corpus_of, endless};
use webmesh_tests::process::{assert_success, example, output};

/// The example that README.md runs.
#[path = "../../node/examples/submit.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod submit_example;

async fn join(mesh: &Mesh, data: Option<&Path>) -> Client {
    let bootstrap = vec![mesh.bootstrap.address.parse().expect("an address")];
    let options = Options { bootstrap, data_dir: data.map(Path::to_owned), ..Options::default() };
    Client::connect(options).await.expect("there is a mesh")
}

fn word_count(input: &Path) -> JobSpec {
    let source = std::fs::read(example("wordcount/wordcount.cpp")).expect("the example");
    JobSpec {
        name: "wordcount.cpp".to_owned(),
        source: source.into(),
        inputs: vec![input.into()],
        ..JobSpec::default()
    }
}

/// A job that runs until it is cancelled.
fn endless_job(dir: &Path) -> JobSpec {
    let (source, input) = endless(dir);
    let source = std::fs::read(source).expect("the source").into();
    JobSpec { source, inputs: vec![input], task_timeout: std::time::Duration::from_secs(3000), ..JobSpec::default() }
}

async fn all_events(job: &JobHandle) -> Vec<ProgressEvent> {
    let (mut events, mut all) = (job.events(), Vec::new());
    while let Some(event) = events.next().await {
        all.push(event);
    }
    all
}

async fn wait_for_progress(job: &JobHandle) {
    let mut events = job.events();
    while !matches!(events.next().await.expect("the job has not ended"), ProgressEvent::Progress(_)) {}
}

fn read(result: JobResult) -> Vec<u8> {
    let mut lines = Vec::new();
    result.into_reader().expect("it is there").read_to_end(&mut lines).expect("it can be read");
    lines
}

/// The job's state as any other peer sees it.
fn state(mesh: &Mesh, job: &str) -> Value {
    let status = output(&mut mesh.ask("anybody", &["status", job, "--json"]));
    assert_success(&status);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    status["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_readme_runs() {
    let mesh = Mesh::start(1, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 3, 71);
    let source = example("wordcount/wordcount.cpp");
    let result = submit_example::submit(&mesh.bootstrap.address, &source, vec![mesh.path("corpus")]).await;
    assert!(result.expect("a result").into_bytes() == expected, "not the independent count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reports_its_progress_and_returns_its_result() {
    let mesh = Mesh::start(2, &[]);
    let expected = corpus_of(&mesh.path("corpus"), 20, 72);
    let client = join(&mesh, None).await;
    let job = client.submit(word_count(&mesh.path("corpus")));
    let events = all_events(&job).await;
    let id = job.id().expect("it was announced");
    let result = job.result().await.expect("a result");
    assert_eq!(result.job, id);
    let [first @ ProgressEvent::Phase { .. }, rest @ .., written] = &events[..] else { panic!("{events:?}") };
    assert!(first.to_json().contains("compiling wordcount.cpp"), "{first:?}");
    let submitted = rest.iter().find_map(|event| match event {
        ProgressEvent::Submitted { job, documents, .. } => Some((*job, *documents)),
        _ => None,
    });
    assert_eq!(submitted, Some((id, Some(20))));
    let last = rest.iter().rev().find_map(|event| match event {
        ProgressEvent::Progress(progress) => Some(progress),
        _ => None,
    });
    let stages = &last.expect("it made progress").stages;
    assert_eq!((stages[0].name.as_str(), stages[0].done), ("map", stages[0].tasks));
    assert!(rest.iter().any(|event| matches!(event, ProgressEvent::Ended { outcome: Ending::Done, .. })), "{rest:?}");
    let ProgressEvent::Result { lines, keys, bytes, .. } = *written else { panic!("{written:?}") };
    assert_eq!((lines, keys, bytes), (result.lines, result.keys, result.bytes));
    assert_eq!(bytes, expected.len() as u64);
    assert!(read(result) == expected, "not the independent count");
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_runs_several_jobs_and_writes_their_results_to_files() {
    let mesh = Mesh::start(2, &[]);
    let data = mesh.path("data");
    let client = join(&mesh, Some(&data)).await;
    let mut jobs = Vec::new();
    for seed in [73, 74] {
        let corpus = mesh.path(&format!("corpus{seed}"));
        let expected = corpus_of(&corpus, 6, seed);
        let output = Some(mesh.path(&format!("result{seed}.tsv")));
        jobs.push((client.submit(JobSpec { output, ..word_count(&corpus) }), expected));
    }
    for (job, expected) in jobs {
        let result = job.result().await.expect("a result");
        assert_same(result.path().expect("a file"), &expected);
        assert!(read(result) == expected, "not the independent count");
    }
    // The folders of finished jobs are removed.
    assert_eq!(std::fs::read_dir(data.join("jobs")).expect("the folder of jobs").count(), 0);
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_ends_on_all_peers_and_has_no_result() {
    let mesh = Mesh::start(1, &[]);
    let client = join(&mesh, Some(&mesh.path("data"))).await;
    let job = client.submit(endless_job(mesh.dir.path()));
    wait_for_progress(&job).await;
    let id = job.id().expect("it was announced").to_string();
    assert_eq!(state(&mesh, &id), "running");
    job.cancel().await;
    let ended = all_events(&job).await;
    assert_eq!(ended, [], "there are no events after the job has ended");
    let outcome = job.result().await;
    assert!(matches!(outcome, Err(JobError::Follow(FollowError::Cancelled))), "{outcome:?}");
    client.leave().await;
    assert_eq!(state(&mesh, &id), "cancelled");
    assert_eq!(std::fs::read_dir(mesh.path("data/jobs")).expect("the folder of jobs").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_handle_is_dropped_is_cancelled() {
    let mesh = Mesh::start(1, &[]);
    let client = join(&mesh, None).await;
    let job = client.submit(endless_job(mesh.dir.path()));
    wait_for_progress(&job).await;
    let (mut events, id) = (job.events(), job.id().expect("it was announced").to_string());
    drop(job);
    let ended = loop {
        if let ProgressEvent::Ended { outcome, .. } = events.next().await.expect("an event of its end") {
            break outcome;
        }
    };
    assert_eq!(ended, Ending::Cancelled);
    client.leave().await;
    assert_eq!(state(&mesh, &id), "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_compile_is_an_error_with_the_diagnostics() {
    let mesh = Mesh::start(0, &[]);
    let client = join(&mesh, None).await;
    let job = client.submit(JobSpec { source: "nonsense".into(), ..JobSpec::default() });
    let Err(JobError::Compile(CompileError::DoesNotCompile { diagnostics, .. })) = job.result().await else {
        panic!("it does not compile")
    };
    assert!(diagnostics.contains("job.cpp:1:1"), "{diagnostics}");
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_on_an_embedded_mesh() {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let toolchain = Toolchain::find(None).expect("the toolchain");
    let compiler = Arc::new(Compiler::new(toolchain, CompilerConfig::new(cache.path().into())).expect("a compiler"));
    let compiler = move |from: PeerKey, name: String, source: Bytes| -> CompileAnswer {
        let compiler = compiler.clone();
        Box::pin(async move { answer(&compiler, from.0, &name, &source).await })
    };
    let compiler: Option<Arc<dyn CompileService>> = Some(Arc::new(compiler));
    let options = Options { peers: Some(2), threads: Some(1), compiler, ..Options::default() };
    let client = Client::connect(options).await.expect("a mesh");
    let source = "void map(string_view number, webmesh::Emitter<int>& out) { out.emit(string(number), 1); }\n\
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, (int)vals.size()}; }\n";
    let job = client.submit(JobSpec { source: source.into(), tasks: 3, ..JobSpec::default() });
    let result = job.result().await.expect("a result");
    assert_eq!((result.lines, result.path()), (3, None));
    assert_eq!(String::from_utf8(read(result)).expect("text"), "0\t1\n1\t1\n2\t1\n");
    client.leave().await;
}
