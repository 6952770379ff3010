//! Rewrites clang's messages for a job's author: each is located at a line of the author's own, never of the SDK's.
//!
//! clang compiles the author's text between the SDK's header and its glue (`sdk/webmesh/glue.hpp`). So a message may
//! refer to a line that the author has never seen:
//!
//! - in the glue, which finds that a function has the wrong signature: the message moves to that function;
//! - in the declaration of a feature that jobs do not have: its text is kept, the note about the declaration dropped;
//! - in a header, where a template of the library fails: the message moves to the author's line that instantiated it.
//!
//! A source that ends too early, for example with a `}` missing, causes errors in the glue after it. Then the author's
//! text is checked alone ([`is_about_glue`] decides), and those messages are shown.

mod message;
mod place;
mod tidy;

use message::{Message, Severity};
pub(crate) use tidy::tidy;

/// Prefix of the glue's file names in `#line`, followed by the author's function that this part checks.
const GLUE: &str = "webmesh:";

/// Directory of the SDK's headers, within the toolchain's.
const SDK: &str = "include/";

/// Prefix of each message of the SDK.
const OURS: &str = "WebMesh: ";

/// Size of the stack of a job's module, which toolchain/manifest.py sets.
const STACK: &str = "1 MiB";

/// Suffix of clang's note about the declaration of an unavailable function.
const MARKED: &str = " has been explicitly marked unavailable here";

/// clang's message for a block that is still open at the end of the file.
const OPEN_BLOCK: &str = "expected '}'";

/// The author's file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// File name in clang's messages.
    pub(crate) name: &'a str,
    /// Its bytes.
    pub(crate) text: &'a [u8],
}

impl Source<'_> {
    /// Whether a message is located in this file.
    fn contains(&self, message: &Message) -> bool {
        message.file == self.name
    }
}

/// Whether an error is located in the glue, so that the author's text should be checked alone.
pub(crate) fn is_about_glue(messages: &str) -> bool {
    message::parse(messages).1.iter().any(|message| message.severity == Severity::Error && in_sdk(&message.file))
}

/// The messages, rewritten for the author.
pub(crate) fn for_author(messages: &str, source: Source<'_>) -> String {
    let (other, parsed) = message::parse(messages);
    let own_errors = parsed.iter().any(|message| message.severity == Severity::Error && source.contains(message));
    let mut shown: Vec<Message> = Vec::new();
    let mut glue_reported = false;
    let lines = source.text.split(|byte| *byte == b'\n').count();
    for message in parsed {
        if source.contains(&message) && message.line > lines && !shown.is_empty() {
            // An unterminated construct in the author's text includes the glue.
            continue;
        }
        let message = if message.file.starts_with(GLUE) {
            // Errors in the glue may be consequences of errors in the author's text, or of the first one in the glue.
            if message.severity == Severity::Error && (own_errors || std::mem::replace(&mut glue_reported, true)) {
                continue;
            }
            from_glue(message, source)
        } else {
            from_code(message, source)
        };
        let again = |earlier: &Message| {
            earlier.text == message.text && (earlier.line == message.line || message.text.starts_with(OURS))
        };
        if !shown.iter().any(again) {
            shown.push(message);
        }
    }
    collapse_open_block(&mut shown);
    drop_consequences(&mut shown);
    let mut text = other;
    shown.iter().for_each(|message| message.write(&mut text));
    text
}

/// A message of the glue, moved to the author's function.
fn from_glue(message: Message, source: Source<'_>) -> Message {
    let function = message.file.trim_start_matches(GLUE).to_owned();
    let text = match message.text.split_once(OURS) {
        Some((_, text)) => format!("{OURS}{}", without_flag(text)),
        None if function == "job" => format!("{OURS}the functions of the job do not match: {}", message.text),
        None => format!(
            "{OURS}a job needs one global function `{function}`, but `{function}` is something else here: {}",
            message.text
        ),
    };
    let place = place::of_function(source.text, &function);
    message.moved(source.name, place.line, place.column, text, place.excerpt)
}

/// A message about the author's code, or about library code that the author's code instantiates.
fn from_code(mut message: Message, source: Source<'_>) -> Message {
    if let Some((_, text)) = message.text.split_once(OURS) {
        // "'sleep' is unavailable: WebMesh: jobs cannot sleep": only the SDK's text is kept.
        message.text = format!("{OURS}{}", without_flag(text));
    }
    if let Some(bytes) = frame(&message.text) {
        message.text = format!(
            "{OURS}this function takes {bytes} bytes of the stack, which has {} in total: make a large local array \
             static, or a std::vector",
            STACK
        );
    }
    if !source.contains(&message)
        && let Some((line, column)) = message.origin_in(source.name)
    {
        let place = place::at(source.text, line, column);
        let text = message.text.clone();
        message = message.moved(source.name, place.line, place.column, text, place.excerpt);
    }
    let place = (message.file.clone(), message.line, message.column);
    message.notes =
        std::mem::take(&mut message.notes).into_iter().filter_map(|note| rewrite_note(note, &place)).collect();
    message
}

