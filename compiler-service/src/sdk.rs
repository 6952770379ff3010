//! The guest SDK that this program was built with.

use std::path::Path;

/// Every file of `sdk/`: its path in that folder and its bytes.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Compares a toolchain's copy of the SDK, in `folder`, with this program's own. Only identical copies are certain to
/// have the same guest interface.
///
/// # Errors
/// The first difference.
pub(crate) fn compare(folder: &Path) -> Result<(), String> {
    for (name, ours) in FILES {
        match std::fs::read(folder.join(name)) {
            Ok(theirs) if theirs == *ours => {}
            Ok(_) => return Err(format!("its {name} differs")),
            Err(why) => return Err(format!("its {name}: {why}")),
        }
    }
    Ok(())
}
