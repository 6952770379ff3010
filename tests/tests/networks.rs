//! Networks that lack something: nameservers, UDP, TCP.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use webmesh_tests::process::{Server, Watchdog, assert_success, binary, confine, output, stderr, webmesh};

#[test]
fn an_unresponsive_address_over_one_transport_suggests_the_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers = |address: &str| {
        let asked = output(webmesh(dir.path()).args(["peers", "--bootstrap", address, "--data"]).arg(dir.path()));
        assert_eq!(asked.status.code(), Some(1));
        stderr(&asked)
    };
    let tcp = peers("/ip4/127.0.0.1/tcp/9");
    assert!(tcp.contains("blocks TCP") && tcp.contains("/ip4/127.0.0.1/udp/9/quic-v1"), "{tcp}");
    // No reply says that the port is closed, as with a firewall that drops everything.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let quic = peers(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1"));
    assert!(quic.contains("blocks UDP") && quic.contains(&format!("/ip4/127.0.0.1/tcp/{port}")), "{quic}");
}

#[test]
fn a_node_reports_why_its_bootstrap_peer_is_unreachable_and_what_to_try() {
    let dir = tempfile::tempdir().expect("a folder");
    let address = "/ip4/127.0.0.1/tcp/9";
    let mut command = webmesh(dir.path());
    command.args(["node", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", address, "--data"]);
    let node = command.arg(dir.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut node = Ended(node);
    let _watchdog = Watchdog::over(&node.0);
    let log = BufReader::new(node.0.stderr.take().expect("its log is piped"));
    let line = log.lines().map_while(Result::ok).find(|line| line.contains(address)).expect("it tells");
    assert!(line.contains("refused") && line.contains("/udp/9/quic-v1"), "{line}");
}

/// A process that is killed with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_without_nameservers_starts_and_dials_ip_addresses() {
    let dir = tempfile::tempdir().expect("a folder");
    let empty = dir.path().join("resolv.conf");
    std::fs::write(&empty, "").expect("a file can be written");
    // A machine whose /etc/resolv.conf is empty, and one that has none: an /etc without it.
    let no_etc = dir.path().join("etc");
    std::fs::create_dir(&no_etc).expect("a folder can be made");
    let machines = [[empty.to_str(), Some("/etc/resolv.conf")], [no_etc.to_str(), Some("/etc")]];
    for [here, there] in machines.map(|paths| paths.map(|path| path.expect("a name"))) {
        let program = |data: &str, words: &[&str]| {
            let mut command = Command::new("bwrap");
            command.args(["--dev-bind", "/", "/", "--bind", here, there, "--die-with-parent", "--"]);
            command.arg(binary("webmesh")).args(words).args(["--data", data]);
            confine(command, dir.path())
        };
        let works =
            output(Command::new("bwrap").args(["--dev-bind", "/", "/", "--bind", here, there, "--", "/bin/true"]));
        if !works.status.success() {
            eprintln!("NOT TESTED: {}", stderr(&works));
            continue;
        }
        let data = |name: &str| dir.path().join(name).to_str().expect("a name").to_owned();
        let words = ["node", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
        let node = Server::start(&mut program(&data("node"), &words));
        assert_success(&output(&mut program(&data("user"), &["peers", "--bootstrap", &node.address])));
        let named = output(&mut program(&data("user"), &["peers", "--bootstrap", "/dns4/mesh.example/tcp/4001"]));
        let text = stderr(&named);
        assert_eq!(named.status.code(), Some(1), "{text}");
        for part in ["mesh.example", "name cannot be resolved", "nameserver", "/ip4/"] {
            assert!(text.contains(part), "`{part}` is missing from:\n{text}");
        }
    }
}
