//! The HTTP interface of a node, as hostile pages and clients see it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use webmesh_tests::process::{Server, confined, http_get, output, stderr, webmesh};

/// Timeout of every read, far above what an answer takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bootstrap node with more arguments.
fn bootstrap(data: &Path, more: &[&str]) -> Server {
    let mut command = confined("webmesh-bootstrap", data);
    command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--data"]).arg(data);
    Server::start(command.args(more))
}

/// Its HTTP address: host and port.
fn http(server: &Server) -> &str {
    server.http.as_deref().expect("it serves HTTP").trim_start_matches("http://")
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream
}

/// The head of an answer, in lower case; empty if the connection was closed.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => head.push(byte[0]),
            Err(why) if why.kind() == ErrorKind::ConnectionReset => break,
            Err(why) => panic!("no answer: {why}"),
        }
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

/// The head of the answer to a request with these headers.
fn ask(address: &str, what: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("{what} HTTP/1.1\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = connect(address);
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("it can be asked");
    head(&mut stream)
}

/// The status of a WebSocket handshake.
fn joining(address: &str, headers: &[(&str, &str)]) -> String {
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    status(&ask(address, "GET /ws", &[headers, &upgrade].concat()))
}

fn status(head: &str) -> String {
    head.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_page_of_another_origin_can_neither_join_nor_act() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = bootstrap(dir.path(), &["--allow-origin", "https://pages.example"]);
    let address = http(&server);
    let own = format!("http://{address}");
    let join = |origin: &str| joining(address, &[("Host", address), ("Origin", origin)]);
    for origin in ["https://evil.example", "http://127.0.0.1:1", "null"] {
        assert_eq!(join(origin), "403", "{origin}");
        let ends = ask(address, "POST /job-ends", &[("Host", address), ("Origin", origin), ("Content-Length", "0")]);
        assert_eq!(status(&ends), "403", "{origin}");
    }
    assert_eq!(join(&own), "101", "a page of its own");
    assert_eq!(join("https://pages.example"), "101", "a page that the operator allowed");
    assert_eq!(joining(address, &[("Host", address)]), "101", "a program");
    let refusal = http_get_from(address, "https://evil.example");
    assert!(refusal.contains("--allow-origin https://evil.example"), "{refusal}");
}

/// The whole answer to a post from a page of `origin`.
fn http_get_from(address: &str, origin: &str) -> String {
    let mut stream = connect(address);
    let request =
        format!("POST /job-ends HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it can be asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_rebound_name_reaches_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let named = ["--http-name", "mesh.example", "--external", "/dns4/outside.example/tcp/4001"];
    let server = bootstrap(dir.path(), &named);
    let address = http(&server);
    let rebound = [("Host", "evil.example:8080"), ("Origin", "http://evil.example:8080")];
    assert_eq!(joining(address, &rebound), "421");
    for what in ["GET /", "GET /healthz", "GET /metrics", "GET /.well-known/webmesh.json", "POST /job-ends"] {
        assert_eq!(status(&ask(address, what, &rebound)), "421", "{what}");
    }
    for host in ["localhost:8080", "[::1]:8080", "mesh.example", "outside.example:8080", address] {
        assert_eq!(status(&ask(address, "GET /healthz", &[("Host", host)])), "200", "{host}");
    }
    let origin = ("Origin", "https://mesh.example");
    assert_eq!(joining(address, &[("Host", "mesh.example"), origin]), "101", "behind a proxy that speaks TLS");
}

#[test]
fn only_pages_of_allowed_origins_may_read_the_addresses() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = bootstrap(dir.path(), &["--allow-origin", "https://pages.example"]);
    let address = http(&server);
    let permission = |origin: &str| {
        let head = ask(address, "GET /.well-known/webmesh.json", &[("Host", address), ("Origin", origin)]);
        assert!(head.contains("vary: origin"), "{head}");
        head.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: ").map(str::to_owned))
    };
    assert_eq!(permission("https://pages.example").as_deref(), Some("https://pages.example"));
    assert_eq!(permission("https://evil.example"), None);
    assert_eq!(permission(&format!("http://{address}")), None);
    let health = ask(address, "GET /healthz", &[("Host", address), ("Origin", "https://pages.example")]);
    assert!(!health.contains("access-control"), "{health}");
}

#[test]
fn every_answer_tells_browsers_what_they_may_do_with_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = bootstrap(dir.path(), &[]);
    let address = http(&server);
    let own = [("Host", address), ("Content-Length", "0")];
    for (what, headers) in [
        ("GET /", own),
        ("GET /healthz", own),
        ("GET /metrics", own),
        ("GET /.well-known/webmesh.json", own),
        ("GET /nothing", own),
        ("GET /ws", own),
        ("POST /job-ends", own),
        ("DELETE /healthz", own),
        ("GET /", [("Host", "evil.example"), ("Content-Length", "0")]),
        ("POST /job-ends", [("Host", address), ("Origin", "https://evil.example")]),
    ] {
        let head = ask(address, what, &headers);
        for wanted in [
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            "content-security-policy: default-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(head.contains(wanted), "{what} lacks {wanted}: {head}");
        }
    }
}

#[test]
fn slow_clients_keep_nobody_from_the_page_or_the_mesh() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = bootstrap(dir.path(), &[]);
    let address = http(&server);
    // Several times the number of places, and more with each of the two requests.
    let slow = || {
        (0..300)
            .map(|_| {
                let mut stream = connect(address);
                stream.write_all(b"GET /ws HTTP/1.1\r\nHo").expect("it takes a part of a head");
                stream
            })
            .collect::<Vec<_>>()
    };
    let mut heads = slow();
    assert_eq!(status(&ask(address, "GET /healthz", &[("Host", address)])), "200");
    assert_waits(heads.last_mut().expect("there are some"));
    let mut heads = slow();
    assert_eq!(joining(address, &[("Host", address)]), "101");
    assert_waits(heads.last_mut().expect("there are some"));
}

/// Asserts that a connection is open still: those after it did not have to wait for its end.
fn assert_waits(slow: &mut TcpStream) {
    slow.set_nonblocking(true).expect("a socket can be told not to block");
    let read = slow.read(&mut [0]);
    assert!(matches!(&read, Err(why) if why.kind() == ErrorKind::WouldBlock), "it was closed: {read:?}");
}

#[test]
fn slow_heads_and_bodies_are_timed_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = bootstrap(dir.path(), &[]);
    let address = http(&server);
    let mut slow_head = connect(address);
    slow_head.write_all(b"GET / HTTP/1.1\r\nHo").expect("it takes a part of a head");
    let mut slow_body = connect(address);
    let request = format!("POST /job-ends HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\nx");
    slow_body.write_all(request.as_bytes()).expect("it takes a part of a body");
    assert_eq!(head(&mut slow_head), "");
    assert_eq!(status(&head(&mut slow_body)), "408");
    assert!(http_get(address, "/healthz").contains("\"status\":\"ok\""));
}

#[test]
fn wrong_origins_and_names_on_the_command_line_are_explained() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (flag, value, expected) in [
        ("--allow-origin", "pages.example", "expected an origin: http:// or https://"),
        ("--allow-origin", "https://pages.example/join", "expected an origin"),
        ("--http-name", "http://mesh.example", "expected a host name without scheme and port"),
    ] {
        let refused = output(webmesh(dir.path()).args(["node", "--http", "127.0.0.1:0", flag, value]));
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
}
