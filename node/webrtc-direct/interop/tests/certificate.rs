//! A node that migrates from libp2p-webrtc keeps its address.
#![cfg(all(feature = "published", not(target_arch = "wasm32")))]

use libp2p_webrtc::tokio::Certificate as Published;
use webmesh_webrtc_direct::Certificate;

#[test]
fn a_certificate_stored_by_libp2p_webrtc_keeps_its_hash() {
    let published = Published::generate(&mut rand::rng()).unwrap();
    let ours = Certificate::from_pem(&published.serialize_pem()).unwrap();
    assert_eq!(ours.fingerprint().to_multihash(), published.fingerprint().to_multihash());
    let kept = Certificate::from_pem(&ours.to_pem()).unwrap();
    assert_eq!(kept.fingerprint(), ours.fingerprint());
}
