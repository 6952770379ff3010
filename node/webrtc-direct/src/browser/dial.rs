//! Dialling: session descriptions, the peer's first answer, the Noise handshake.

use futures::StreamExt;
use futures::future::{self, Either};
use futures::stream::FuturesUnordered;
use futures_timer::Delay;
use libp2p_core::connection::Endpoint;
use libp2p_identity::{Keypair, PeerId};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RtcSdpType, RtcSessionDescription, RtcSessionDescriptionInit};

use super::connection::Connection;
use super::js::JsError;
use super::limits::{DIAL_TIMEOUT, VERSION_ATTEMPT_DELAY};
use super::stream::Substream;
use crate::Error;
use crate::address::DialAddress;
use crate::credentials::{Pair, Version};
use crate::fingerprint::Fingerprint;
use crate::noise;
use crate::sdp::{self, InvalidSdp};

/// Dials with the first version that both the server and the browser accept.
pub(super) async fn dial(
    keys: Keypair,
    versions: Vec<Version>,
    address: DialAddress,
) -> Result<(PeerId, Connection), Error> {
    let dial = std::pin::pin!(dial_without_timeout(&keys, &versions, &address));
    match future::select(dial, Delay::new(DIAL_TIMEOUT)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Error::HandshakeTimeout(DIAL_TIMEOUT)),
    }
}

async fn dial_without_timeout(
    keys: &Keypair,
    versions: &[Version],
    address: &DialAddress,
) -> Result<(PeerId, Connection), Error> {
    let Attempt { connection, handshake, fingerprint } = first_to_answer(versions, address).await?;
    let actual = match noise::authenticate(keys, handshake, Endpoint::Dialer, fingerprint, address.fingerprint).await {
        Ok(peer) => peer,
        Err(error) => {
            return Err(match connection.over() {
                // If DTLS fails, the SCTP transport may close before the connection is reported as failed.
                Some(Error::ClosedByPeer) => Error::Lost,
                // Why the connection ended says more than the broken handshake.
                Some(reason) => reason,
                None => error.into(),
            });
        }
    };
    Error::check_peer(address.peer, actual)?;
    Ok((actual, connection))
}

/// An attempt to connect with one version.
struct Attempt {
    connection: Connection,
    handshake: Substream,
    /// Of the certificate that the browser generated for the connection.
    fingerprint: Fingerprint,
}

/// Tries the versions in order, with a delay between them, and takes the first answer. A server ignores an unknown
/// version instead of refusing it, so earlier attempts continue in parallel: the server may just be slow.
async fn first_to_answer(versions: &[Version], address: &DialAddress) -> Result<Attempt, Error> {
    let mut attempts = FuturesUnordered::new();
    let mut last_error = Error::NoVersion;
    let mut versions = versions.iter();
    loop {
        if let Some(&version) = versions.next() {
            attempts.push(Attempt::make(version, address));
        } else if attempts.is_empty() {
            return Err(last_error);
        }
        // After the last version only the dial's own timeout applies.
        let wait = if versions.len() == 0 { DIAL_TIMEOUT } else { VERSION_ATTEMPT_DELAY };
        match future::select(attempts.next(), Delay::new(wait)).await {
            Either::Left((Some(Ok(attempt)), _)) => return Ok(attempt),
            Either::Left((Some(Err(error)), _)) => {
                // Some browsers refuse the offer that version 1 rewrites.
                tracing::debug!(%error, server = %address.socket, "connection attempt failed");
                last_error = error;
            }
            Either::Left((None, _)) | Either::Right(_) => {}
        }
    }
}

impl Attempt {
    /// Ready once the server has answered.
    async fn make(version: Version, address: &DialAddress) -> Result<Self, Error> {
        let attempt = Self::start(version, address).await?;
        match attempt.connection.answered().await {
            Ok(()) => Ok(attempt),
            // Before the first answer, ICE has failed.
            Err(Error::Lost | Error::ClosedByPeer | Error::Closed) => Err(Error::NoAnswer),
            Err(error) => Err(error),
        }
    }

    /// Creates the connection and sets both descriptions, upon which the browser sends its first STUN request.
    async fn start(version: Version, address: &DialAddress) -> Result<Self, Error> {
        let (connection, handshake) = Connection::new(version)?;
        let raw = connection.raw();
        let offer: RtcSessionDescription = JsFuture::from(raw.create_offer()).await.map_err(JsError::from)?.into();
        let (credentials, offer) = match version {
            Version::V1 => {
                let pair = Pair::generate(version);
                let rewritten = sdp::rewrite_offer(&offer.sdp(), &pair);
                (Some(pair), rewritten)
            }
            Version::V2 => (None, offer.sdp()),
        };
        set(raw.set_local_description(&description(RtcSdpType::Offer, &offer))).await?;
        // The browser may change the offer when it sets it.
        let local = raw.local_description().ok_or(InvalidSdp::NoDescription)?.sdp();
        let pair = match credentials {
            Some(pair) => pair,
            None => Pair::v2(sdp::credentials(&local)?),
        };
        let fingerprint = sdp::fingerprint(&local)?;
        let answer = sdp::answer(address.socket, address.fingerprint, &pair.server, sdp::mid(&local)?);
        set(raw.set_remote_description(&description(RtcSdpType::Answer, &answer))).await?;
        connection.listen_for_close()?;
        tracing::debug!(server = %address.socket, ?version, "dialling");
        Ok(Self { connection, handshake, fingerprint })
    }
}

fn description(kind: RtcSdpType, sdp: &str) -> RtcSessionDescriptionInit {
    let description = RtcSessionDescriptionInit::new(kind);
    description.set_sdp(sdp);
    description
}

async fn set(promise: js_sys::Promise) -> Result<JsValue, JsError> {
    JsFuture::from(promise).await.map_err(JsError::from)
}
