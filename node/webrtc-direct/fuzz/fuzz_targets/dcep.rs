//! DCEP messages, which open data channels.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| webmesh_webrtc_direct::fuzzing::dcep(bytes));
