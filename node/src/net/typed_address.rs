//! Addresses as people type them: a multiaddress, or an error that suggests the multiaddress that was probably meant.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Default port of a bootstrap node.
const USUAL_PORT: u16 = 4001;

/// Parses an address to dial or to listen at: a multiaddress with a host and a transport.
///
/// # Errors
/// A message for the user, with an example derived from the input.
pub fn parse_address(text: &str) -> Result<Multiaddr, String> {
    let text = text.trim();
    match text.parse::<Multiaddr>() {
        Ok(address) if !address.is_empty() => check(address, text),
        _ => Err(not_a_multiaddress(text)),
    }
}

/// Checks that the address can be dialled: the parser accepts any sequence of parts.
fn check(address: Multiaddr, text: &str) -> Result<Multiaddr, String> {
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::P2p(peer)) => return Err(peer_id_alone(&peer)),
        Some(Protocol::Ip4(ip)) => format!("/ip4/{ip}"),
        Some(Protocol::Ip6(ip)) => format!("/ip6/{ip}"),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => {
            text.split('/').take(3).collect::<Vec<_>>().join("/")
        }
        // Any other combination is left to the transports.
        _ => return Ok(address),
    };
    match (parts.next(), parts.next()) {
        (Some(Protocol::Udp(port)), None | Some(Protocol::P2p(_))) => Err(format!(
            "it names a UDP port but no protocol over it: write {host}/udp/{port}/quic-v1 or \
             {host}/udp/{port}/webrtc-direct"
        )),
        (None | Some(Protocol::P2p(_)), _) if !text.starts_with("/dnsaddr/") => {
            Err(format!("it has no port: write {host}/tcp/{USUAL_PORT}, with the port of that peer"))
        }
        _ => Ok(address),
    }
}

fn not_a_multiaddress(text: &str) -> String {
    let lead = "this is not a multiaddress";
    if let Ok(peer) = text.parse::<PeerId>() {
        return peer_id_alone(&peer);
    }
    if let Some(url) = ["http://", "https://", "ws://", "wss://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
        let (host, _) = host_and_port(url.split(['/', '?', '#']).next().unwrap_or_default());
        let listed = match text.strip_prefix("http") {
            Some(_) => {
                let root = text.split('/').take(3).collect::<Vec<_>>().join("/");
                format!("; the node lists its addresses at {root}/.well-known/webmesh.json")
            }
            None => String::new(),
        };
        let Some(host) = host else { return general(lead) };
        return format!(
            "{lead} but a URL: write {host}/tcp/{USUAL_PORT}, with the port at which that peer listens{listed}"
        );
    }
    // A slash is missing or redundant, or the name of a protocol is.
    let with_slash = format!("/{}", text.trim_matches('/'));
    if with_slash != text && with_slash.parse::<Multiaddr>().is_ok_and(|address| check(address, &with_slash).is_ok()) {
        return format!("{lead}: write {with_slash}");
    }
    if let [host, port] = text.trim_matches('/').split('/').collect::<Vec<_>>()[..]
        && let (Some(host), None) = host_and_port(host)
        && let Ok(port) = port.parse::<u16>()
    {
        return format!("{lead}: write {host}/tcp/{port}");
    }
    match host_and_port(text) {
        (Some(host), Some(port)) => format!("{lead}: write {host}/tcp/{port}"),
        (Some(host), None) => format!("{lead}: write {host}/tcp/{USUAL_PORT}, with the port of that peer"),
        (None, _) => general(lead),
    }
}

fn general(lead: &str) -> String {
    format!("{lead}, such as /ip4/192.0.2.7/tcp/{USUAL_PORT} or /dns/mesh.example/tcp/{USUAL_PORT}")
}

fn peer_id_alone(peer: &PeerId) -> String {
    format!(
        "a peer id says who, not where: write the address before it, as in /ip4/192.0.2.7/tcp/{USUAL_PORT}/p2p/{peer}"
    )
}

