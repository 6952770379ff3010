//! Submitters that take more than their share, beside an honest one, on real processes.

use std::process::Child;
use std::time::{Duration, Instant};

use webmesh_tests::mesh::Mesh;
use webmesh_tests::process::{assert_success, output};

/// The time that a small job may take beside strangers: the quanta that their tasks get, on a machine that is busy with
/// other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A submission that ends with its test.
struct Submission(Child);

impl Drop for Submission {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn endless_tasks_of_one_submitter_do_not_stop_the_job_of_another() {
    let mesh = Mesh::start(1, &[]);
    let endless = |n: u32| {
        let user = format!("stranger{n}");
        Submission(mesh.submit_endless(&user, &mesh.path(&format!("{user}.out"))).spawn().expect("it starts"))
    };
    let _strangers: Vec<Submission> = (0..2).map(endless).collect();
    let running = || output(&mut mesh.ask("watcher", &["jobs"])).stdout;
    while String::from_utf8_lossy(&running()).matches("running").count() < 2 {}
    let input = mesh.file("words.txt", "two words and two more\n");
    let (result, began) = (mesh.path("words.out"), Instant::now());
    assert_success(&output(&mut mesh.submit("honest", &input, &result)));
    let took = began.elapsed();
    println!("the honest job took {:.1} s", took.as_secs_f64());
    assert!(took < PATIENCE, "{took:?}");
    let words = std::fs::read_to_string(result).expect("a result");
    assert_eq!(words.lines().find(|line| line.starts_with("two")), Some("two\t2"));
}
