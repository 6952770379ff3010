//! The directory of this user's keys and caches.

use std::path::PathBuf;

use directories::ProjectDirs;
use webmesh_node::net::identity;
use webmesh_protocol::sign::Keypair;

use crate::error::CliError;

/// The folder given with `--data`, or the default one.
pub(crate) fn data_dir(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let usual = || ProjectDirs::from("", "", "webmesh").map(|dirs| dirs.data_dir().to_owned());
    given.or_else(usual).ok_or_else(|| CliError::Usage("cannot find the home folder: give --data DIR".to_owned()))
}

/// The key that owns this user's jobs; generated at first use.
pub(crate) fn owner_key(data_dir: &std::path::Path) -> Result<Keypair, CliError> {
    Ok(identity::load_or_create(&data_dir.join("owner"))?)
}