/// Drops a note about or in a declaration of the SDK, unless it describes a candidate of a call, such as `emit`: then
/// the note moves to the call.
fn rewrite_note(note: Message, (file, line, column): &(String, usize, usize)) -> Option<Message> {
    if note.text.ends_with(MARKED) {
        return None;
    }
    if !in_sdk(&note.file) {
        return Some(note);
    }
    let text = note.text.strip_prefix("candidate ").map(|_| note.text.clone())?;
    Some(note.moved(file, *line, *column, text, String::new()))
}

/// A block that is still open at the end of the file causes errors in everything after it. Replaces all errors by one,
/// at the beginning of the block.
fn collapse_open_block(messages: &mut Vec<Message>) {
    let Some(open) = messages.iter().position(|message| message.text == OPEN_BLOCK) else { return };
    let mut message = messages.swap_remove(open);
    let text = format!("{OURS}a `}}` is missing: this `{{` is still open at the end of the file");
    if let Some(begin) = message.notes.iter().position(|note| note.text.starts_with("to match this")) {
        message = message.notes.swap_remove(begin).with(Severity::Error, text);
    } else {
        message.text = text;
    }
    messages.retain(|message| message.severity != Severity::Error);
    messages.insert(0, message);
}

/// Removes clang's other messages about a line for which the SDK has an error: they are consequences of it.
fn drop_consequences(messages: &mut Vec<Message>) {
    let reported: Vec<_> = messages
        .iter()
        .filter(|message| message.severity == Severity::Error && message.text.starts_with(OURS))
        .map(|message| (message.file.clone(), message.line))
        .collect();
    messages.retain(|message| {
        message.text.starts_with(OURS)
            || !reported.iter().any(|(file, line)| *file == message.file && *line == message.line)
    });
}

/// Whether a file belongs to the SDK.
fn in_sdk(file: &str) -> bool {
    file.starts_with(GLUE) || file.starts_with(SDK)
}

/// The text without the flag that clang appends to a warning, such as ` [-Wdeprecated-declarations]`.
fn without_flag(text: &str) -> &str {
    text.rfind(" [-W").filter(|_| text.ends_with(']')).map_or(text, |flag| &text[..flag])
}

/// The bytes in "stack frame size (4000016) exceeds limit (983040) in 'map(...)'".
fn frame(text: &str) -> Option<u64> {
    text.strip_prefix("stack frame size (")?.split_once(") exceeds limit")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "// map\nvector<pair<string, int>> map(int doc) {\n  sleep(1);\n  sort(a, b);\n}\n";

    fn shown(messages: &str) -> String {
        for_author(messages, Source { name: "job.cpp", text: TEXT.as_bytes() })
    }

    #[test]
    fn a_message_of_the_glue_moves_to_the_function_that_it_is_about() {
        let clang = "\x1b[1mwebmesh:map:1:15: \x1b[0m\x1b[0;1;31merror: \x1b[0m\x1b[1mstatic assertion failed: WebMesh: \
                     no\x1b[0m\n    1 | static_assert(x);\n      |  ^\n1 error generated.\n";
        assert!(is_about_glue(clang));
        let text = message::plain(&shown(clang));
        let expected = "job.cpp:2:27: error: WebMesh: no\n    2 | vector<pair<string, int>> map(int doc) {\n      |                           ^~~\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_use_of_an_unavailable_function_is_one_message_at_the_authors_line() {
        let clang = "job.cpp:3:3: error: 'sleep' is unavailable: WebMesh: jobs cannot sleep\n    3 |   sleep(1);\n      |   ^\n\
                     include/unistd.h:8:27: note: 'sleep' has been explicitly marked unavailable here\n    8 | x\n      | ^\n\
                     job.cpp:3:4: error: something that follows\n";
        let text = message::plain(&shown(clang));
        assert_eq!(text, "job.cpp:3:3: error: WebMesh: jobs cannot sleep\n    3 |   sleep(1);\n      |   ^\n");
    }

    #[test]
    fn an_error_in_a_header_moves_to_the_line_that_instantiated_it() {
        let clang = "In file included from job.cpp:1:\nsysroot/algorithm:99:2: error: no operator<\n   99 | a < b\n      | ^\n\
                     job.cpp:4:3: note: in instantiation of function template specialization requested here\n";
        let text = message::plain(&shown(clang));
        assert!(text.starts_with("job.cpp:4:3: error: no operator<\n    4 |   sort(a, b);\n"), "{text}");
    }

    #[test]
    fn a_missing_brace_is_one_message_at_the_open_brace() {
        let clang = "job.cpp:4:1: error: function definition is not allowed here\n\
                     job.cpp:6:1: error: expected '}'\njob.cpp:2:40: note: to match this '{'\n    2 | x {\n      |   ^\n";
        let text = message::plain(&shown(clang));
        assert!(text.starts_with("job.cpp:2:40: error: WebMesh: a `}` is missing"), "{text}");
        assert_eq!(text.matches("error:").count(), 1, "{text}");
    }

    #[test]
    fn an_ordinary_error_stays_as_clang_wrote_it() {
        let clang = "\x1b[1mjob.cpp:4:8: \x1b[0m\x1b[0;1;31merror: \x1b[0m\x1b[1muse of undeclared identifier 'a'\x1b[0m\n    4 |   sort(a, b);\n      | \x1b[0;1;32m       ^\n\x1b[0m";
        assert_eq!(shown(clang), clang);
    }
}
