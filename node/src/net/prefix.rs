//! Networks that peers and HTTP clients come from: what one party gets together, since addresses within it cost nothing.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use webmesh_protocol::membership::Network;

/// The network of an address: addresses of one network share places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Prefix {
    /// This machine.
    Loopback,
    /// An IPv4 network of 256 addresses (/24).
    V4([u8; 3]),
    /// An IPv6 network as a site gets it (/48).
    V6([u8; 6]),
}

impl Prefix {
    /// The network of `address`. An IPv4 address that is written as an IPv6 one (`::ffff:192.0.2.1`) counts as IPv4.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }

    /// The same for the engine, which only compares networks.
    pub(crate) fn network(self) -> Network {
        let mut bytes = [0; 8];
        match self {
            Self::Loopback => {}
            Self::V4(prefix) => {
                bytes[0] = 4;
                bytes[1..4].copy_from_slice(&prefix);
            }
            Self::V6(prefix) => {
                bytes[0] = 6;
                bytes[1..7].copy_from_slice(&prefix);
            }
        }
        Network(bytes)
    }

    /// The network of the first host in `address`: for a circuit, that of the relay. `None` if there is no IP address.
    pub(crate) fn of_address(address: &Multiaddr) -> Option<Self> {
        address.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(Self::of(ip.into())),
            Protocol::Ip6(ip) => Some(Self::of(ip.into())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Prefix {
        Prefix::of(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_network_have_one_prefix() {
        assert_eq!(of("192.0.2.1"), of("192.0.2.250"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::9"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
        assert_eq!(of("::ffff:192.0.2.9"), of("192.0.2.1"), "one client over a socket of both protocols");
        assert_eq!(of("127.0.0.1"), of("::1"));
        assert_eq!(of("::ffff:127.0.0.1"), Prefix::Loopback);
    }
}
