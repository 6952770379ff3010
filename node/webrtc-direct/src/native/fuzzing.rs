//! Entry points of the fuzz targets to private parsers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use bytes::{Buf, Bytes};
use libp2p_core::connection::Endpoint;

use super::certificate::Certificate;
use super::session::Session;
use super::socket::Batch;
use super::{dcep, packet, stun};
use crate::credentials::{Pair, Version};

/// Parses a datagram to a listener.
pub fn stun(datagram: &[u8]) {
    if let Some(message) = stun::Message::parse(datagram)
        && let Ok(pair) = message.open()
    {
        assert!(message.is_request() && message.verify(pair.server.password()));
    }
}

/// Parses a DCEP message.
pub fn dcep(message: &[u8]) {
    if let Some(open) = dcep::Message::decode(Bytes::copy_from_slice(message)) {
        assert_eq!(dcep::Message::decode(open.encode()), Some(open));
    }
}

/// Parses an SCTP packet.
pub fn packet(packet: &[u8]) {
    let _ = packet::read(packet);
}

/// Feeds datagrams, each prefixed by its length in two bytes, to a listener's connection before its handshake.
pub fn session(mut bytes: &[u8]) {
    let (Ok(certificate), now) = (Certificate::generate(), Instant::now()) else { return };
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let pair = Pair::generate(Version::V2);
    let Ok(mut session) = Session::new(Endpoint::Listener, pair, remote, &certificate, None, now) else { return };
    let mut out = Batch::default();
    session.advance(&mut out, now);
    while let Ok(length) = bytes.try_get_u16() {
        let (datagram, rest) = bytes.split_at(bytes.len().min(length.into()));
        bytes = rest;
        session.receive(remote, datagram, &mut out, now);
        session.advance(&mut out, now);
    }
    assert!(!session.is_connected(), "arbitrary datagrams cannot complete a handshake");
}
