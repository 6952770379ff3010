//! Session descriptions and credentials: accepted credentials are safe to write into an SDP line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webmesh_webrtc_direct::credentials::{Pair, Version};
use webmesh_webrtc_direct::sdp;

fuzz_target!(|text: &str| {
    let lines = text.lines().count();
    assert_eq!(sdp::rewrite_offer(text, &Pair::generate(Version::V1)).lines().count(), lines);
    let _ = (sdp::fingerprint(text), sdp::mid(text));
    for pair in [sdp::credentials(text).ok().map(Pair::v2), Pair::from_username(text).ok()].into_iter().flatten() {
        for part in [pair.server.ufrag(), pair.client.ufrag(), pair.client.password()] {
            assert!(part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'));
        }
    }
});
