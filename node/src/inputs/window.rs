//! Reading a range of a file piece by piece.

use std::ops::Range;

use memchr::memchr_iter;

use super::error::InputError;
use super::files::Files;

/// Size of a read: it stays in the processor's cache until it is searched.
pub(super) const WINDOW_BYTES: usize = 128 * 1024;

/// The error for the line around `at`, whose number is counted only now that it is needed.
pub(super) fn too_long(files: &Files, index: usize, at: u64) -> InputError {
    if let Ok(Some(format)) = files.format(index) {
        return InputError::NoLines { name: files.name(index), format };
    }
    let mut line = 1;
    let counted = for_each_window(files, index, 0..at, |_, window| {
        line += memchr_iter(b'\n', window).count() as u64;
        Ok(())
    });
    counted.err().unwrap_or_else(|| InputError::LineTooLong { name: files.name(index), line, bytes: files.size(index) })
}

/// Gives `show` a range of a file, [`WINDOW_BYTES`] at a time, each with its offset.
pub(super) fn for_each_window(
    files: &Files,
    index: usize,
    range: Range<u64>,
    mut show: impl FnMut(u64, &[u8]) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let file = files.open(index)?;
    let mut buf = vec![0; WINDOW_BYTES];
    for at in range.clone().step_by(WINDOW_BYTES) {
        let len = (range.end - at).min(WINDOW_BYTES as u64) as usize;
        files.read(index, &file, &mut buf[..len], at)?;
        show(at, &buf[..len])?;
    }
    Ok(())
}
