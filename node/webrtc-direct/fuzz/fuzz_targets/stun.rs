//! STUN requests: only one with a valid MESSAGE-INTEGRITY opens a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webmesh_webrtc_direct::fuzzing::stun(bytes));
