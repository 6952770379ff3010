//! Settings of the transport. One type for native programs and browsers; settings for listening are native only.

use crate::credentials::Version;
use crate::platform::ListenConfig;

/// Settings of a [`Transport`](crate::Transport). The default is right for most programs, on both targets.
#[derive(Clone, Debug)]
pub struct Config {
    /// Versions to dial with, in order of preference.
    pub(crate) dial_versions: Vec<Version>,
    pub(crate) listen: ListenConfig,
}

impl Default for Config {
    /// Dials with version 2, then version 1.
    fn default() -> Self {
        Self { dial_versions: vec![Version::V2, Version::V1], listen: ListenConfig::default() }
    }
}

impl Config {
    /// Protocol versions to dial with, in order of preference. Without any, every dial fails with
    /// [`Error::NoVersion`](crate::Error::NoVersion). Listeners always accept both versions.
    ///
    /// A server ignores a version that it does not know. So the next version is tried after a timeout: natively after
    /// 3 s ([`limits::VERSION_FALLBACK_TIMEOUT`](crate::limits::VERSION_FALLBACK_TIMEOUT)) in place of the first, in
    /// browsers after 2 s in parallel with it.
    pub fn with_dial_versions(mut self, versions: &[Version]) -> Self {
        self.dial_versions = versions.to_vec();
        self
    }
}
