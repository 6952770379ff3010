//! Small secret files of the data folder whose damage must not go unnoticed: a key with one bit flipped is a key, too.
//!
//! The last line is a checksum of the lines before it, `blake3 HASH`. Files of earlier versions have none.

use std::io;
use std::path::Path;

use crate::platform::files;

/// How the last line begins.
const MARK: &str = "blake3 ";

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What was written.
    Whole(String),
    /// It has no checksum: an earlier version wrote it, or somebody edited it.
    Unchecked(String),
    /// Something else than what was written.
    Damaged,
}

/// Reads a file of at most `max` bytes; `None` if there is none.
pub(super) fn read(path: &Path, max: usize) -> io::Result<Option<Content>> {
    let Some(bytes) = files::read(path, max)? else { return Ok(None) };
    let Ok(text) = String::from_utf8(bytes) else { return Ok(Some(Content::Damaged)) };
    let end = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    Ok(Some(match text[end..].trim_end().strip_prefix(MARK) {
        Some(hash) if hash == checksum(&text[..end]) => Content::Whole(text[..end].to_owned()),
        Some(_) => Content::Damaged,
        None => Content::Unchecked(text),
    }))
}

/// Writes `text`, which ends with its line, and the checksum, for nobody but the owner to read; in one step, as
/// [`files::write_private`] does.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    files::write_private(path, format!("{text}{MARK}{}\n", checksum(text)).as_bytes())
}

/// Gives a file of an earlier version its checksum. That this fails (a read-only disk) leaves it as it was.
pub(super) fn upgrade(path: &Path, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if let Err(why) = write(path, &format!("{text}{end}")) {
        tracing::debug!("{} gets no checksum: {why}", path.display());
    }
}

fn checksum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_no_flipped_bit_passes_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path, 1000).unwrap(), None);
        write(&path, "one\ntwo\n").unwrap();
        assert_eq!(read(&path, 1000).unwrap(), Some(Content::Whole("one\ntwo\n".to_owned())));
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            let read = read(&path, 1000).unwrap();
            // White space behind the checksum may come and go.
            let is_last = bit / 8 == whole.len() - 1;
            let passes = matches!(&read, Some(Content::Whole(text)) if text != "one\ntwo\n" || !is_last);
            assert!(!passes, "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn a_file_without_a_checksum_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        assert_eq!(read(&path, 1000).unwrap(), Some(Content::Unchecked("old".to_owned())));
        upgrade(&path, "old");
        assert_eq!(read(&path, 1000).unwrap(), Some(Content::Whole("old\n".to_owned())));
    }
}
