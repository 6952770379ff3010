//! How a dial goes: descriptions, the peer's first answer, the Noise handshake.

use futures::StreamExt;
use futures::future::{self, Either};
use futures::stream::FuturesUnordered;
use futures_timer::Delay;
use libp2p_identity::{Keypair, PeerId};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RtcSdpType, RtcSessionDescription, RtcSessionDescriptionInit};

use super::connection::{Connection, ConnectionError};
use super::js::JsError;
use super::limits::{DIAL_TIMEOUT, VERSION_HEAD_START};
use super::stream::Substream;
use crate::address::{DialAddress, InvalidAddress};
use crate::credentials::{Pair, Version};
use crate::fingerprint::Fingerprint;
use crate::noise;
use crate::sdp::{self, InvalidSdp};

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be dialled.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The browser has no WebRTC here, or refused a step.
    #[error(transparent)]
    Browser(#[from] JsError),
    /// The browser's session description lacks something.
    #[error(transparent)]
    Sdp(#[from] InvalidSdp),
    /// The browser gave up.
    #[error(
        "no connection: nobody answers there, UDP is blocked on the way, or the server's certificate is not that of the address"
    )]
    NoAnswer,
    /// Not done in time.
    #[error("no authenticated peer within {} s: nobody answers there, or UDP is blocked on the way", DIAL_TIMEOUT.as_secs())]
    Timeout,
    /// Configured with none.
    #[error("no version of webrtc-direct to dial with")]
    NoVersion,
    /// The peer could not prove who it is.
    #[error("the handshake failed")]
    Handshake(#[source] noise::Error),
    /// Another peer than the address names.
    #[error("the server is {found}, not {expected} as the address says")]
    WrongPeer {
        /// Who answered.
        found: PeerId,
        /// Who is in the address.
        expected: PeerId,
    },
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Browser(error) => Self::Browser(error),
            ConnectionError::Closed | ConnectionError::Lost => Self::NoAnswer,
        }
    }
}

/// Dials, in whatever version the server and the browser both take.
pub(super) async fn dial(
    keys: Keypair,
    versions: Vec<Version>,
    address: DialAddress,
) -> Result<(PeerId, Connection), Error> {
    let dial = std::pin::pin!(dial_without_end(&keys, &versions, &address));
    match future::select(dial, Delay::new(DIAL_TIMEOUT)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Error::Timeout),
    }
}

async fn dial_without_end(
    keys: &Keypair,
    versions: &[Version],
    address: &DialAddress,
) -> Result<(PeerId, Connection), Error> {
    let Attempt { connection, handshake, fingerprint } = first_to_answer(versions, address).await?;
    let found = match noise::client(keys, handshake, fingerprint, address.fingerprint).await {
        Ok(peer) => peer,
        // A handshake that broke off says less than the reason why.
        Err(error) => return Err(connection.over().map_or(Error::Handshake(error), Error::from)),
    };
    match address.peer {
        Some(expected) if expected != found => Err(Error::WrongPeer { found, expected }),
        _ => Ok((found, connection)),
    }
}

/// One try at a connection.
struct Attempt {
    connection: Connection,
    handshake: Substream,
    /// Of the certificate that the browser made for it.
    fingerprint: Fingerprint,
}

/// A server that does not know a version does not refuse it but is silent. So after a while the next version is tried
/// beside the one before, and the first answer counts: a server that is merely far away is not given up.
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
        // The last one may take as long as the whole dial may.
        let wait = if versions.len() == 0 { DIAL_TIMEOUT } else { VERSION_HEAD_START };
        match future::select(attempts.next(), Delay::new(wait)).await {
            Either::Left((Some(Ok(attempt)), _)) => return Ok(attempt),
            Either::Left((Some(Err(error)), _)) => {
                // Browsers begin to refuse what version 1 does to an offer.
                tracing::debug!(%error, server = %address.socket, "an attempt failed");
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
        attempt.connection.answered().await?;
        Ok(attempt)
    }

    /// Makes the connection and both descriptions; the browser begins to ask the server.
    async fn start(version: Version, address: &DialAddress) -> Result<Self, Error> {
        let (connection, handshake) = Connection::new()?;
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
        // What the browser made of the offer counts, not what it was.
        let local = raw.local_description().ok_or(InvalidSdp::Missing("at all"))?.sdp();
        let pair = match credentials {
            Some(pair) => pair,
            None => Pair::v2(sdp::credentials(&local)?),
        };
        let fingerprint = sdp::fingerprint(&local)?;
        let answer = sdp::answer(address.socket, address.fingerprint, &pair.server, sdp::mid(&local)?);
        set(raw.set_remote_description(&description(RtcSdpType::Answer, &answer))).await?;
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
