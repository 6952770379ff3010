//! SCTP packets, as far as they are read outside the association.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| libp2p_webrtc_direct::fuzzing::packet(bytes));
