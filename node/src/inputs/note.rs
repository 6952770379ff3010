//! What has to be told of inputs that can be used.

use std::collections::BTreeMap;

use super::format::Format;
use crate::terminal::shell_word;

/// Files of one kind that are named in a note; of the rest it tells the number.
const NAMED: usize = 3;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The file that the result is written to lies in a folder that is read, and was left out.
    Output,
    /// The same of the data folder, where this user's keys lie.
    Data,
    /// A folder that is read already was met again, by way of a link, and left out.
    FolderAgain,
    /// What cannot be read was left out, as was asked for.
    Unreadable,
    /// Files are read as bytes, and are no plain text.
    Format(Format),
    /// Quotes of a table do not pair up.
    Quotes,
}

/// How to run a job on what is in a file that has to be unpacked: by `unpack`, piped into `piped`.
pub fn unpack_advice(unpack: &str, piped: &str) -> String {
    format!("to read what is in it: {unpack} | {piped}")
}

/// A note on some files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub topic: Topic,
    /// How many files it is about.
    pub count: u64,
    /// The names of the first of them.
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
                "a quoted field without an end in {names}: cut there at line ends, as if the line breaks were not quoted"
            ),
        }
    }

    /// The command whose output is what the files hold, where they are no plain text.
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

/// Notes in the making, one a topic.
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
