//! What opens data channels.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| libp2p_webrtc_direct::fuzzing::dcep(bytes));
