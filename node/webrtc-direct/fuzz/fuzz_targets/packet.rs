//! SCTP packets, as far as they are parsed outside the SCTP library.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webmesh_webrtc_direct::fuzzing::packet(bytes));
