//! A node that changes to this crate keeps its address.
#![cfg(all(feature = "published", not(target_arch = "wasm32")))]

use libp2p_webrtc::tokio::Certificate as Published;
use libp2p_webrtc_direct::Certificate;

#[test]
fn a_certificate_that_libp2p_webrtc_kept_keeps_its_hash() {
    let published = Published::generate(&mut rand::rng()).unwrap();
    let ours = Certificate::from_pem(&published.serialize_pem()).unwrap();
    assert_eq!(ours.fingerprint().to_multihash(), published.fingerprint().to_multihash());
    let kept = Certificate::from_pem(&ours.to_pem()).unwrap();
    assert_eq!(kept.fingerprint(), ours.fingerprint());
}
