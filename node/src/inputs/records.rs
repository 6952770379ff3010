//! Cuts tables into documents: CSV and its relatives (RFC 4180), whose quoted fields may hold line breaks, are cut
//! between records.
//!
//! Whether a line break is quoted depends on everything before it in the file. So that the parts of a file can still be
//! cut independently, each is cut twice: as if it began outside of a quoted field, and as if it began within one. Which
//! is right is known once all parts before it are done.
//!
//! A quote opens a field only at the beginning of a field, so a stray one (`5" disk`) means nothing, and an
//! unterminated one ends at the next quote. If no record ends within [`RECORD_BYTES`], the file is cut at a line end
//! like any other.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::LINE_BYTES;
use super::error::InputError;
use super::files::Files;
use super::window::too_long;

/// Maximum length of an uncut record: a longer one probably has an unterminated quote.
const RECORD_BYTES: u64 = 1 << 20;
/// The byte order mark of UTF-8, with which spreadsheets begin their exports.
const MARK: &[u8; 3] = b"\xef\xbb\xbf";
/// Maximum length of a sequence of quotes, within which no part begins.
const QUOTES: u64 = 64 * 1024;

/// Whether the file's name marks it as a table.
pub(super) fn is_table(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ["csv", "tsv"].iter().any(|table| ending.eq_ignore_ascii_case(table))
}

/// The cuts of a part of a file, under one assumption on whether it begins within a quoted field.
#[derive(Debug)]
pub(super) struct Track {
    inside: bool,
    /// Offset of the last closing quote: another one right behind it opens the field again.
    closed_at: Option<u64>,
    /// The next multiple of the chunk size to cut at.
    multiple: u64,
    /// A line end within quotes where it can be cut if no record ends.
    line_end: Option<u64>,
    /// Ends of documents, relative to the part's base.
    pub(super) ends: Vec<u32>,
    /// Whether the part after this one begins within a quoted field.
    pub(super) inside_at_end: bool,
    /// Whether a record was cut because it had no end.
    pub(super) is_irregular: bool,
}

/// A part to be cut: some multiples of the chunk size in a file of `size` bytes.
pub(super) struct Part {
    pub(super) index: usize,
    pub(super) size: u64,
    pub(super) chunk: u64,
    pub(super) multiples: Range<u64>,
    /// Ends are relative to this.
    pub(super) base: u64,
}

/// Fills a buffer with the file's bytes at an offset.
type Read<'a> = dyn Fn(&mut [u8], u64) -> Result<(), InputError> + 'a;

impl Part {
    /// Cuts twice; the first result is for a part that begins outside of a quoted field.
    pub(super) fn cut(&self, files: &Files, buf: &mut [u8]) -> Result<[Track; 2], InputError> {
        let file = files.open(self.index)?;
        let read = |buf: &mut [u8], at: u64| files.read(self.index, &file, buf, at);
        // The first cut has all of the file before it, except a byte order mark.
        let begin = match self.multiples.start {
            1 if self.begins_with_mark(&read)? => MARK.len() as u64,
            1 => 0,
            _ => self.behind_quotes(self.base, &read)?,
        };
        let end = self.behind_quotes(self.multiples.end * self.chunk - 1, &read)?;
        let mut tracks = [false, true].map(|inside| Track::new(inside, self.multiples.start));
        let mut before = b'\n';
        if self.multiples.start > 1 {
            let mut byte = [0];
            read(&mut byte, begin - 1)?;
            before = byte[0];
        }
        let mut at = begin;
        while at < self.size && (at < end || tracks.iter().any(|track| track.multiple < self.multiples.end)) {
            // No window crosses the end, where the state is recorded.
            let until = if at < end { end } else { self.size };
            let len = (until - at).min(buf.len() as u64) as usize;
            let window = &mut buf[..len];
            read(window, at)?;
            for track in &mut tracks {
                track.scan(self, at, before, window).map_err(|from| too_long(files, self.index, from))?;
            }
            before = window[len - 1];
            at += len as u64;
            if at == end {
                tracks.iter_mut().for_each(|track| track.inside_at_end = track.inside);
            }
        }
        Ok(tracks)
    }

    fn begins_with_mark(&self, read: &Read<'_>) -> Result<bool, InputError> {
        let mut head = [0; MARK.len()];
        if self.size < head.len() as u64 {
            return Ok(false);
        }
        read(&mut head, 0)?;
        Ok(head == *MARK)
    }

    /// The first offset from `at` on without a quote before it: there, the meaning of a quote is unambiguous.
    fn behind_quotes(&self, at: u64, read: &Read<'_>) -> Result<u64, InputError> {
        let mut byte = [0];
        for at in at..(at + QUOTES).min(self.size) {
            read(&mut byte, at - 1)?;
            if byte[0] != b'"' {
                return Ok(at);
            }
        }
        Ok((at + QUOTES).min(self.size))
    }
}

impl Track {
    fn new(inside: bool, multiple: u64) -> Self {
        let (closed_at, line_end, ends) = (None, None, Vec::new());
        Self { inside, closed_at, multiple, line_end, ends, inside_at_end: inside, is_irregular: false }
    }

    /// Scans the bytes at `start`, which follow the byte `before`. An error is the offset of a line that is too long.
    fn scan(&mut self, part: &Part, start: u64, before: u8, window: &[u8]) -> Result<(), u64> {
        let mut from = 0;
        for quote in memchr_iter(b'"', window) {
            self.between(part, start + from as u64, &window[from..quote])?;
            let at = start + quote as u64;
            let before = if quote == 0 { before } else { window[quote - 1] };
            if self.inside {
                (self.inside, self.closed_at) = (false, Some(at));
            } else if self.closed_at.is_some_and(|closed| closed + 1 == at) || begins_field(before) {
                self.inside = true;
            }
            from = quote + 1;
        }
        self.between(part, start + from as u64, &window[from..])
    }

    /// Scans bytes without a quote.
    fn between(&mut self, part: &Part, start: u64, bytes: &[u8]) -> Result<(), u64> {
        let end = start + bytes.len() as u64;
        while self.multiple < part.multiples.end {
            let target = self.multiple * part.chunk - 1;
            if target >= end {
                break;
            }
            let from = target.max(start);
            let line_end = || memchr(b'\n', &bytes[(from - start) as usize..]).map(|i| from + i as u64 + 1);
            if !self.inside {
                match line_end() {
                    Some(at) => self.cut(part, at),
                    None => return self.cut_overlong(part, target, end),
                }
            } else {
                if self.line_end.is_none() {
                    self.line_end = line_end();
                }
                return self.cut_overlong(part, target, end);
            }
        }
        Ok(())
    }

    /// Cuts within a record that is too long.
    fn cut_overlong(&mut self, part: &Part, target: u64, seen: u64) -> Result<(), u64> {
        match self.line_end {
            Some(at) if seen - target > RECORD_BYTES => {
                self.is_irregular = true;
                self.cut(part, at);
                Ok(())
            }
            None if seen - target > LINE_BYTES => Err(target),
            _ => Ok(()),
        }
    }

    fn cut(&mut self, part: &Part, at: u64) {
        if at < part.size {
            self.ends.push((at - part.base) as u32);
        }
        // Multiples before that line end would cut at the same place.
        self.multiple = (at + 1).div_ceil(part.chunk);
        self.line_end = None;
    }
}

/// Whether a field begins after this byte, in any of the usual dialects.
fn begins_field(before: u8) -> bool {
    matches!(before, b',' | b';' | b'\t' | b'|' | b'\n' | b'\r')
}
