//! Addresses: one that can be dialled is rebuilt from its parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libp2p_core::Multiaddr;
use webmesh_webrtc_direct::address::{build, parse_dial, parse_listen};

fuzz_target!(|bytes: &[u8]| {
    let Ok(address) = Multiaddr::try_from(bytes.to_vec()) else { return };
    let Ok(dial) = parse_dial(&address) else { return };
    assert_eq!(parse_listen(&address), Ok(dial.socket));
    let mut again = parse_dial(&build(dial.socket, Some(dial.fingerprint))).expect("a built address is valid");
    again.peer = dial.peer;
    assert_eq!(again, dial);
});
