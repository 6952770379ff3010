//! Makes clang's output safe for another user's terminal: bounded, and without control codes other than colours.

use crate::limits::MAX_DIAGNOSTICS;

const ESCAPE: char = '\u{1b}';

/// clang's `text` without control characters other than tabs, line ends and colours, since a source can print anything
/// through `#error`. A long text is cut at the end of a line, followed by a note of how much is missing.
///
/// `missing`: number of bytes of clang's output that were not read and so are not in `text`.
pub(crate) fn tidy(text: &str, missing: usize) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_DIAGNOSTICS));
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == ESCAPE {
            if let Some(colour) = colour(rest.as_str()) {
                out.push(ESCAPE);
                out.push_str(colour);
                rest = rest.as_str()[colour.len()..].chars();
            }
        } else if c == '\n' || c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    cut(out, missing)
}

/// The colour code (`[0;1;31m`) at the start of `text`, which follows an escape; none if there is none.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    // clang writes at most `[0;1;31m`; the bound keeps a source from hiding text in a "colour".
    (end <= 12 && parameters[end..].starts_with('m')).then(|| &text[..end + 2])
}

fn cut(mut text: String, missing: usize) -> String {
    if text.len() <= MAX_DIAGNOSTICS && missing == 0 {
        return text;
    }
    let whole = text.len() + missing;
    // Leaves room for the note.
    let limit = MAX_DIAGNOSTICS - 128;
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A single line that is too long is cut within the line: part of a message is better than none.
        end = text[..end].rfind('\n').map_or(end, |line| line + 1);
        text.truncate(end);
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let left_out = whole - text.len().min(whole);
    text.push_str(&format!("{ESCAPE}[0m... {left_out} more bytes of messages are left out\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_kept_and_other_control_codes_removed() {
        let shown = tidy("\x1b[0;1;31merror: \x1b[0mno\x1b]0;title\x07 \x1b[2Jway\r\n", 0);
        assert_eq!(shown, "\x1b[0;1;31merror: \x1b[0mno]0;title [2Jway\n");
    }

    #[test]
    fn a_long_text_is_cut_at_a_line_with_a_note() {
        let line = "a.cpp:1:1: error: no\n";
        let shown = tidy(&line.repeat(10_000), 5);
        assert!(shown.len() <= MAX_DIAGNOSTICS);
        let (kept, note) = shown.rsplit_once("\x1b[0m... ").expect("a note");
        assert_eq!(kept.len() % line.len(), 0, "cut inside a line");
        assert_eq!(note, format!("{} more bytes of messages are left out\n", 10_000 * line.len() + 5 - kept.len()));
    }

    #[test]
    fn a_single_long_line_is_cut_between_characters() {
        let shown = tidy(&"ä".repeat(MAX_DIAGNOSTICS), 0);
        assert!(shown.len() <= MAX_DIAGNOSTICS);
        assert!(shown.starts_with("ää"));
    }
}
