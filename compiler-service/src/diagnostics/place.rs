//! Places in an author's source.

/// Bytes of a source line that are shown: generated tables may have lines of a megabyte.
const MAX_LINE: usize = 400;

/// A place in a source, with an excerpt in clang's format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 1.
    pub(super) line: usize,
    /// In bytes, counted from 1.
    pub(super) column: usize,
    /// The line, and a second one that underlines the word.
    pub(super) excerpt: String,
}

/// The place at a line and column. The word there is underlined.
pub(super) fn at(source: &[u8], line: usize, column: usize) -> Place {
    let text = source.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let start = column.saturating_sub(1).min(text.len());
    let word = text[start..].iter().take_while(|byte| is_word(**byte)).count();
    let shown = String::from_utf8_lossy(&text[..text.len().min(MAX_LINE)]);
    let shown = shown.trim_end().replace(|c: char| c.is_control() && c != '\t', " ");
    let mut excerpt = format!("{line:5} | {shown}\n");
    if start < MAX_LINE {
        // Keeps tabs and counts characters, not bytes, so that the marks are below the word.
        let before = String::from_utf8_lossy(&text[..start]);
        let blank: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let rest = "~".repeat(word.saturating_sub(1).min(MAX_LINE));
        excerpt.push_str(&format!("      | {blank}\u{1b}[0;1;32m^{rest}\u{1b}[0m\n"));
    }
    Place { line, column, excerpt }
}

/// The place of a global function, or of anything else with its name; the first line if there is none.
///
/// Of several, the last one at the outermost level is chosen, since helpers precede the code that uses them.
pub(super) fn of_function(source: &[u8], name: &str) -> Place {
    let mut outermost = None;
    let mut anywhere = None;
    for (offset, depth) in names(source, name.as_bytes()) {
        anywhere = anywhere.or(Some(offset));
        if depth == 0 {
            outermost = Some(offset);
        }
    }
    let Some(offset) = outermost.or(anywhere) else { return at(source, 1, 1) };
    let before = &source[..offset];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = offset - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) + 1;
    at(source, line, column)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The offsets at which a name appears to be declared or defined, each with the number of open braces. Skips comments,
/// literals and directives. This is a heuristic, not a parser, which suffices to choose a line.
fn names(source: &[u8], name: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    let mut last = b'\n'; // the last byte that is not white space
    let mut line_begins = true;
    while at < source.len() {
        let rest = &source[at..];
        let skip = match rest {
            [b'/', b'/', ..] => line_end(rest),
            [b'/', b'*', ..] => until(rest, 2, b"*/"),
            [b'#', ..] if line_begins => line_end(rest),
            [b'\'', next, ..] if next.is_ascii_hexdigit() && at > 0 && source[at - 1].is_ascii_hexdigit() => 1,
            [b'"' | b'\'', ..] => quoted(rest),
            [b'R', b'"', ..] => raw_text(rest),
            [first, ..] if is_word(*first) => {
                let word = rest.iter().take_while(|byte| is_word(**byte)).count();
                let next = rest[word..].iter().find(|byte| !byte.is_ascii_whitespace());
                // `vector<T> map(` declares; `x.map(`, `p->map(` and `std::map(` do not.
                let member = matches!(last, b'.' | b':') || (last == b'>' && follows_arrow(&source[..at]));
                let declares = matches!(next, Some(b'(' | b'=' | b'{' | b';'));
                if &rest[..word] == name && declares && !member {
                    found.push((at, depth));
                }
                word
            }
            _ => 1,
        };
        match rest.first() {
            Some(b'{') => depth += 1,
            Some(b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        let end = (at + skip.max(1)).min(source.len());
        for byte in &source[at..end] {
            if *byte == b'\n' {
                line_begins = true;
            } else if !byte.is_ascii_whitespace() {
                line_begins = false;
                last = *byte;
            }
        }
        at = end;
    }
    found
}

fn follows_arrow(before: &[u8]) -> bool {
    before.trim_ascii_end().ends_with(b"->")
}

/// Bytes to the end of the line, including lines continued by a backslash.
fn line_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = text[at..].iter().position(|byte| *byte == b'\n') {
        at += end;
        if !text[..at].trim_ascii_end().ends_with(b"\\") {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// Bytes up to and including the first `end` at or after `start`.
fn until(text: &[u8], start: usize, end: &[u8]) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    rest.windows(end.len()).position(|bytes| bytes == end).map_or(text.len(), |at| start + at + end.len())
}

/// Bytes of a string or character literal.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => return at,
            byte if *byte == text[0] => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Bytes of a raw string literal, `R"mark(...)mark"`.
fn raw_text(text: &[u8]) -> usize {
    /// The C++ standard's limit.
    const MAX_MARK: usize = 16;
    let Some(open) = text.iter().take(MAX_MARK + 3).position(|byte| *byte == b'(') else { return 2 };
    let end = [b")", &text[2..open], b"\""].concat();
    until(text, open, &end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str, name: &str) -> (usize, usize) {
        let place = of_function(source.as_bytes(), name);
        (place.line, place.column)
    }

    #[test]
    fn a_function_is_found_among_comments_literals_calls_and_helpers() {
        let source = "// map(\n/* map( */ string a = \"map(\", b = R\"x(map( \")\")x\";\n#define map( 1 \\\n map(\n\
                      int reduce(int, int);\nvoid f() { x.map(1); map(2); std::map(3); }\n\
                      vector<pair<string, int>>\nmap (const string doc) {\n}\npair<string, int> reduce(string k) {}\n";
        assert_eq!(place(source, "map"), (8, 1));
        assert_eq!(place(source, "reduce"), (10, 19));
        assert_eq!(place(source, "combine"), (1, 1));
    }

    #[test]
    fn a_function_in_a_namespace_and_a_lambda_are_found() {
        assert_eq!(place("namespace n {\nint map(int);\n}\n", "map"), (2, 5));
        assert_eq!(place("\nauto map = [](const string& doc) { return 1; };\n", "map"), (2, 6));
    }

    #[test]
    fn the_marks_are_below_the_word() {
        let place = at("\tä map(x)\n".as_bytes(), 1, 5);
        assert_eq!(place.excerpt, "    1 | \tä map(x)\n      | \t  \u{1b}[0;1;32m^~~\u{1b}[0m\n");
    }

    #[test]
    fn unusual_sources_do_not_panic() {
        for source in ["", "\"", "R\"", "R\"(", "/*", "'", "#\\", "map", "map(", "\u{fffd}map("] {
            let _ = of_function(source.as_bytes(), "map");
            let _ = at(source.as_bytes(), 7, 99);
        }
    }
}
