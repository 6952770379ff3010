//! Authentication: the Noise handshake on data channel 0, bound to both certificates by its prologue.

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p_core::UpgradeInfo;
use libp2p_core::connection::Endpoint;
use libp2p_core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p_identity::{Keypair, PeerId};
use libp2p_noise as noise;

use crate::fingerprint::Fingerprint;

pub use libp2p_noise::Error;

/// The Noise prologue, the same on both sides: the certificate fingerprints of the client, then of the server.
pub fn prologue(client: Fingerprint, server: Fingerprint) -> Vec<u8> {
    const PREFIX: &[u8] = b"libp2p-webrtc-noise:";
    [PREFIX, &client.to_multihash().to_bytes(), &server.to_multihash().to_bytes()].concat()
}

/// Runs the handshake as the given end (the dialer is the client) and returns the authenticated peer.
///
/// The Noise roles are reversed, as the specification requires: the server is the Noise initiator, since DTLS allows it
/// to send first.
///
/// # Errors
/// [`Error`] if the peer cannot prove its identity, or the channel breaks.
pub async fn authenticate<T>(
    keys: &Keypair,
    channel: T,
    end: Endpoint,
    client: Fingerprint,
    server: Fingerprint,
) -> Result<PeerId, noise::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = noise::Config::new(keys)?.with_prologue(prologue(client, server));
    let info = config.protocol_info().next().expect("Noise has one protocol name");
    let (peer, channel) = match end {
        Endpoint::Dialer => config.upgrade_inbound(channel, info).await?,
        Endpoint::Listener => config.upgrade_outbound(channel, info).await?,
    };
    close(channel).await;
    Ok(peer)
}

/// Closes the channel. The peer may have finished and closed it first.
async fn close(mut channel: impl AsyncWrite + Unpin) {
    if let Err(error) = channel.close().await {
        tracing::debug!(%error, "the peer closed the handshake's channel first");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_prologue_matches_the_specifications_test_vector() {
        let client = hex("3e79af40d6059617a0d83b83a52ce73b0c1f37a72c6043ad2969e2351bdca870");
        let server = hex("30fc9f469c207419dfdd0aab5f27a86c973c94e40548db9375cca2e915973b99");
        let expected = "6c69627032702d7765627274632d6e6f6973653a12203e79af40d6059617a0d83b83a52ce73b0c1f37a72c6043ad\
                        2969e2351bdca870122030fc9f469c207419dfdd0aab5f27a86c973c94e40548db9375cca2e915973b99";
        let print = |digest: Vec<u8>| Fingerprint::from_digest(digest.try_into().unwrap());
        assert_eq!(prologue(print(client), print(server)), hex(expected));
    }
}
