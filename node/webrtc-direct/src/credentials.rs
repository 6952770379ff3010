//! ICE credentials, and how a server without a signalling channel learns those of a client, in versions 1 and 2.
//!
//! A client's first STUN request carries `USERNAME = server_ufrag:client_ufrag`. The server's fragment starts with a
//! prefix that names the version. In version 1 one random value serves as both fragments and both passwords. In version
//! 2 the client keeps the credentials that its browser generated; the server's fragment is the prefix followed by the
//! client's password, and is also the server's password.

use std::fmt;

use rand::RngExt;
use rand::distr::Alphanumeric;

use crate::limits::{PASSWORD_CHARS, RANDOM_CHARS, UFRAG_CHARS, USERNAME_CHARS};

/// Prefix of the server's fragment in version 1.
pub const PREFIX_V1: &str = "libp2p+webrtc+v1/";
/// Prefix of the server's fragment in version 2.
pub const PREFIX_V2: &str = "libp2p+webrtc+v2/";

/// Version of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// The client rewrites the credentials in its own offer.
    V1,
    /// The client leaves its offer unchanged (specs#715).
    V2,
}

/// ICE credentials of one side. Always well-formed, so they are safe to write into an SDP line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    ufrag: String,
    password: String,
}

/// The credentials of both sides of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The version that these credentials are for.
    pub version: Version,
    /// The server's credentials.
    pub server: Credentials,
    /// The client's credentials.
    pub client: Credentials,
}

/// Why credentials were refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidCredentials {
    /// No `:` between the two fragments.
    #[error("STUN username has no ':' between the server's and the client's fragment")]
    NoSeparator,
    /// Longer than RFC 8489 allows.
    #[error("STUN username is longer than {USERNAME_CHARS} bytes")]
    TooLong,
    /// A fragment that RFC 8839 does not allow.
    #[error("the {0} must be 4 to 256 of the characters A-Z a-z 0-9 + /")]
    Ufrag(&'static str),
    /// A password that RFC 8839 does not allow.
    #[error("the {0} must be 22 to 256 of the characters A-Z a-z 0-9 + /")]
    Password(&'static str),
    /// Neither version 1 nor version 2.
    #[error("the server's fragment names an unknown version of webrtc-direct (supported: v1, v2)")]
    UnknownVersion,
}

impl Credentials {
    /// Checks both parts against RFC 8839, section 5.4.
    ///
    /// # Errors
    /// [`InvalidCredentials::Ufrag`] or [`InvalidCredentials::Password`].
    pub fn new(ufrag: &str, password: &str) -> Result<Self, InvalidCredentials> {
        check_ufrag(ufrag, "username fragment")?;
        if !PASSWORD_CHARS.contains(&password.len()) || !is_ice(password) {
            return Err(InvalidCredentials::Password("password"));
        }
        Ok(Self { ufrag: ufrag.into(), password: password.into() })
    }

    /// Username fragment.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// Password: the key of MESSAGE-INTEGRITY in requests to this side.
    pub fn password(&self) -> &str {
        &self.password
    }

    fn same(both: String) -> Self {
        Self { ufrag: both.clone(), password: both }
    }
}

impl fmt::Debug for Credentials {
    /// Omits the password, and most of the fragment too: in version 1, and for servers, the fragment is the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}…)", self.ufrag.get(..4).unwrap_or_default())
    }
}

impl Pair {
    /// Fresh credentials for a native dial.
    pub fn generate(version: Version) -> Self {
        match version {
            Version::V1 => Self::v1(&random()),
            Version::V2 => Self::v2(Credentials { ufrag: random(), password: random() }),
        }
    }

    /// Version 1 with the given random part, which must consist of ICE characters.
    fn v1(random: &str) -> Self {
        let all = Credentials::same(format!("{PREFIX_V1}{random}"));
        Self { version: Version::V1, server: all.clone(), client: all }
    }

    /// Version 2 from the client's credentials, which its browser or [`Pair::generate`] generated.
    pub fn v2(client: Credentials) -> Self {
        let server = Credentials::same(format!("{PREFIX_V2}{}", client.password));
        Self { version: Version::V2, server, client }
    }

