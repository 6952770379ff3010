//! Packs: the documents of a pack that parses fill it to the last byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webmesh_protocol::pack::{Pack, build};

fuzz_target!(|bytes: &[u8]| {
    let Ok(pack) = Pack::parse(bytes.to_vec().into()) else { return };
    let documents: Vec<&[u8]> = (0..pack.documents()).filter_map(|i| pack.document(i)).collect();
    assert_eq!(build(documents.iter().copied()), bytes);
    assert!(pack.document(pack.documents()).is_none());
});
