//! Signed documents: a document that opens is what its key signed, byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webmesh_protocol::Hash;
use webmesh_protocol::codec::{decode, encode};
use webmesh_protocol::message::{Request, Response};
use webmesh_protocol::sign::{Document, Signed};

fn open<T: Document>(signed: &Signed<T>) {
    if let Ok(document) = signed.open() {
        assert_eq!(Hash::of(&encode(&document)), signed.hash());
    }
}

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Ok(Request::NewEpoch(epoch)) => open(&epoch),
        Ok(Request::Ended(end)) => open(&end),
        Ok(Request::Offer { announce, .. }) => {
            open(&announce.epoch);
            announce.manifest.iter().for_each(open);
        }
        _ => {}
    }
    match decode(bytes) {
        Ok(Response::Manifest(manifest)) => open(&manifest),
        Ok(Response::NotOwner(epoch)) => open(&epoch),
        Ok(Response::Summary(summary)) => open(&summary.epoch),
        _ => {}
    }
});