    /// Derives the credentials from the USERNAME of a client's STUN request.
    ///
    /// Allocates only once all of it is valid.
    ///
    /// # Errors
    /// [`InvalidCredentials`] if it is malformed or of an unknown version.
    pub fn from_username(username: &str) -> Result<Self, InvalidCredentials> {
        if username.len() > USERNAME_CHARS {
            return Err(InvalidCredentials::TooLong);
        }
        let (server, client) = username.split_once(':').ok_or(InvalidCredentials::NoSeparator)?;
        check_ufrag(server, "server's fragment")?;
        check_ufrag(client, "client's fragment")?;
        let (version, password) = if let Some(password) = server.strip_prefix(PREFIX_V2) {
            (Version::V2, password)
        } else if server.starts_with(PREFIX_V1) {
            (Version::V1, client)
        } else {
            return Err(InvalidCredentials::UnknownVersion);
        };
        if !PASSWORD_CHARS.contains(&password.len()) {
            return Err(InvalidCredentials::Password("client's password"));
        }
        if !PASSWORD_CHARS.contains(&server.len()) {
            return Err(InvalidCredentials::Password("server's password"));
        }
        let client = Credentials { ufrag: client.into(), password: password.into() };
        Ok(Self { version, server: Credentials::same(server.into()), client })
    }

    /// USERNAME of a request that the client sends to the server.
    pub fn username_to_server(&self) -> String {
        format!("{}:{}", self.server.ufrag, self.client.ufrag)
    }

    /// USERNAME of a request that the server sends to the client.
    pub fn username_to_client(&self) -> String {
        format!("{}:{}", self.client.ufrag, self.server.ufrag)
    }
}

fn check_ufrag(text: &str, which: &'static str) -> Result<(), InvalidCredentials> {
    if UFRAG_CHARS.contains(&text.len()) && is_ice(text) { Ok(()) } else { Err(InvalidCredentials::Ufrag(which)) }
}

fn is_ice(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

fn random() -> String {
    rand::rng().sample_iter(Alphanumeric).take(RANDOM_CHARS).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_server_derives_the_clients_credentials_from_the_username() {
        for version in [Version::V1, Version::V2] {
            let chosen = Pair::generate(version);
            assert_eq!(Pair::from_username(&chosen.username_to_server()), Ok(chosen));
        }
    }

    #[test]
    fn v1_uses_one_value_and_v2_keeps_the_browsers_credentials() {
        let v1 = Pair::generate(Version::V1);
        assert_eq!(v1.server, v1.client);
        let browser = Credentials::new("abcd", "0123456789012345678901").unwrap();
        let v2 = Pair::v2(browser.clone());
        assert_eq!(v2.client, browser);
        assert_eq!(v2.server.ufrag(), "libp2p+webrtc+v2/0123456789012345678901");
        assert_eq!(v2.server.password(), v2.server.ufrag());
    }

    #[test]
    fn unknown_versions_are_refused_and_not_treated_as_v1() {
        for server in ["libp2p+webrtc+v3/0123456789012345678901", "abcdefghijklmnopqrstuvwxyz", "libp2p+webrtc+v1"] {
            let username = format!("{server}:{}", "x".repeat(30));
            assert_eq!(Pair::from_username(&username), Err(InvalidCredentials::UnknownVersion), "{server}");
        }
    }

    #[test]
    fn characters_that_are_unsafe_in_sdp_are_refused() {
        let good = "libp2p+webrtc+v2/0123456789012345678901";
        for client in ["abc", "ab\r\na=x", "ab cd", "äöüß", "a:bc", &"x".repeat(257), ""] {
            assert!(Pair::from_username(&format!("{good}:{client}")).is_err(), "{client:?}");
        }
        for server in ["libp2p+webrtc+v2/short", "libp2p+webrtc+v2/\n123456789012345678901"] {
            assert!(Pair::from_username(&format!("{server}:abcd")).is_err(), "{server:?}");
        }
        assert_eq!(Pair::from_username("abcd"), Err(InvalidCredentials::NoSeparator));
        let short_password = "libp2p+webrtc+v1/0123456789:abcd";
        assert_eq!(Pair::from_username(short_password), Err(InvalidCredentials::Password("client's password")));
    }

    proptest! {
        #[test]
        fn accepted_usernames_consist_of_ice_characters(username in ".{0,600}", v2 in any::<bool>()) {
            let username = format!("{}{username}", if v2 { PREFIX_V2 } else { PREFIX_V1 });
            if let Ok(pair) = Pair::from_username(&username) {
                for side in [&pair.server, &pair.client] {
                    prop_assert!(Credentials::new(side.ufrag(), side.password()).is_ok());
                }
                prop_assert_eq!(pair.username_to_server(), username);
            }
        }

        #[test]
        fn valid_v2_usernames_are_accepted(ufrag in "[A-Za-z0-9+/]{4,256}", password in "[A-Za-z0-9+/]{22,200}") {
            let pair = Pair::from_username(&format!("{PREFIX_V2}{password}:{ufrag}")).unwrap();
            prop_assert_eq!(pair.client.ufrag(), ufrag);
            prop_assert_eq!(pair.client.password(), password);
        }
    }
}
