//! Datagrams for a connection whose handshake has not begun, each with its length in front.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| libp2p_webrtc_direct::fuzzing::session(bytes));
