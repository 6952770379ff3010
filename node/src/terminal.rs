//! Escapes untrusted text for terminals.
//!
//! Names of jobs, reasons of failures, addresses and agents come from other peers. On a terminal, control characters in
//! them could move the cursor, set its title, or inject input. Everything shown to the user passes through one of these
//! functions last; JSON has escapes of its own.

use std::io::{self, IsTerminal};

const ESCAPE: char = '\u{1b}';
/// Maximum length of a colour code: clang writes none longer than `[0;1;31m`.
const COLOUR_BYTES: usize = 12;

/// Whether to use colours on standard error: it is a terminal, and the user has not set `NO_COLOR`
/// (<https://no-color.org>).
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` on one line, with control characters escaped (`\u{1b}`).
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c, false));
    out
}

/// The same for text that may have several lines.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c, true));
    out
}

/// The same for clang's output, whose colours are kept or removed.
pub fn diagnostics(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        match colour(behind).filter(|_| c == ESCAPE) {
            Some(len) => {
                if colours {
                    out.push_str(&rest[..c.len_utf8() + len]);
                }
                rest = &behind[len..];
            }
            None => {
                push(&mut out, c, true);
                rest = behind;
            }
        }
    }
    out
}

/// `text` quoted as one word of a shell command.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The length of a colour code (`[0;1;31m`) after an escape character.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    (end <= COLOUR_BYTES && parameters[end..].starts_with('m')).then_some(end + 2)
}

fn push(out: &mut String, c: char, lines: bool) {
    if c == '\t' || c == '\n' && lines || !(c.is_control() || turns_text(c)) {
        out.push(c);
    } else {
        out.extend(c.escape_default());
    }
}

/// Whether the character can make text appear in another order: the bidirectional overrides and isolates of Unicode.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NASTY: &str = "no\x1b]0;title\x07\x1b[2Jway\u{9b}1m\r\n\u{202e}txt.exe";

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(line(NASTY), r"no\u{1b}]0;title\u{7}\u{1b}[2Jway\u{9b}1m\r\n\u{202e}txt.exe");
        assert_eq!(text("two\nlines, \ttab, ünïcode 字"), "two\nlines, \ttab, ünïcode 字");
    }

    #[test]
    fn diagnostics_keep_only_colours() {
        let said = "\x1b[0;1;31merror: \x1b[0mno\x1b[2Jway\x1b";
        assert_eq!(diagnostics(said, true), "\x1b[0;1;31merror: \x1b[0mno\\u{1b}[2Jway\\u{1b}");
        assert_eq!(diagnostics(said, false), "error: no\\u{1b}[2Jway\\u{1b}");
    }

    proptest! {
        #[test]
        fn no_control_character_is_left(said in "(\\PC|\\x1b|\\[|[0-9;m]|\\p{Cc}|\u{202e})*") {
            let controls = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
            prop_assert_eq!(text(&said).chars().find(controls), None);
            prop_assert_eq!(line(&said).chars().find(|c| c.is_control() && *c != '\t'), None);
            prop_assert_eq!(diagnostics(&said, false).chars().find(controls), None);
            // Diagnostics that keep their colours contain nothing else: without them, they are the plain text.
            let coloured = diagnostics(&said, true);
            prop_assert_eq!(coloured.chars().find(|c| controls(c) && *c != ESCAPE), None);
            prop_assert_eq!(diagnostics(&coloured, false), diagnostics(&said, false));
        }
    }
}