/// The parts of `host:port` as parts of a multiaddress; no host if there is no valid one.
fn host_and_port(text: &str) -> (Option<String>, Option<u16>) {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return (Some(of_ip(ip)), None);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => return (None, None),
        },
        None => (text, None),
    };
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return (Some(of_ip(ip)), port);
    }
    let is_name = !host.is_empty()
        && host.chars().any(char::is_alphabetic)
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (is_name.then(|| format!("/dns/{host}")), port)
}

fn of_ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("/ip4/{ip}"),
        IpAddr::V6(ip) => format!("/ip6/{ip}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWAtkZQBtPvmRSTUe1kXnPGV4tHA4ZhjBVtaHHuXcM4H5p";

    #[test]
    fn an_error_suggests_the_multiaddress_that_was_probably_meant() {
        let url = "write /dns/mesh.example/tcp/4001, with the port at which that peer listens; the node lists its \
                   addresses at http://mesh.example:8080/.well-known/webmesh.json";
        for (typed, said) in [
            ("127.0.0.1:4001", "write /ip4/127.0.0.1/tcp/4001"),
            ("127.0.0.1", "write /ip4/127.0.0.1/tcp/4001, with the port"),
            ("[::1]:5000", "write /ip6/::1/tcp/5000"),
            ("::1", "write /ip6/::1/tcp/4001"),
            ("mesh.example:4001", "write /dns/mesh.example/tcp/4001"),
            ("localhost:9", "write /dns/localhost/tcp/9"),
            ("localhost", "write /dns/localhost/tcp/4001"),
            ("http://mesh.example:8080/", url),
            ("https://192.0.2.7/#join", "write /ip4/192.0.2.7/tcp/4001"),
            ("ws://[::1]:8080", "write /ip6/::1/tcp/4001"),
            ("ip4/127.0.0.1/tcp/4001", "write /ip4/127.0.0.1/tcp/4001"),
            ("/ip4/127.0.0.1/tcp/4001/", "write /ip4/127.0.0.1/tcp/4001"),
            ("/127.0.0.1/4001", "write /ip4/127.0.0.1/tcp/4001"),
            ("/ip4/127.0.0.1", "write /ip4/127.0.0.1/tcp/4001"),
            ("/dns4/mesh.example", "write /dns4/mesh.example/tcp/4001"),
            ("/ip4/127.0.0.1/udp/4001", "write /ip4/127.0.0.1/udp/4001/quic-v1"),
            ("", "such as /ip4/192.0.2.7/tcp/4001"),
            ("tcp 4001", "such as /ip4/192.0.2.7/tcp/4001"),
            ("/ip4/300.0.0.1/tcp/4001", "such as /ip4/192.0.2.7/tcp/4001"),
        ] {
            let why = parse_address(typed).unwrap_err();
            assert!(why.contains(said), "`{typed}`: {why}");
        }
    }

    #[test]
    fn a_peer_id_alone_is_refused_as_an_address() {
        for typed in [PEER.to_owned(), format!("/p2p/{PEER}")] {
            let why = parse_address(&typed).unwrap_err();
            assert!(why.contains(&format!("/tcp/4001/p2p/{PEER}")) && why.contains("who, not where"), "{why}");
        }
    }

    #[test]
    fn every_suggested_address_is_valid() {
        for typed in ["127.0.0.1:4001", "[::1]:5000", "mesh.example", "/127.0.0.1/4001", "/ip4/127.0.0.1/udp/1"] {
            let why = parse_address(typed).unwrap_err();
            let example = why.split("write ").nth(1).and_then(|rest| rest.split([',', ' ']).next()).unwrap();
            assert!(parse_address(example).is_ok(), "{example}");
        }
        for good in [
            format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}"),
            format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}/p2p-circuit"),
            "/dns4/mesh.example/tcp/443/wss".to_owned(),
            "/ip4/0.0.0.0/udp/0/webrtc-direct".to_owned(),
            "/dnsaddr/mesh.example".to_owned(),
        ] {
            assert!(parse_address(&good).is_ok(), "{good}");
        }
    }
}
