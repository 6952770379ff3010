//! Cuts files into documents.
//!
//! A file is cut after the first line end at or after each multiple of the chunk size, which depends on nothing before
//! it. So several threads can cut a file at once, and with large chunks most of it need not be read. Tables are cut at
//! the ends of records instead: see [`super::records`].

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use super::error::InputError;
use super::files::Files;
use super::note::{Notes, Topic};
use super::records::{self, Part, Track};
use super::window::{WINDOW_BYTES, for_each_window, too_long};
use super::{DOCUMENTS, LINE_BYTES, Options, WHOLE_FILE_BYTES};
use crate::platform::OpenFile;

/// Approximate number of bytes that one thread cuts at a time.
const SPAN_BYTES: u64 = 8 << 20;
/// Size of the first read at a cut if cuts are far apart: most lines end within it.
const FIRST_WINDOW_BYTES: usize = 4 * 1024;

/// The documents of all files, in order. It takes four bytes for each document and each file.
#[derive(Debug)]
pub(super) struct Documents {
    /// Their lengths in bytes.
    pub(super) lengths: Vec<u32>,
    /// Index of the first document of each file; one more entry at the end.
    first: Vec<u32>,
}

impl Documents {
    /// The file of document `i`.
    pub(super) fn file_of(&self, i: u32) -> usize {
        self.first.partition_point(|&first| first <= i) - 1
    }

    /// The documents of file `file`.
    pub(super) fn of_file(&self, file: usize) -> Range<u32> {
        self.first[file]..self.first[file + 1]
    }

    /// The offset of document `i` in its file.
    pub(super) fn offset(&self, i: u32) -> u64 {
        let first = self.of_file(self.file_of(i)).start;
        self.lengths[first as usize..i as usize].iter().map(|&len| u64::from(len)).sum()
    }
}

/// A range of the cuts of one file, by multiples of the chunk size.
#[derive(Debug)]
pub(super) struct Span {
    file: usize,
    multiples: Range<u64>,
}

/// A buffer for [`Span::cut`].
pub(super) fn window() -> Vec<u8> {
    vec![0; WINDOW_BYTES]
}

/// Cuts files into documents, on the number of threads in the options.
#[cfg(not(target_family = "wasm"))]
pub(super) fn cut(files: &Files, options: &Options, notes: &mut Notes) -> Result<Documents, InputError> {
    let spans = spans(files, options)?;
    let cuts = super::parallel::map(spans.len(), options.threads.max(1), window, |window, i| {
        spans[i].cut(files, options, window)
    })?;
    assemble(files, &spans, cuts, options, notes)
}

/// The parts into which files are divided for cutting.
pub(super) fn spans(files: &Files, options: &Options) -> Result<Vec<Span>, InputError> {
    let chunk = options.chunk;
    let mut spans = Vec::new();
    for file in 0..files.len() {
        let size = files.size(file);
        let whole = options.whole_files || size <= chunk + chunk / 2;
        if whole && size > WHOLE_FILE_BYTES {
            return Err(InputError::FileTooLarge { name: files.name(file), bytes: size });
        }
        if !whole {
            // The last document has at least half a chunk, where lines allow it.
            let end = (size - chunk.div_ceil(2)) / chunk + 1;
            let step = (SPAN_BYTES / chunk).max(1);
            spans.extend((1..end).step_by(step as usize).map(|from| {
                let multiples = from..(from + step).min(end);
                Span { file, multiples }
            }));
        }
    }
    Ok(spans)
}

impl Span {
    /// The offset where it begins; its cuts are relative to that, to fit 32 bits.
    fn base(&self, chunk: u64) -> u64 {
        self.multiples.start * chunk - 1
    }

    /// The ends of its documents, relative to its base.
    pub(super) fn cut(&self, files: &Files, options: &Options, buf: &mut [u8]) -> Result<Cuts, InputError> {
        let chunk = options.chunk;
        let size = files.size(self.file);
        let base = self.base(chunk);
        if options.csv || records::is_table(&files.name(self.file)) {
            let part = Part { index: self.file, size, chunk, multiples: self.multiples.clone(), base };
            return Ok(Cuts { base, places: Places::Records(part.cut(files, buf)?) });
        }
        let file = files.open(self.file)?;
        let first_read = if chunk < WINDOW_BYTES as u64 { WINDOW_BYTES } else { FIRST_WINDOW_BYTES };
        let mut window = Window { files, index: self.file, file: &file, size, first_read, buf, held: 0..0 };
        let mut ends = Vec::new();
        let mut multiple = self.multiples.start;
        while multiple < self.multiples.end {
            let end = window.line_end(multiple * chunk - 1)?;
            if end >= size {
                break;
            }
            ends.push((end - base) as u32);
            // Multiples before that line end would cut at the same place.
            multiple = (end + 1).div_ceil(chunk);
        }
        Ok(Cuts { base, places: Places::Lines(ends) })
    }
}

