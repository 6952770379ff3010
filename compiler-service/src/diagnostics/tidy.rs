//! Makes clang's output fit for a stranger's terminal: bounded, and with no control codes but colours.

use crate::limits::MAX_DIAGNOSTICS;

const ESCAPE: char = '\u{1b}';

/// clang's `text` without control characters but for tabs, line ends and colours (a source may print what it likes
/// through `#error`), cut at a line with a note of what is missing.
///
/// `missing` is how many bytes of clang's output are not in `text`, as nobody read them.
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

/// The rest of a colour code (`[0;1;31m`) where `text`, behind an escape, starts with one.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    // clang writes at most `[0;1;31m`; the bound keeps a source from hiding a text in a "colour".
    (end <= 12 && parameters[end..].starts_with('m')).then(|| &text[..end + 2])
}

fn cut(mut text: String, missing: usize) -> String {
    if text.len() <= MAX_DIAGNOSTICS && missing == 0 {
        return text;
    }
    let whole = text.len() + missing;
    // Room for the note itself.
    let limit = MAX_DIAGNOSTICS - 128;
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A single endless line is cut in its middle: half of a message says more than none.
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
    fn colours_stay_and_other_control_codes_go() {
        let shown = tidy("\x1b[0;1;31merror: \x1b[0mno\x1b]0;title\x07 \x1b[2Jway\r\n", 0);
        assert_eq!(shown, "\x1b[0;1;31merror: \x1b[0mno]0;title [2Jway\n");
    }

    #[test]
    fn long_text_is_cut_at_a_line_and_says_so() {
        let line = "a.cpp:1:1: error: no\n";
        let shown = tidy(&line.repeat(10_000), 5);
        assert!(shown.len() <= MAX_DIAGNOSTICS);
        let (kept, note) = shown.rsplit_once("\x1b[0m... ").expect("a note");
        assert_eq!(kept.len() % line.len(), 0, "cut inside a line");
        assert_eq!(note, format!("{} more bytes of messages are left out\n", 10_000 * line.len() + 5 - kept.len()));
    }

    #[test]
    fn one_endless_line_is_cut_between_characters() {
        let shown = tidy(&"ä".repeat(MAX_DIAGNOSTICS), 0);
        assert!(shown.len() <= MAX_DIAGNOSTICS);
        assert!(shown.starts_with("ää"));
    }
}
