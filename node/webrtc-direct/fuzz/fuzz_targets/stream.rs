//! Messages on a data channel: for any input, memory stays bounded and the stream can still be closed.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use webmesh_webrtc_direct::limits::{DATA_BYTES, RECEIVE_HARD_BYTES};
use webmesh_webrtc_direct::stream::{Credits, Stream};

fuzz_target!(|deliveries: Vec<Vec<u8>>| {
    for credits in [Credits::Unknown, Credits::Absent, Credits::Known, Credits::Announce] {
        let mut stream = Stream::new(credits, true);
        for delivery in &deliveries {
            if stream.receive(Bytes::copy_from_slice(delivery)).is_err() {
                break;
            }
            let _ = stream.read(&mut [0; 100]);
            stream.grant(1 << 20);
            assert!(stream.beyond() <= RECEIVE_HARD_BYTES + DATA_BYTES);
            let _ = stream.write(&[0; 100]);
            let _ = stream.next_message();
        }
        stream.release();
        while stream.next_message().is_some() {}
        stream.channel_closed();
        assert!(stream.is_done() && !stream.has_message());
    }
});