/// The cuts of a span.
#[derive(Debug)]
pub(super) struct Cuts {
    base: u64,
    places: Places,
}

/// Ends of documents, relative to the base.
#[derive(Debug)]
enum Places {
    Lines(Vec<u32>),
    /// For a span that begins outside of a quoted field, and for one that begins within one.
    Records([Track; 2]),
}

/// A part of a file in memory.
struct Window<'a> {
    files: &'a Files,
    index: usize,
    file: &'a OpenFile<'a>,
    size: u64,
    first_read: usize,
    buf: &'a mut [u8],
    /// The bytes of the file that are in `buf`.
    held: Range<u64>,
}

impl Window<'_> {
    /// The offset after the first line end at or after `from`, or the end of the file.
    fn line_end(&mut self, from: u64) -> Result<u64, InputError> {
        let (mut at, mut ahead) = (from, self.first_read);
        while at < self.size {
            if !self.held.contains(&at) {
                let len = (ahead as u64).min(self.size - at);
                self.files.read(self.index, self.file, &mut self.buf[..len as usize], at)?;
                self.held = at..at + len;
                ahead = WINDOW_BYTES;
            }
            let rest = &self.buf[(at - self.held.start) as usize..(self.held.end - self.held.start) as usize];
            if let Some(i) = memchr(b'\n', rest) {
                return Ok(at + i as u64 + 1);
            }
            at = self.held.end;
            if at - from > LINE_BYTES {
                return Err(too_long(self.files, self.index, from));
            }
        }
        Ok(self.size)
    }
}

/// Joins the documents of all files. If files are cut at line ends, no file may have a line that is too long, even one
/// short enough to stay whole: whether a file is accepted must not depend on the chunk size.
pub(super) fn assemble(
    files: &Files,
    spans: &[Span],
    cuts: Vec<Cuts>,
    options: &Options,
    notes: &mut Notes,
) -> Result<Documents, InputError> {
    let any_line = options.whole_files;
    let mut cuts = spans.iter().zip(cuts).peekable();
    let mut documents = Documents { lengths: Vec::new(), first: Vec::with_capacity(files.len() + 1) };
    for file in 0..files.len() {
        documents.first.push(documents.lengths.len() as u32);
        let (mut start, mut quoted, mut is_irregular) = (0, false, false);
        while let Some((_, cuts)) = cuts.next_if(|(span, _)| span.file == file) {
            let ends = match cuts.places {
                Places::Lines(ends) => ends,
                Places::Records(tracks) => {
                    let [outside, inside] = tracks;
                    let right = if quoted { inside } else { outside };
                    quoted = right.inside_at_end;
                    is_irregular |= right.is_irregular;
                    right.ends
                }
            };
            for end in ends.iter().map(|&end| cuts.base + u64::from(end)) {
                // A line across the end of a span was found by both neighbours.
                if end > start {
                    push(files, file, start..end, any_line, &mut documents)?;
                    start = end;
                }
            }
        }
        push(files, file, start..files.size(file), any_line, &mut documents)?;
        if is_irregular {
            notes.add(Topic::Quotes, || files.name(file));
        }
    }
    documents.first.push(documents.lengths.len() as u32);
    Ok(documents)
}

fn push(
    files: &Files,
    file: usize,
    at: Range<u64>,
    any_line: bool,
    documents: &mut Documents,
) -> Result<(), InputError> {
    if documents.lengths.len() >= DOCUMENTS as usize {
        return Err(InputError::TooManyDocuments { documents: u64::from(DOCUMENTS) + 1 });
    }
    let len = at.end - at.start;
    if !any_line && len > LINE_BYTES {
        refuse_long_lines(files, file, at)?;
    }
    documents.lengths.push(len as u32);
    Ok(())
}

/// Only documents longer than the maximum line can hold a line that is too long.
fn refuse_long_lines(files: &Files, index: usize, at: Range<u64>) -> Result<(), InputError> {
    let mut line = at.start;
    for_each_window(files, index, at, |start, window| {
        for end in memchr_iter(b'\n', window).map(|i| start + i as u64) {
            if end - line > LINE_BYTES {
                return Err(too_long(files, index, line));
            }
            line = end + 1;
        }
        if start + window.len() as u64 - line > LINE_BYTES {
            return Err(too_long(files, index, line));
        }
        Ok(())
    })
}
