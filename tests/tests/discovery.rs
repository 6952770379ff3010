//! Discovery: peers in a home network find each other without any configuration, and peers behind a router through a
//! relay or a forwarded port.
//!
//! mDNS uses multicast, and never a loopback address. So the test creates a network namespace whose only interface is a
//! loopback interface with an ordinary address: nothing leaves it, and nobody else is in it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use webmesh_tests::mesh::Mesh;
use webmesh_tests::process::{Server, assert_success, binary, confine, output, stderr, webmesh};

/// An address of a private network, assigned to the namespace's interface.
const ADDRESS: &str = "10.77.0.1";

/// A `webmesh` command, prefixed with the words of `prefix`.
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
        eprintln!("NOT TESTED: mDNS, because this machine does not allow network namespaces: {}", stderr(&probe));
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

    // Each poll takes a connection and its introductions, so there is no need for a pause.
    let found = (0..30).any(|_| {
        let peers = ["peers", "--json", "--bootstrap", &second.address];
        let listed = output(&mut within(&there, &dir.path().join("asker"), &peers));
        assert_success(&listed);
        String::from_utf8_lossy(&listed.stdout).contains(&first.peer)
    });
    assert!(found, "the second node did not find the first");
}

/// The addresses of `node` known to the mesh, once there are `enough`, as any peer that asks gets them.
fn known_addresses(mesh: &Mesh, node: &Server, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut known = Vec::new();
    // Each poll takes a connection and its introductions, so there is no need for a pause.
    for _ in 0..30 {
        let listed = output(&mut mesh.ask("asker", &["peers", "--json"]));
        assert_success(&listed);
        let peers: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("a list of peers");
        let addresses = peers.iter().find(|p| p["peer"] == node.peer.as_str()).and_then(|p| p["addresses"].as_array());
        known = addresses.into_iter().flatten().map(|a| a.as_str().expect("an address").to_owned()).collect();
        if enough(&known) {
            break;
        }
    }
    known
}

#[test]
fn a_node_behind_nat_is_known_by_a_relayed_address() {
    let mesh = Mesh::start(0, &[]);
    // It connects from 127.0.0.1, and does not listen there: to the bootstrap node, it seems to be behind a router.
    let data = mesh.path("node");
    let mut command = webmesh(&data);
    command.args(["node", "--listen", "/ip4/127.0.0.3/tcp/0", "--no-mdns", "--threads", "1", "--bootstrap"]);
    let node = Server::start(command.arg(&mesh.bootstrap.address).arg("--data").arg(&data));
    let relayed = format!("{}/p2p-circuit/p2p/{}", mesh.bootstrap.address, node.peer);
    let known = known_addresses(&mesh, &node, |known| known.contains(&relayed));
    assert!(known.contains(&relayed), "{relayed} is not among {known:?}");
}

#[test]
fn a_node_with_a_forwarded_port_is_known_by_it_only() {
    let external = "/ip4/127.0.0.9/tcp/4001";
    let mesh = Mesh::start(1, &["--external", external]);
    let node = &mesh.nodes[0];
    let full = format!("{external}/p2p/{}", node.peer);
    assert_eq!(node.ready["addresses"][0], full.as_str());
    assert_eq!(known_addresses(&mesh, node, |known| !known.is_empty()), [full]);
}
