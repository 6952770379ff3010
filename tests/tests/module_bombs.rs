//! Jobs whose modules are made to be expensive for the compiler of a worker, on real processes. A compiler of the
//! test's own gives out the modules.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;
use webmesh_node::client::{Client, JobHandle, JobSpec, Options};
use webmesh_node::host::{CompileAnswer, CompileService};
use webmesh_node::peer::{Peer, PeerConfig};
use webmesh_protocol::PeerKey;
use webmesh_protocol::membership::{Kind, Roles};
use webmesh_protocol::message::Response;
use webmesh_tests::guest::guest;
use webmesh_tests::process::{Server, descendants};

/// The name that a compiling process has, as the system shows it.
const COMPILING: &str = "webmesh-compile";

/// A node of one thread, a peer that compiles anything to a module of the test, and clients of two owners.
struct Bombed {
    dir: tempfile::TempDir,
    node: Server,
    _compiler: Peer,
    client: Client,
    stranger: Client,
}

impl Bombed {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let node = Server::node(&dir.path().join("node"), &[], &[]);
        let compiler = Peer::start(compiling_peer(&dir.path().join("compiler"), &node.address)).await;
        let join = || {
            let bootstrap = vec![node.address.parse().expect("an address")];
            Client::connect(Options { bootstrap, ..Options::default() })
        };
        let (client, stranger) = tokio::try_join!(join(), join()).expect("there is a mesh");
        Self { dir, _compiler: compiler.expect("it starts"), client, stranger, node }
    }

    /// Submits a job whose module is `name`, of the stranger.
    fn attack(&self, name: &str) -> JobHandle {
        submit(&self.stranger, name)
    }

    /// The result of a job of another owner, with a module of its own.
    async fn honest(&self, name: &str) {
        let began = Instant::now();
        submit(&self.client, name).result().await.expect("a result");
        println!("an honest job took {:.2} s", began.elapsed().as_secs_f64());
    }

    async fn wait_for_compilation(&self) {
        while !is_compiling(self.node.pid()) {
            tokio::task::yield_now().await;
        }
    }

    async fn wait_for_its_end(&self) {
        let began = Instant::now();
        while is_compiling(self.node.pid()) {
            assert!(began.elapsed() < Duration::from_secs(60), "the compiling process goes on");
            tokio::task::yield_now().await;
        }
    }
}

fn submit(client: &Client, name: &str) -> JobHandle {
    let source = Bytes::from(name.to_owned());
    client.submit(JobSpec { name: format!("{name}.cpp"), source, tasks: 1, ..JobSpec::default() })
}

fn is_compiling(node: u32) -> bool {
    descendants(node).iter().any(|name| name == COMPILING)
}

fn compiling_peer(data: &Path, bootstrap: &str) -> PeerConfig {
    let compile = |_: PeerKey, _: String, source: Bytes| -> CompileAnswer {
        let module = match &source[..] {
            b"bomb" => bomb(),
            [b'e', b'n', b'd', b'l', b'e', b's', b's', number @ ..] => {
                guest("17", "(loop br 0)", &format!("(func (export \"{}\"))", String::from_utf8_lossy(number)))
            }
            other => guest("17", "", &format!("(func (export \"{}\"))", String::from_utf8_lossy(other))),
        };
        let answer = Response::Compiled { warnings: String::new(), cached: false, millis: 1 };
        Box::pin(async move { (answer, module.into()) })
    };
    let compiler: Arc<dyn CompileService> = Arc::new(compile);
    PeerConfig {
        kind: Kind::Node,
        roles: Roles::default(),
        threads: 1,
        memory: 0,
        task_memory: 0,
        disk: 0,
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
        external: vec![],
        bootstrap: vec![bootstrap.parse().expect("an address")],
        relayed: false,
        data_dir: data.to_owned(),
        persistent: true,
        identity: None,
        resumed: None,
        mdns: false,
        compiler: Some(compiler),
    }
}

/// A module of 1 MB that is far more expensive than others of that size: in each of its functions, many locals live
/// while references are moved in a table.
fn bomb() -> Vec<u8> {
    let locals = 0..4;
    let names: String = locals.clone().map(|local| format!("(local $l{local} i64)")).collect();
    let begin: String = locals
        .clone()
        .map(|local| format!("(local.set $l{local} (i64.add (local.get $p) (i64.const {local})))"))
        .collect();
    let moved = "(table.set $t (i32.const 0) (table.get $t (i32.const 1)))".repeat(2000);
    let end: String = locals.map(|local| format!("(local.get $l{local}) i64.add ")).collect();
    let function = format!("(func (param $p i64) (result i64) {names} {begin} {moved} (local.get $p) {end})");
    guest("17", "", &format!("(table $t 16 externref) {}", function.repeat(64)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_ends_with_its_limit_and_delays_no_other_job() {
    let mesh = Bombed::start().await;
    let bomb = mesh.attack("bomb");
    mesh.wait_for_compilation().await;
    mesh.honest("honest").await;
    let error = bomb.result().await.expect_err("it cannot be compiled").to_string();
    // The first is what the node says, the second what the home may find out before: within this test's process, it
    // has an estimate only.
    assert!(error.contains("was ended at its limit of") || error.contains("cells of control flow"), "{error}");
    mesh.wait_for_its_end().await;
    assert!(mesh.dir.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_modules_are_being_compiled_do_not_fill_the_places_of_a_worker() {
    let mesh = Bombed::start().await;
    let ended = Arc::new(AtomicUsize::new(0));
    // More than a node of one thread has places for units of work. Each takes seconds of processor time.
    for number in 0..8 {
        let job = mesh.attack(&format!("endless{number}"));
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            let _ = job.result().await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    mesh.wait_for_compilation().await;
    mesh.honest("one").await;
    assert_eq!(ended.load(Ordering::Relaxed), 0, "the honest job waited for another");
    for name in ["two", "three", "four"] {
        mesh.honest(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_constructor_delays_no_other_job() {
    let mesh = Bombed::start().await;
    let endless = mesh.attack("endless");
    mesh.wait_for_compilation().await;
    mesh.honest("honest").await;
    let error = endless.result().await.expect_err("it never starts").to_string();
    assert!(error.contains("constructors were ended at their limit"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_ends_the_compilation_of_its_module() {
    let mesh = Bombed::start().await;
    let bomb = mesh.attack("bomb");
    mesh.wait_for_compilation().await;
    bomb.cancel().await;
    mesh.wait_for_its_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_compilation_outlives_its_node() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut mesh = Bombed::start().await;
        let _bomb = mesh.attack("bomb");
        mesh.wait_for_compilation().await;
        let compiling = processes_of(mesh.node.pid());
        assert!(!compiling.is_empty());
        mesh.node.signal(signal);
        mesh.node.ended();
        let began = Instant::now();
        while compiling.iter().any(|id| is_alive(*id)) {
            assert!(began.elapsed() < Duration::from_secs(60), "{signal:?}: {compiling:?} go on");
            tokio::task::yield_now().await;
        }
    }
}

/// The compiling processes of a node.
fn processes_of(node: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(name, parent, _)| name == COMPILING && parent == node)).collect()
}

fn is_alive(process: u32) -> bool {
    stat(process).is_some_and(|(name, _, state)| name == COMPILING && state != "Z")
}

/// The name, the parent and the state of a process.
fn stat(process: u32) -> Option<(String, u32, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
    Some((head.split_once('(')?.1.to_owned(), parent, state))
}
