//! Names of peers' machines: the resolver, and what its failures mean.

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf;

/// The resolver's configuration: the system's, else one without a nameserver, with which addresses by number, and names in
/// `/etc/hosts`, still work.
pub(super) fn configuration() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|why| {
        tracing::warn!(
            "names of peers cannot be resolved, only addresses by number are dialled: /etc/resolv.conf: {why}"
        );
        (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
    })
}

/// Why a name was not resolved, if it is that what `error` is about.
pub fn name_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    error.downcast_ref::<NetError>().map(|why| match why {
        NetError::NoConnections => "this machine has no nameserver: look at /etc/resolv.conf".to_owned(),
        why => why.to_string(),
    })
}
