//! If the service is killed, its sandboxes end too.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{assert_end, new_requester, sandboxes, service_in, wait_for_compile};
use webmesh_compiler::SandboxKind;

/// Environment variable with the sandbox for this file's second test, which runs in a process of its own.
const ROLE: &str = "WEBMESH_TEST_SANDBOX";

/// What that test prints when its service has started: its probes of the sandbox, which run clang too, have ended.
const STARTED: &str = "the service has started";

#[test]
fn nothing_outlives_a_killed_service() {
    for kind in sandboxes() {
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_service_compiles_a_bomb", "--ignored", "--nocapture"])
            .env(ROLE, kind.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with(STARTED)), "in {kind}");
        let sandbox = wait_for_compile(service.id());
        service.kill().unwrap();
        service.wait().unwrap();
        assert_end(&sandbox);
    }
}

#[tokio::test]
#[ignore = "part of nothing_outlives_a_killed_service, which kills it"]
async fn a_service_compiles_a_bomb() {
    let role = std::env::var(ROLE).expect("started by the other test");
    let kind = SandboxKind::ALL.into_iter().find(|kind| kind.to_string() == role).expect("a sandbox");
    let service = service_in(kind, Duration::from_secs(60));
    println!("{STARTED}");
    let bomb = "template<int D, long long X> struct B { static constexpr long long v = B<D-1,2*X>::v + B<D-1,2*X+1>::v; };\n\
                template<long long X> struct B<0, X> { static constexpr long long v = X; };\nlong long boom = B<50, 1>::v;\n";
    let answer = service.compiler.compile(new_requester(), "bomb.cpp", bomb.as_bytes()).await;
    panic!("it was not killed: {answer:?}");
}
