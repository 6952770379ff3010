//! The part of the settings that is about listening.

use super::certificate::Certificate;
use super::demux::Limits;
use crate::Config;
use crate::limits::{PENDING_HANDSHAKES, PENDING_HANDSHAKES_PER_HOST};

/// Settings of listeners.
#[derive(Clone, Debug)]
pub(crate) struct ListenConfig {
    /// None: one is generated when first needed.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) limits: Limits,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let limits = Limits { pending: PENDING_HANDSHAKES, pending_per_host: PENDING_HANDSHAKES_PER_HOST };
        Self { certificate: None, limits }
    }
}

/// # Native only
/// Browsers cannot listen, and generate a certificate for each connection.
impl Config {
    /// The DTLS certificate. A listener's address contains its hash, so store it ([`Certificate::to_pem`]) to keep the
    /// address across restarts. By default each transport generates its own.
    pub fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.listen.certificate = Some(certificate);
        self
    }

    /// Limits on concurrent handshakes of each listener: in total, and from one host (an IPv4 address or an IPv6 /64).
    /// Clients beyond them get no answer and retry. Defaults: [`PENDING_HANDSHAKES`] and
    /// [`PENDING_HANDSHAKES_PER_HOST`].
    pub fn with_pending_handshakes(mut self, total: usize, per_host: usize) -> Self {
        self.listen.limits = Limits { pending: total, pending_per_host: per_host };
        self
    }
}
