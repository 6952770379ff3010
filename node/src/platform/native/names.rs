//! Host names of peers: the resolver's configuration, and explanations of its errors.

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf;

/// The resolver's configuration: the system's, or one without a nameserver, with which IP addresses and names in
/// `/etc/hosts` still work.
pub(super) fn configuration() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|why| {
        tracing::warn!("cannot resolve names of peers, only IP addresses can be dialled: /etc/resolv.conf: {why}");
        (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
    })
}

/// Why a name could not be resolved, if that is what `error` is about.
pub fn name_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    error.downcast_ref::<NetError>().map(|why| match why {
        NetError::NoConnections => "this machine has no nameserver: check /etc/resolv.conf".to_owned(),
        why => why.to_string(),
    })
}
