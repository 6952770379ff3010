//! Finds what clang was doing when it exceeded its time, from the stack dump that LLVM's programs write at `SIGXCPU`:
//!
//! ```text
//! Stack dump:
//! 0.<TAB>Program arguments: …
//! 1.<TAB>job.cpp:4:32: current parser token ';'
//! 2.<TAB>job.cpp:1:71: instantiating variable definition 'Bomb<22, 1>::v'
//! ```

/// The line before the dump.
const START: &str = "Stack dump:";

/// Beginnings of the dump's entries that have no place in the source.
const OPTIMIZER: [&str; 2] = ["Optimizer", "Code generation"];

/// Bytes of an entry that are shown: a template's name can have any length.
const MAX_ENTRY: usize = 200;

/// Whether `messages` have a dump. It may name no place: clang was stopped before it had one.
pub(crate) fn is_in(messages: &str) -> bool {
    messages.lines().any(|line| line == START)
}

/// What clang was doing, as a phrase to follow "was stopped"; `None` if `messages` have no dump, or it names
/// no place.
pub(crate) fn place(messages: &str) -> Option<String> {
    let mut lines = messages.lines().skip_while(|line| *line != START).skip(1);
    let mut entries = Vec::new();
    // Numbered from 0, the outermost first. The first is the command line.
    while let Some((number, text)) = lines.next().and_then(|line| line.split_once(".\t"))
        && number.parse() == Ok(entries.len())
    {
        entries.push(text);
    }
    let (outermost, innermost) = (entries.get(1)?, entries.last()?);
    if entries.iter().any(|entry| OPTIMIZER.iter().any(|start| entry.starts_with(start))) {
        let function = innermost.rsplit_once(" on function \"").and_then(|(_, rest)| rest.split_once('"'));
        let function = function.map_or(String::new(), |(name, _)| format!(" at function {}", cut(name)));
        return Some(format!("in the optimizer{function}, after it had read the whole source"));
    }
    let Some((at, doing)) = innermost.split_once(": ").filter(|(_, doing)| !doing.starts_with("current parser")) else {
        return location(outermost).map(|at| format!("at {at}"));
    };
    let at = at.split(' ').next().unwrap_or(at);
    let mut text = format!("at {at}, {}", cut(doing));
    if entries.len() > 3 {
        text.push_str(&format!(", {} levels deep", entries.len() - 2));
    }
    if let Some(outer) = location(outermost).filter(|outer| *outer != at) {
        text.push_str(&format!(", which began at {outer}"));
    }
    Some(text)
}

/// The place at the beginning of an entry, without the macro expansion that clang may add.
fn location(entry: &str) -> Option<&str> {
    let (at, _) = entry.split_once(": ")?;
    at.split(' ').next()
}

fn cut(text: &str) -> String {
    match text.floor_char_boundary(MAX_ENTRY) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(entries: &[&str]) -> String {
        let mut text =
            "a.cpp:1:1: warning: …\nPLEASE submit a bug report\nStack dump:\n0.\tProgram arguments: clang\n".to_owned();
        for (number, entry) in (1..).zip(entries) {
            text.push_str(&format!("{number}.\t{entry}\n"));
        }
        text + " #0 0x00007f llvm::sys::PrintStackTrace\n"
    }

    #[test]
    fn the_innermost_instantiation_is_named_with_the_line_that_began_it() {
        let outer = "b.cpp:4:32: current parser token ';'";
        let inner =
            ["'B<22, 1>::v'", "'B<21, 2>::v'"].map(|v| format!("b.cpp:1:71: instantiating variable definition {v}"));
        let text = dump(&[outer, &inner[0], &inner[1]]);
        let expected =
            "at b.cpp:1:71, instantiating variable definition 'B<21, 2>::v', 2 levels deep, which began at b.cpp:4:32";
        assert_eq!(place(&text).as_deref(), Some(expected));
    }

    #[test]
    fn a_token_gives_a_place_and_a_macro_the_place_of_its_use() {
        let text = dump(&["b6.cpp:14:15 <Spelling=b6.cpp:1:12>: current parser token '+'"]);
        assert_eq!(place(&text).as_deref(), Some("at b6.cpp:14:15"));
    }

    #[test]
    fn the_optimizer_is_named_with_its_function() {
        let text = dump(&["<eof> parser at end of file", "Optimizer", "Running pass \"sroa\" on function \"_Z3bigi\""]);
        assert_eq!(
            place(&text).as_deref(),
            Some("in the optimizer at function _Z3bigi, after it had read the whole source")
        );
        let text = dump(&["<eof> parser at end of file", "Optimizer"]);
        assert_eq!(place(&text).as_deref(), Some("in the optimizer, after it had read the whole source"));
    }

    #[test]
    fn without_a_dump_there_is_no_place_and_a_long_name_is_cut() {
        assert_eq!(place("a.cpp:1:1: error: no\n"), None);
        let text = dump(&["<unknown> parser at unknown location"]);
        assert_eq!((place(&text), is_in(&text)), (None, true));
        assert_eq!(place("Stack dump:\n0.\tProgram arguments: clang\n"), None);
        let long = format!("a.cpp:1:1: instantiating class definition '{}'", "ä".repeat(1000));
        let text = place(&dump(&["a.cpp:2:2: current parser token ';'", &long])).unwrap();
        assert!(text.len() < 2 * MAX_ENTRY && text.contains("ä…"), "{text}");
    }
}
