//! The end of what a guest wrote to its descriptors 1 and 2.

use std::collections::VecDeque;

use super::limits::LOG_TAIL;

/// Keeps the last [`LOG_TAIL`] bytes written. Costs nothing until the first byte.
#[derive(Default)]
pub(super) struct LogTail {
    bytes: VecDeque<u8>,
    dropped: bool,
}

impl LogTail {
    /// Appends `bytes`, forgetting the oldest ones beyond the cap.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(LOG_TAIL)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(LOG_TAIL);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
        self.dropped |= excess > 0 || kept.len() < bytes.len();
    }

    /// The text kept; if older text was dropped, it begins at the first whole line.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let whole_lines = match bytes.iter().position(|&b| b == b'\n') {
            Some(end) if self.dropped && end + 1 < bytes.len() => &bytes[end + 1..],
            _ => &bytes[..],
        };
        readable(whole_lines)
    }
}

/// Untrusted bytes as text that is safe to print: UTF-8 without control characters other than line breaks and tabs, so
/// a job cannot control the terminal of a user who reads its errors.
pub(super) fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}
