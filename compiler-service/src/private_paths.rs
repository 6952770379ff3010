//! Removes this host's paths from what requesters are told.

use std::path::Path;

/// Paths of this host that are nobody else's business: the toolchain's folder, and the user's home folder, which has the
/// user's name.
#[derive(Debug)]
pub(crate) struct PrivatePaths(Vec<Private>);

#[derive(Debug)]
struct Private {
    /// Without a slash at the end.
    path: String,
    /// What is shown instead of the folder itself.
    folder: &'static str,
    /// What is shown instead of the folder before the name of something in it.
    prefix: &'static str,
}

impl PrivatePaths {
    /// Hides the toolchain's folder, which a sandbox has as `seen`, and the home folder, with the links in them resolved
    /// or not.
    pub(crate) fn new(seen: &str, toolchain: &Path, home: Option<&Path>) -> Self {
        let mut all = Vec::new();
        let mut add = |path: &str, folder, prefix| {
            let path = path.trim_end_matches('/').to_owned();
            // The root, or a service without a home, has nothing to hide.
            if path.starts_with('/') {
                all.push(Private { path, folder, prefix });
            }
        };
        add(seen, "toolchain", "");
        for (path, folder, prefix) in [(Some(toolchain), "toolchain", ""), (home, "~", "~/")] {
            for path in path.into_iter().flat_map(|path| [Some(path.to_path_buf()), path.canonicalize().ok()]).flatten()
            {
                add(&path.to_string_lossy(), folder, prefix);
            }
        }
        // A folder before those that it is in.
        all.sort_by_key(|private| std::cmp::Reverse(private.path.len()));
        Self(all)
    }

    /// `text` without these paths.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, private| private.hide(&text))
    }

    /// The same for a text that was cut at its end, perhaps within one of these paths.
    pub(crate) fn hide_in_cut(&self, text: &str) -> String {
        let begun = |private: &Private| {
            let begins = |length: &usize| private.path.get(..*length).is_some_and(|begin| text.ends_with(begin));
            (1..=private.path.len()).rev().find(begins)
        };
        let begun = self.0.iter().filter_map(begun).max().unwrap_or(0);
        self.hide(&text[..text.len() - begun])
    }
}

impl Private {
    fn hide(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(&self.path) {
            out.push_str(before);
            rest = after;
            match after.chars().next() {
                Some('/') => {
                    out.push_str(self.prefix);
                    rest = &after[1..];
                }
                // Another folder whose name begins in the same way.
                Some(c) if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') => out.push_str(&self.path),
                _ => out.push_str(self.folder),
            }
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> PrivatePaths {
        let toolchain = Path::new("/home/alice/.local/share/webmesh/toolchain");
        PrivatePaths::new("/proc/self/cwd/", toolchain, Some(Path::new("/home/alice")))
    }

    #[test]
    fn the_toolchain_and_the_home_folder_are_hidden_in_any_text() {
        let text = "In file included from /home/alice/.local/share/webmesh/toolchain/include/webmesh.hpp:3:\n\
                    0.\tProgram arguments: clang --sysroot=/home/alice/.local/share/webmesh/toolchain/sysroot \
                    -ffile-prefix-map=/home/alice/.local/share/webmesh/toolchain=/webmesh\n\
                    /proc/self/cwd/sysroot/vector:1:1: error in /proc/self/cwd\n\
                    bwrap: Can't bind /home/alice: Permission denied, /home/alice/llvm/bin/clang /home/alicent/x";
        let expected = "In file included from include/webmesh.hpp:3:\n\
                        0.\tProgram arguments: clang --sysroot=sysroot -ffile-prefix-map=toolchain=/webmesh\n\
                        sysroot/vector:1:1: error in toolchain\n\
                        bwrap: Can't bind ~: Permission denied, ~/llvm/bin/clang /home/alicent/x";
        assert_eq!(paths().hide(text), expected);
    }

    #[test]
    fn a_path_that_is_cut_off_is_hidden() {
        for cut in
            ["/home/alice/.local/share/webmesh/toolchain/inc", "/home/alice/.local/sh", "/home/alice", "/home/al"]
        {
            let shown = paths().hide_in_cut(&format!("error: {cut}"));
            assert!(!shown.contains("al") && !shown.contains("home"), "{cut}: {shown}");
        }
        assert_eq!(paths().hide_in_cut("a text"), "a text");
    }

    #[test]
    fn a_service_in_the_root_folder_hides_nothing() {
        assert_eq!(PrivatePaths::new("", Path::new("/"), Some(Path::new("/"))).hide("/usr/a"), "/usr/a");
        assert_eq!(PrivatePaths::new("", Path::new("none"), None).hide("/usr/a"), "/usr/a");
    }
}
