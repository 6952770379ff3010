//! What a user sees of a job on a terminal.

use std::path::Path;

use webmesh_tests::mesh::{corpus_of, slow_word_count};
use webmesh_tests::process::{example, webmesh};
use webmesh_tests::terminal::watch;

/// The number of finished map tasks that a screen shows.
fn map_done(screen: &str) -> Option<u32> {
    let bar = screen.lines().find(|line| line.starts_with("map"))?;
    let (done, _) = bar.split_once("/60")?;
    done.rsplit(' ').next()?.parse().ok()
}

#[test]
fn progress_bars_move_while_a_job_runs_and_disappear_afterwards() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let expected = corpus_of(&dir.path().join("corpus"), 60, 31);
    let job = dir.path().join("slow.cpp");
    std::fs::write(&job, slow_word_count()).expect("the source can be written");
    let mut command = webmesh(dir.path());
    command.arg("run").arg(job).arg(dir.path().join("corpus")).args([
        "--threads",
        "1",
        "--docs-per-task",
        "1",
        "--data",
    ]);
    let stdout = dir.path().join("stdout");
    let seen = watch(command.arg(dir.path()), &stdout);
    let last = seen.screens.last().expect("something was shown");
    assert!(seen.status.success(), "{last}");
    let result = std::fs::read(stdout).expect("there is standard output");
    assert!(result == expected, "standard output is the result and nothing else");

    let done: Vec<u32> = seen.screens.iter().filter_map(|screen| map_done(screen)).collect();
    assert!(done.is_sorted(), "the bar never runs back: {done:?}");
    assert!(
        done.iter().filter(|&&n| 0 < n && n < 60).count() >= 3,
        "the bar moves in between: {done:?}\n{}",
        seen.screens.join("\n--\n")
    );
    let all = seen.screens.join("\n");
    for part in ["━", "60 files", "reduce", "1 shuffler", "/s", "reading inputs"] {
        assert!(all.contains(part), "`{part}` is missing from what was shown:\n{all}");
    }
    assert!(!last.contains('━') && !last.contains("map "), "bars are left on the screen:\n{last}");
    assert!(last.contains("done: "), "how it ended is told:\n{last}");
}

#[test]
fn a_result_on_the_terminal_is_whole_and_has_no_bars_in_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let input = dir.path().join("words.txt");
    std::fs::write(&input, "ant bee cat dog eel fox gnu hen\n").expect("the input can be written");
    let job = example("wordcount/wordcount.cpp");
    let mut command = webmesh(dir.path());
    command.arg("run").arg(job).arg(input).args(["--threads", "1", "--data"]);
    let seen = watch(command.arg(dir.path()), Path::new("/dev/tty"));
    let last = seen.screens.last().expect("something was shown");
    assert!(seen.status.success(), "{last}");
    for word in ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"] {
        let is_shown = last.lines().any(|line| line.split_whitespace().eq([word, "1"]));
        assert!(is_shown, "`{word}` is missing from the screen:\n{last}");
    }
    assert!(!last.contains('━') && last.contains("done: 8 lines"), "{last}");
}
