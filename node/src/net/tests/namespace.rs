//! Tests in a network of their own, where this machine has the addresses that a test gives it.

use std::process::{Command, Stdio};

/// Set within the namespace.
const INSIDE: &str = "WEBMESH_TEST_NAMESPACE";

/// Runs the test called `name` again, in a network namespace whose loopback interface has `addresses`, such as
/// `10.77.1.1/24`; nothing leaves it. Returns whether this is that run: otherwise, the test is over. A connection to one
/// of the addresses also comes from it.
pub(super) fn within(name: &str, addresses: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let alone = ["--map-root-user", "--net"];
    let probe = Command::new("unshare").args(alone).arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("NOT TESTED: {name}, because this machine does not allow network namespaces");
        return false;
    }
    let set_up: String = addresses.iter().map(|address| format!("ip address add {address} dev lo && ")).collect();
    let set_up = format!("ip link set lo up && {set_up} exec \"$@\"");
    let test = std::env::current_exe().expect("a process knows where its program lies");
    let mut command = Command::new("unshare");
    command.args(alone).args(["sh", "-c", &set_up, "sh"]).arg(test).args(["--exact", name, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().expect("it was there just now");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
