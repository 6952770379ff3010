//! If the service is killed, its sandboxes end too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{descendants, eventually, new_requester, sandboxes, service_in};
use webmesh_compiler::SandboxKind;

/// Environment variable with the sandbox for this file's second test, which runs in a process of its own.
const ROLE: &str = "WEBMESH_TEST_SANDBOX";

#[test]
fn nothing_outlives_a_killed_service() {
    for kind in sandboxes() {
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_service_compiles_a_bomb", "--ignored"])
            .env(ROLE, kind.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut sandbox = Vec::new();
        // The probes run clang too, but only briefly, so this waits for one that has used a second.
        eventually("the bomb is being compiled", || {
            sandbox = descendants(service.id());
            sandbox.iter().any(|(pid, name)| name == "clang" && has_used_a_second(*pid))
        });
        service.kill().unwrap();
        service.wait().unwrap();
        for (pid, name) in sandbox {
            eventually(&format!("{name} ({pid}) is gone, in {kind}"), || is_gone(pid));
        }
    }
}

#[tokio::test]
#[ignore = "part of nothing_outlives_a_killed_service, which kills it"]
async fn a_service_compiles_a_bomb() {
    let role = std::env::var(ROLE).expect("started by the other test");
    let kind = SandboxKind::ALL.into_iter().find(|kind| kind.to_string() == role).expect("a sandbox");
    let service = service_in(kind, Duration::from_secs(60));
    let bomb = "template<int D, long long X> struct B { static constexpr long long v = B<D-1,2*X>::v + B<D-1,2*X+1>::v; };\n\
                template<long long X> struct B<0, X> { static constexpr long long v = X; };\nlong long boom = B<50, 1>::v;\n";
    let answer = service.compiler.compile(new_requester(), "bomb.cpp", bomb.as_bytes()).await;
    panic!("it was not killed: {answer:?}");
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn is_gone(pid: u32) -> bool {
    // After the name, the state is the first field, and the user time, in ticks of 10 ms, the twelfth.
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

fn has_used_a_second(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[11].parse::<u64>().is_ok_and(|ticks| ticks > 100))
}
