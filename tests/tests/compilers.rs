//! A compilation survives the loss of the peer that compiles.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use webmesh_tests::mesh::Mesh;
use webmesh_tests::process::{Server, Submission, descendants};

/// Timeout of every wait: nothing here takes nearly so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts documents, after some seconds of CPU time in the compiler: long enough to act on it meanwhile.
fn slow_to_compile() -> String {
    let mut source = "template<int N> constexpr int spin() {
          int x = N;
          for (int i = 0; i < 140'000; ++i) x = (x * 3 + i) & 0xffff;
          return x;
        }\n"
    .to_owned();
    for number in 0..40 {
        source.push_str(&format!("constexpr int spun{number} = spin<{number}>();\n"));
    }
    source
        + "void map(string_view, webmesh::Emitter<int>& out) { out.emit(\"documents\", 1); }
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, (int)vals.size()}; }\n"
}

/// A mesh in which the bootstrap node and the only other node have a compiler, and a job that is being compiled.
struct Place {
    mesh: Mesh,
    job: Submission,
    result: PathBuf,
}

impl Place {
    fn start(roles: &str) -> Self {
        let mesh = Mesh::start(1, &["--roles", roles]);
        let (source, input) = (mesh.file("slow.cpp", &slow_to_compile()), mesh.file("input.txt", "one\n"));
        let result = mesh.path("result.tsv");
        let job = Submission::start(&mut mesh.submit_job("user", &source, &input, &result));
        Self { mesh, job, result }
    }

    /// Waits until one of the servers compiles; returns whether it is the bootstrap node.
    fn compiling(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            for (server, is_bootstrap) in [(&self.mesh.bootstrap, true), (&self.mesh.nodes[0], false)] {
                if descendants(server.pid()).iter().any(|name| name == "clang") {
                    return is_bootstrap;
                }
            }
            assert!(Instant::now() < end, "nobody compiles");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asserts that the job ends with the right result.
    fn finish(self) {
        let (code, said) = self.job.finish();
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(std::fs::read_to_string(self.result).expect("a result"), "documents\t1\n");
    }
}

/// Whether an event says, with these words, what the job waits for.
fn says(event: &serde_json::Value, words: &str) -> bool {
    event["event"] == "phase" && event["text"].as_str().is_some_and(|text| text.contains(words))
}

#[test]
fn a_killed_compiler_is_replaced() {
    let mut place = Place::start("worker,shuffler,compiler");
    let is_bootstrap = place.compiling();
    // If the bootstrap node compiles, the killed process is not needed for anything else.
    if is_bootstrap {
        place.mesh.bootstrap.kill();
    } else {
        let node = &place.mesh.nodes[0];
        let address = node.address.clone();
        let spare = place.mesh.path("spare");
        place.mesh.nodes.push(Server::node(&spare, &[&place.mesh.bootstrap.address, &address], &[]));
        place.mesh.nodes[0].kill();
    }
    place.job.wait_for(|event| says(event, "looking for another compiler"));
    place.finish();
}

#[test]
fn a_suspended_compiler_is_replaced() {
    let mut place = Place::start("worker,shuffler,compiler");
    let is_bootstrap = place.compiling();
    let spare = place.mesh.path("spare");
    // Its own compilation goes on; its answer does not arrive.
    let (stopped, other) = if is_bootstrap {
        (&place.mesh.bootstrap, place.mesh.nodes[0].address.clone())
    } else {
        (&place.mesh.nodes[0], place.mesh.bootstrap.address.clone())
    };
    stopped.signal(Signal::STOP);
    let worker = Server::node(&spare, &[&other], &[]);
    place.mesh.nodes.push(worker);
    place.job.wait_for(|event| says(event, "has not answered"));
    place.finish();
}

#[test]
fn a_job_waits_for_its_only_compiler_to_come_back() {
    let mut place = Place::start("worker,shuffler");
    assert!(place.compiling(), "the bootstrap node has the only compiler");
    let address = place.mesh.bootstrap.address.clone();
    let (listen, _) = address.split_once("/p2p/").expect("an address with an id");
    place.mesh.bootstrap.kill();
    place.job.wait_for(|event| says(event, "looking for another compiler"));
    place.mesh.bootstrap = Server::bootstrap_at(&place.mesh.path("bootstrap"), listen);
    assert_eq!(place.mesh.bootstrap.address, address, "the same peer at the same place");
    place.finish();
}
