//! Peers of the same home network find each other without being told of anybody.
//!
//! mDNS goes out by multicast, and never over a loopback address. So the test makes a network of its own, a namespace
//! whose one interface is a loopback with an ordinary address: nothing leaves it, and nobody else is in it.

use std::path::Path;
use std::process::Command;

use webmesh_tests::process::{Server, assert_success, binary, confine, output, stderr};

/// An address of a private network, which the namespace's interface gets.
const ADDRESS: &str = "10.77.0.1";

/// A `webmesh` command behind the words of `prefix`.
fn within(prefix: &[&str], data: &Path, arguments: &[&str]) -> Command {
    let mut command = confine(Command::new(prefix[0]), data);
    command.args(&prefix[1..]).arg(binary("webmesh")).args(arguments).arg("--data").arg(data);
    command
}

#[test]
fn nodes_of_one_network_find_each_other_by_mdns() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let alone = ["unshare", "--map-root-user", "--net"];
    let probe = output(Command::new(alone[0]).args(&alone[1..]).arg("true"));
    if !probe.status.success() {
        eprintln!("NOT TESTED: mDNS, for this machine gives no network namespace: {}", stderr(&probe));
        return;
    }
    let set_up = format!(
        "ip link set lo up multicast on && ip address add {ADDRESS}/24 dev lo && ip route add 224.0.0.0/4 dev lo \
         && exec \"$@\""
    );
    let listen = format!("/ip4/{ADDRESS}/tcp/0");
    let node = ["node", "--threads", "1", "--listen", &listen];
    let first_prefix = [&alone[..], &["sh", "-c", &set_up, "sh"]].concat();
    let first = Server::start(&mut within(&first_prefix, &dir.path().join("first"), &node));
    let pid = first.pid().to_string();
    let there = ["nsenter", "--target", &pid, "--user", "--net", "--preserve-credentials"];
    let second = Server::start(&mut within(&there, &dir.path().join("second"), &node));

    // Each look takes a connection and its introductions: no need to wait beside it.
    let found = (0..30).any(|_| {
        let peers = ["peers", "--json", "--bootstrap", &second.address];
        let listed = output(&mut within(&there, &dir.path().join("asker"), &peers));
        assert_success(&listed);
        String::from_utf8_lossy(&listed.stdout).contains(&first.peer)
    });
    assert!(found, "the second node did not find the first");
}
