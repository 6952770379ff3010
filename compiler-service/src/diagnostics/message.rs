//! clang's messages, read and written.

use std::fmt::Write as _;

/// Ends a colour.
const RESET: &str = "\u{1b}[0m";

/// How grave a message is; notes belong to the message before them.
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
    /// From 1.
    pub(super) line: usize,
    /// From 1, in bytes.
    pub(super) column: usize,
    pub(super) severity: Severity,
    /// One line, without colours.
    pub(super) text: String,
    pub(super) notes: Vec<Message>,
    /// Files and lines that include the file of the message, from the inside out.
    included: Vec<(String, usize)>,
    /// The message as clang wrote it, with its excerpt; empty where it was made or changed here.
    raw: String,
    /// The excerpt of the source, with colours.
    excerpt: String,
    /// Whether it still stands where clang put it and says what clang said.
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

/// Reads clang's output: what belongs to no message (such as the linker's lines), and the messages in their order.
pub(super) fn parse(text: &str) -> (String, Vec<Message>) {
    let mut other = String::new();
    let mut messages: Vec<Message> = Vec::new();
    let mut included: Vec<(String, usize)> = Vec::new();
    for line in text.split_inclusive('\n') {
        // clang ends the colour of an excerpt in the line below it.
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
            // Some of what it counts is not shown.
        } else if let Some(last) = messages.last_mut() {
            last.continue_with(line);
        } else {
            other.push_str(line);
        }
    }
    (other, messages)
}

/// `job.cpp:3:7: error: text`.
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

/// `In file included from job.cpp:3:`, or the same with `                 from` where files include each other.
fn inclusion(line: &str) -> Option<(String, usize)> {
    let (head, place) = line.split_once("from ")?;
    let continues = head.starts_with(' ') && head.trim().is_empty();
    if head != "In file included " && !continues {
        return None;
    }
    let (file, number) = place.trim_end_matches([':', ',']).rsplit_once(':')?;
    Some((file.to_owned(), number.parse().ok()?))
}

/// `2 errors generated.`, `1 warning and 3 errors generated.`
fn is_count(line: &str) -> bool {
    line.ends_with(" generated.") && line.starts_with(|c: char| c.is_ascii_digit())
}

impl Message {
    /// Appends a part of an excerpt to what came last: a note, or the message itself.
    fn continue_with(&mut self, part: &str) {
        match self.notes.last_mut() {
            Some(note) => note.continue_with(part),
            None => {
                self.raw.push_str(part);
                self.excerpt.push_str(part);
            }
        }
    }

    /// The same at another place, with another text, and without notes.
    pub(super) fn moved(self, file: &str, line: usize, column: usize, text: String, excerpt: String) -> Self {
        Self { file: file.to_owned(), line, column, text, notes: Vec::new(), as_read: false, excerpt, ..self }
    }

    /// The line and column in `file` because of which the compiler looked at the place of this message.
    pub(super) fn asked_by(&self, file: &str) -> Option<(usize, usize)> {
        let note = self.notes.iter().find(|note| note.file == file).map(|note| (note.line, note.column));
        note.or_else(|| self.included.iter().find(|(name, _)| name == file).map(|(_, line)| (*line, 1)))
    }

    /// The same place, with another text.
    pub(super) fn told(self, severity: Severity, text: String) -> Self {
        Self { severity, text, as_read: false, ..self }
    }

    /// Writes it as clang does.
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
