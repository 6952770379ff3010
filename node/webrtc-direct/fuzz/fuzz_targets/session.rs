//! Datagrams to a connection before its handshake, each prefixed by its length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webmesh_webrtc_direct::fuzzing::session(bytes));
