//! The guest SDK as this program was built with it.

use std::path::Path;

/// Every file of `sdk/`: its path in that folder and its bytes.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Compares a toolchain's copy of the SDK, in `folder`, with this program's own. The two speak one guest interface only
/// if they are the same; says where they differ.
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
