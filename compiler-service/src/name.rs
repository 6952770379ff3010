//! The source's file name in diagnostics.

use crate::limits::MAX_FILE_NAME;

/// The name of a source without a usable one.
const FALLBACK: &str = "job.cpp";

/// The last part of `given`, with every character that is special to a shell, a terminal or the preprocessor replaced
/// by `_`, so that the name can be part of a path and of a `#line` directive.
pub(crate) fn clean(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name = String::new();
    for c in last.chars() {
        let keep = c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let c = if keep { c } else { '_' };
        if name.len() + c.len_utf8() > MAX_FILE_NAME {
            break;
        }
        name.push(c);
    }
    // A leading dot or dash would make it a hidden file, a folder (`..`), or an option.
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { FALLBACK.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn an_ordinary_name_is_kept() {
        assert_eq!(clean("word-count_2.cpp"), "word-count_2.cpp");
        assert_eq!(clean("zähler.cpp"), "zähler.cpp");
    }

    #[test]
    fn only_the_last_part_of_a_path_is_kept() {
        assert_eq!(clean("/home/someone/jobs/count.cpp"), "count.cpp");
        assert_eq!(clean(r"C:\jobs\count.cpp"), "count.cpp");
    }

    #[test]
    fn a_name_cannot_be_an_option_a_folder_or_a_directive() {
        assert_eq!(clean("-fplugin=x.so"), "fplugin_x.so");
        assert_eq!(clean(".."), "job.cpp");
        assert_eq!(clean(""), "job.cpp");
        assert_eq!(clean("a\"\n#include <x>.cpp"), "a___include__x_.cpp");
        assert_eq!(clean("\u{1b}[31m.cpp"), "_31m.cpp".replacen("_", "__", 1));
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let name = clean(&"ä".repeat(500));
        assert_eq!(name, "ä".repeat(50));
    }
}
