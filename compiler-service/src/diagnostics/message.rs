//! Parses and writes clang's messages.

use std::fmt::Write as _;

/// Escape sequence that ends a colour.
const RESET: &str = "\u{1b}[0m";

/// Severity of a message. A note belongs to the message before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
    Note,
}

impl Severity {
    const ALL: [(&'static str, Self, &'static str); 4] = [
        ("fatal error", Self::Error, "\u{1b}[0;1;31m"),
        ("error", Self::Error, "\u{1b}[0;1;31m"),
        ("warning", Self::Warning, "\u{1b}[0;1;35m"),
        ("note", Self::Note, "\u{1b}[0;1;36m"),
    ];
}

/// One message with its notes.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) file: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// In bytes, counted from 1.
    pub(super) column: usize,
    pub(super) severity: Severity,
    /// The text: one line, without colours.
    pub(super) text: String,
    pub(super) notes: Vec<Message>,
    /// Files and lines that include the file of the message, the innermost first.
    included: Vec<(String, usize)>,
    /// The message as clang wrote it, with its excerpt; empty if it was created or changed here.
    raw: String,
    /// The excerpt of the source, with colours.
    excerpt: String,
    /// Whether place and text are still clang's.
    as_read: bool,
    read_text: String,
}

/// `text` without its colours.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// Parses clang's output into the lines that belong to no message (such as the linker's) and the messages in order.
pub(super) fn parse(text: &str) -> (String, Vec<Message>) {
    let mut other = String::new();
    let mut messages: Vec<Message> = Vec::new();
    let mut included: Vec<(String, usize)> = Vec::new();
    for line in text.split_inclusive('\n') {
        // clang ends the colour of an excerpt on the line after it.
        let (ending, line) = line.strip_prefix(RESET).map_or(("", line), |line| (RESET, line));
        if let Some(last) = messages.last_mut() {
            last.continue_with(ending);
        }
        let bare = plain(line);
        let bare = bare.trim_end();
        if let Some(head) = head(bare) {
            let message = Message { included: std::mem::take(&mut included), raw: line.to_owned(), ..head };
            match messages.last_mut() {
                Some(last) if message.severity == Severity::Note => last.notes.push(message),
                _ => messages.push(message),
            }
        } else if let Some(place) = inclusion(bare) {
            included.push(place);
        } else if is_count(bare) {
            // Dropped, since not all of the counted messages are shown.
        } else if let Some(last) = messages.last_mut() {
            last.continue_with(line);
        } else {
            other.push_str(line);
        }
    }
    (other, messages)
}

/// Parses the first line of a message: `job.cpp:3:7: error: text`.
fn head(line: &str) -> Option<Message> {
    let (at, word, severity) = Severity::ALL
        .iter()
        .filter_map(|(word, severity, _)| Some((line.find(&format!(": {word}: "))?, *word, *severity)))
        .min_by_key(|(at, ..)| *at)?;
    let (place, column) = line[..at].rsplit_once(':')?;
    let (file, number) = place.rsplit_once(':')?;
    let text = line[at + word.len() + ": : ".len()..].to_owned();
    Some(Message {
        file: file.to_owned(),
        line: number.parse().ok()?,
        column: column.parse().ok()?,
        severity,
        read_text: text.clone(),
        text,
        notes: Vec::new(),
        included: Vec::new(),
        raw: String::new(),
        excerpt: String::new(),
        as_read: true,
    })
}

/// Parses `In file included from job.cpp:3:`, or a continuation with `                 from`.
fn inclusion(line: &str) -> Option<(String, usize)> {
    let (head, place) = line.split_once("from ")?;
    let continues = head.starts_with(' ') && head.trim().is_empty();
    if head != "In file included " && !continues {
        return None;
    }
    let (file, number) = place.trim_end_matches([':', ',']).rsplit_once(':')?;
    Some((file.to_owned(), number.parse().ok()?))
}

/// Whether a line is a count: `2 errors generated.`, `1 warning and 3 errors generated.`
fn is_count(line: &str) -> bool {
    line.ends_with(" generated.") && line.starts_with(|c: char| c.is_ascii_digit())
}

impl Message {
    /// Appends a part of an excerpt to the last note, or to the message itself.
    fn continue_with(&mut self, part: &str) {
        match self.notes.last_mut() {
            Some(note) => note.continue_with(part),
            None => {
                self.raw.push_str(part);
                self.excerpt.push_str(part);
            }
        }
    }

    /// The message at another place, with another text, and without notes.
    pub(super) fn moved(self, file: &str, line: usize, column: usize, text: String, excerpt: String) -> Self {
        Self { file: file.to_owned(), line, column, text, notes: Vec::new(), as_read: false, excerpt, ..self }
    }

    /// The line and column in `file` that instantiated or included the code that this message is about; `None` if clang
    /// names none.
    pub(super) fn origin_in(&self, file: &str) -> Option<(usize, usize)> {
        let note = self.notes.iter().find(|note| note.file == file).map(|note| (note.line, note.column));
        note.or_else(|| self.included.iter().find(|(name, _)| name == file).map(|(_, line)| (*line, 1)))
    }

    /// The message with another severity and text, at the same place.
    pub(super) fn with(self, severity: Severity, text: String) -> Self {
        Self { severity, text, as_read: false, ..self }
    }

    /// Writes the message in clang's format.
    pub(super) fn write(&self, out: &mut String) {
        if self.as_read && self.text == self.read_text {
            out.push_str(&self.raw);
        } else {
            let (word, colour) = Severity::ALL
                .iter()
                .rev()
                .find(|(_, severity, _)| *severity == self.severity)
                .map_or(("note", ""), |(word, _, colour)| (word, colour));
            let word = if self.severity == Severity::Error { "error" } else { word };
            let Self { file, line, column, text, .. } = self;
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "\u{1b}[1m{file}:{line}:{column}: \u{1b}[0m{colour}{word}: \u{1b}[0m\u{1b}[1m{text}\u{1b}[0m"
            );
            out.push_str(&self.excerpt);
        }
        self.notes.iter().for_each(|note| note.write(out));
    }
}
