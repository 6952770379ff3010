//! Notes to the user about inputs that can be used.

use std::collections::BTreeMap;

use super::format::Format;
use crate::terminal::shell_word;

/// Number of files named in a note; of the rest it gives the number.
const NAMED: usize = 3;

/// The subject of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The file that the result is written to is in an input folder, and was left out.
    Output,
    /// The data folder, which holds this user's keys, is in an input folder, and was left out.
    Data,
    /// A folder was reached again through a link, and left out.
    FolderAgain,
    /// What cannot be read was left out, as requested.
    Unreadable,
    /// Files are read as bytes, and are not plain text.
    Format(Format),
    /// Quotes of a table are not balanced.
    Quotes,
}

/// How to run a job on what is in a file that has to be unpacked: by `unpack`, piped into `piped`.
pub fn unpack_advice(unpack: &str, piped: &str) -> String {
    format!("to read what is in it: {unpack} | {piped}")
}

/// A note on some files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its subject.
    pub topic: Topic,
    /// Number of files that it is about.
    pub count: u64,
    /// Names of the first of them.
    pub names: Vec<String>,
}

impl Note {
    /// The note as a sentence.
    pub fn text(&self) -> String {
        let many = self.count > 1;
        let names = self.listed();
        match self.topic {
            Topic::Output => format!("{names} is left out of the inputs: the result is written there"),
            Topic::Data => format!("{names} is left out of the inputs: WebMesh keeps its keys and caches there"),
            Topic::FolderAgain => format!("left out, as the same folder is read under another name: {names}"),
            Topic::Unreadable => format!("left out, as it cannot be read: {names}"),
            Topic::Format(format) => {
                let (is, text) = (if many { "are" } else { "is" }, if many { "texts" } else { "text" });
                match format.is_text() {
                    true => format!(
                        "{names} {is} {} {text}, which jobs get as bytes and which may be cut within characters",
                        format.name()
                    ),
                    false => format!("{names} {is} compressed ({}), and jobs get the compressed bytes", format.name()),
                }
            }
            Topic::Quotes => format!(
                "unterminated quoted field in {names}: cut there at line ends, as if the line breaks were not quoted"
            ),
        }
    }

    /// The shell command that writes the files' content as plain text, if they are not plain text.
    pub fn unpacked_by(&self) -> Option<String> {
        let Topic::Format(format) = self.topic else { return None };
        // Archives are unpacked one at a time.
        Some(format.unpacked_by(&shell_word(self.names.first()?)))
    }

    /// The note as a sentence, with the command line that reads what is in such a file. `piped` is the command that runs
    /// the job on standard input.
    pub fn with_advice(&self, piped: Option<&str>) -> String {
        match (self.unpacked_by(), piped) {
            (Some(unpack), Some(piped)) => format!("{}; {}", self.text(), unpack_advice(&unpack, piped)),
            _ => self.text(),
        }
    }

    fn listed(&self) -> String {
        let names = self.names.join(", ");
        match self.count - self.names.len() as u64 {
            0 => names,
            1 => format!("{names} and one more"),
            more => format!("{names} and {more} more"),
        }
    }
}

/// Notes being collected, one for each topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(BTreeMap<Topic, Note>);

impl Notes {
    pub(super) fn add(&mut self, topic: Topic, name: impl FnOnce() -> String) {
        let note = self.0.entry(topic).or_insert(Note { topic, count: 0, names: Vec::new() });
        note.count += 1;
        if note.names.len() < NAMED {
            note.names.push(name());
        }
    }

    pub(super) fn all(self) -> Vec<Note> {
        self.0.into_values().collect()
    }
}
