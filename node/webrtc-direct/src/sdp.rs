//! Session descriptions (SDP) for the browser's dialer, which has no signalling channel and so writes the server's
//! answer itself.

use std::net::SocketAddr;

use crate::credentials::{Credentials, InvalidCredentials, Pair};
use crate::fingerprint::{Fingerprint, InvalidFingerprint};
use crate::limits::MESSAGE_BYTES;

/// Why a browser's session description could not be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSdp {
    /// The browser has set no local description.
    #[error("the browser has no local session description")]
    NoDescription,
    /// A required line is missing.
    #[error("the browser's session description has no line {0}")]
    Missing(&'static str),
    /// Its credentials violate RFC 8839.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    /// Its fingerprint is not a valid SHA-256 fingerprint.
    #[error(transparent)]
    Fingerprint(#[from] InvalidFingerprint),
}

/// The answer of the server at `socket`, as the server would have written it. Valid for both versions.
///
/// `mid` is that of the offer ([`mid`]); it differs between browsers.
pub fn answer(socket: SocketAddr, fingerprint: Fingerprint, server: &Credentials, mid: &str) -> String {
    let family = if socket.is_ipv4() { "IP4" } else { "IP6" };
    let ip = socket.ip();
    let port = socket.port();
    let fingerprint = fingerprint.to_sdp();
    let (ufrag, password) = (server.ufrag(), server.password());
    [
        "v=0".into(),
        format!("o=- 0 0 IN {family} {ip}"),
        "s=-".into(),
        "t=0 0".into(),
        "a=ice-lite".into(),
        format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"),
        format!("c=IN {family} {ip}"),
        format!("a=mid:{mid}"),
        "a=ice-options:ice2".into(),
        format!("a=ice-ufrag:{ufrag}"),
        format!("a=ice-pwd:{password}"),
        format!("a=fingerprint:sha-256 {fingerprint}"),
        "a=setup:passive".into(),
        "a=sctp-port:5000".into(),
        format!("a=max-message-size:{MESSAGE_BYTES}"),
        format!("a=candidate:1 1 UDP 1 {ip} {port} typ host"),
        "a=end-of-candidates".into(),
        String::new(),
    ]
    .join("\r\n")
}

/// A browser's offer for version 1: its credentials replaced by the client's of `pair`, everything else unchanged.
pub fn rewrite_offer(offer: &str, pair: &Pair) -> String {
    let mut rewritten = String::with_capacity(offer.len() + 128);
    for line in offer.lines() {
        if line.starts_with("a=ice-ufrag:") {
            rewritten.push_str("a=ice-ufrag:");
            rewritten.push_str(pair.client.ufrag());
        } else if line.starts_with("a=ice-pwd:") {
            rewritten.push_str("a=ice-pwd:");
            rewritten.push_str(pair.client.password());
        } else {
            rewritten.push_str(line);
        }
        rewritten.push_str("\r\n");
    }
    rewritten
}

/// The credentials in a browser's local description, from which version 2 derives the server's.
///
/// # Errors
/// [`InvalidSdp`] if they are missing or malformed.
pub fn credentials(sdp: &str) -> Result<Credentials, InvalidSdp> {
    let ufrag = value(sdp, "a=ice-ufrag:").ok_or(InvalidSdp::Missing("a=ice-ufrag"))?;
    let password = value(sdp, "a=ice-pwd:").ok_or(InvalidSdp::Missing("a=ice-pwd"))?;
    Ok(Credentials::new(ufrag, password)?)
}

/// The SHA-256 fingerprint of the browser's own certificate, for the Noise prologue.
///
/// # Errors
/// [`InvalidSdp`] if it is missing or malformed.
pub fn fingerprint(sdp: &str) -> Result<Fingerprint, InvalidSdp> {
    let mut values = sdp.lines().filter_map(|line| line.strip_prefix("a=fingerprint:"));
    let text = values
        .find_map(|value| value.split_once(' ').filter(|(hash, _)| hash.eq_ignore_ascii_case("sha-256")))
        .ok_or(InvalidSdp::Missing("a=fingerprint:sha-256"))?;
    Ok(Fingerprint::from_sdp(text.1.trim())?)
}

/// The media identification (`a=mid`) of the offer's only section.
///
/// # Errors
/// [`InvalidSdp::Missing`].
pub fn mid(sdp: &str) -> Result<&str, InvalidSdp> {
    value(sdp, "a=mid:").ok_or(InvalidSdp::Missing("a=mid"))
}

fn value<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Version;
    use proptest::prelude::*;

    fn offer() -> String {
        let fingerprint = Fingerprint::from_digest([9; 32]).to_sdp();
        format!(
            "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE data\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Qz3w\r\n\
             a=ice-pwd:5I/jz9XSHfbJkVpqWzmOZ4Bd\r\na=ice-options:trickle\r\na=fingerprint:sha-256 {fingerprint}\r\n\
             a=setup:actpass\r\na=mid:data\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
        )
    }

    #[test]
    fn credentials_fingerprint_and_mid_are_read_from_an_offer() {
        let credentials = credentials(&offer()).unwrap();
        assert_eq!((credentials.ufrag(), credentials.password()), ("Qz3w", "5I/jz9XSHfbJkVpqWzmOZ4Bd"));
        assert_eq!(fingerprint(&offer()).unwrap(), Fingerprint::from_digest([9; 32]));
        assert_eq!(mid(&offer()), Ok("data"));
    }

    #[test]
    fn the_v1_rewrite_changes_only_the_credentials() {
        let pair = Pair::generate(Version::V1);
        let rewritten = rewrite_offer(&offer(), &pair);
        assert_eq!(credentials(&rewritten).unwrap(), pair.client);
        let others = |sdp: &str| sdp.lines().filter(|l| !l.starts_with("a=ice-")).map(String::from).collect::<Vec<_>>();
        assert_eq!(others(&rewritten), others(&offer()));
        assert_eq!(rewritten.lines().count(), offer().lines().count());
    }

    #[test]
    fn the_answer_has_every_line_that_browsers_require_of_an_ice_lite_server() {
        let pair = Pair::v2(credentials(&offer()).unwrap());
        let print = Fingerprint::from_digest([5; 32]);
        let text = answer("[2001:db8::1]:4001".parse().unwrap(), print, &pair.server, "data");
        assert_eq!(credentials(&text).unwrap(), pair.server);
        assert_eq!(fingerprint(&text).unwrap(), print);
        for line in [
            "a=ice-lite",
            "a=setup:passive",
            "a=max-message-size:16384",
            "c=IN IP6 2001:db8::1",
            "a=candidate:1 1 UDP 1 2001:db8::1 4001 typ host",
            "a=mid:data",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.ends_with("\r\n"));
    }

    #[test]
    fn a_missing_line_is_named() {
        assert_eq!(credentials("v=0\r\n"), Err(InvalidSdp::Missing("a=ice-ufrag")));
        assert_eq!(fingerprint("a=fingerprint:sha-1 00"), Err(InvalidSdp::Missing("a=fingerprint:sha-256")));
        assert_eq!(mid(""), Err(InvalidSdp::Missing("a=mid")));
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "(a=(ice-ufrag|ice-pwd|mid|fingerprint):[ -~]{0,60}\r?\n){0,6}") {
            let _ = (credentials(&text), fingerprint(&text), mid(&text));
            let rewritten = rewrite_offer(&text, &Pair::generate(Version::V1));
            prop_assert_eq!(rewritten.lines().count(), text.lines().count());
        }
    }
}
