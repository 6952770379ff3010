//! Small secret files in the data folder whose damage must be detected: a key with one bit flipped is still a key.
//!
//! The last line is a checksum of the lines before it, `blake3 HASH`. Files of earlier versions have none.

use std::io;
use std::path::Path;

use crate::platform::files;

/// Prefix of the last line.
const MARK: &str = "blake3 ";

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Exactly what was written.
    Whole(String),
    /// There is no checksum: an earlier version wrote the file, or somebody edited it.
    Unchecked(String),
    /// Not what was written.
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

/// Writes `text`, which ends with a newline, and its checksum, readable by the owner only; atomically, as
/// [`files::write`] does.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    files::write(path, format!("{text}{MARK}{}\n", checksum(text)).as_bytes())
}

/// Adds a checksum to a file of an earlier version. If that fails (a read-only disk), the file stays as it was.
pub(super) fn upgrade(path: &Path, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if let Err(why) = write(path, &format!("{text}{end}")) {
        tracing::debug!("cannot add a checksum to {}: {why}", path.display());
    }
}

fn checksum(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_a_checked_file_is_detected() {
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
            // Trailing white space after the checksum is not significant.
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
