//! Peers of an older build and of this one in one mesh. Run by `scripts/older`, which builds the older one.

use std::path::{Path, PathBuf};
use std::process::Command;

use webmesh_tests::mesh::{assert_same, corpus_of, slow_word_count};
use webmesh_tests::process::{Server, Submission, binary, confine};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Build {
    Older,
    This,
}

impl Build {
    fn other(self) -> Self {
        if self == Self::Older { Self::This } else { Self::Older }
    }

    /// A command of a program of this build that writes nothing outside `data`.
    fn command(self, program: &str, data: &Path) -> Command {
        let path = match self {
            Self::This => binary(program),
            Self::Older => {
                let folder = std::env::var_os("WEBMESH_OLDER").expect("WEBMESH_OLDER names the older build's folder");
                PathBuf::from(folder).join(program)
            }
        };
        let mut command = confine(Command::new(path), data);
        if self == Self::Older {
            let toolchain =
                std::env::var_os("WEBMESH_OLDER_TOOLCHAIN").expect("WEBMESH_OLDER_TOOLCHAIN names a folder");
            command.env("WEBMESH_TOOLCHAIN", toolchain);
        }
        command
    }
}

/// A mesh with a worker of each build, whose bootstrap node is of `build`, runs a job that the other build submits.
fn assert_mesh_works(build: Build) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name);
    let expected = corpus_of(&at("corpus"), 40, 71);
    let mut bootstrap = build.command("webmesh-bootstrap", &at("bootstrap"));
    bootstrap.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--data"]).arg(at("bootstrap"));
    let bootstrap = Server::start(&mut bootstrap);
    let nodes = [Build::Older, Build::This].map(|build| {
        let data = at(&format!("{build:?}"));
        let mut node = build.command("webmesh", &data);
        node.args(["node", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", "--threads", "1"]);
        Server::start(node.args(["--bootstrap", &bootstrap.address, "--data"]).arg(&data))
    });
    let source = at("slow.cpp");
    std::fs::write(&source, slow_word_count()).expect("the source can be written");
    let mut submit = build.other().command("webmesh", &at("user"));
    submit.args(["submit", "--docs-per-task", "1", "--bootstrap", &bootstrap.address, "--data"]).arg(at("user"));
    let mut job = Submission::start(submit.arg(&source).arg(at("corpus")).arg("-o").arg(at("result.tsv")));
    let mut workers = 0;
    job.wait_for_each(|event| {
        workers = workers.max(event["workers"].as_u64().unwrap_or(0));
        event["event"] == "ended"
    });
    let (code, said) = job.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_same(&at("result.tsv"), &expected);
    assert_eq!(workers, nodes.len() as u64, "both builds work on the job");
}

#[test]
#[ignore = "needs an older build: run scripts/older"]
fn an_older_build_runs_a_job_of_this_one() {
    assert_mesh_works(Build::Older);
}

#[test]
#[ignore = "needs an older build: run scripts/older"]
fn this_build_runs_a_job_of_an_older_one() {
    assert_mesh_works(Build::This);
}
