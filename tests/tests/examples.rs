//! Every example, run as its README says, against an answer that something else computed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use webmesh_tests::corpus::{self, Random};
use webmesh_tests::process::{assert_success, example, output, webmesh};

/// Runs a job on an embedded mesh; gives its result.
fn run(job: &str, inputs: &[PathBuf], more: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = webmesh(dir.path());
    command.arg("run").arg(example(job)).args(inputs).args(more).arg("--data").arg(dir.path());
    let output = output(&mut command);
    assert_success(&output);
    String::from_utf8(output.stdout).expect("these results are text")
}

fn corpus_in(dir: &Path) -> Vec<u8> {
    corpus::reviews(dir, 30, 50_000, 5_000, 11).expect("the corpus can be written");
    corpus::count_words(&[dir]).expect("the corpus can be counted")
}

#[test]
fn both_word_counts_agree_with_an_independent_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let expected = String::from_utf8(corpus_in(dir.path())).expect("text");
    for job in ["wordcount/wordcount.cpp", "wordcount/wordcount_fast.cpp"] {
        assert!(run(job, &[dir.path().to_owned()], &[]) == expected, "{job}");
    }
}

#[test]
fn the_answer_does_not_depend_on_peers_partitions_or_the_cutting_of_the_input() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let expected = String::from_utf8(corpus_in(dir.path())).expect("text");
    let ways: [&[&str]; 5] = [
        &["--peers", "3", "--threads", "1"],
        &["--partitions", "7"],
        &["--chunk", "1"],
        &["--docs-per-task", "1", "--chunk", "10KB"],
        &["--whole-files", "--peers", "2", "--replicas", "1"],
    ];
    for way in ways {
        assert!(run("wordcount/wordcount_fast.cpp", &[dir.path().to_owned()], way) == expected, "{way:?}");
    }
}

#[test]
fn the_matrix_product_is_right() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (n, m, p) = (9, 7, 8);
    let mut random = Random::new(12);
    let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<i64>> {
        (0..rows).map(|_| (0..columns).map(|_| random.below(19) as i64 - 9).collect()).collect()
    };
    let (a, b) = (matrix(n, m), matrix(m, p));
    let row = |name: &str, i: usize, other: usize, row: &[i64]| {
        let numbers: Vec<String> = row.iter().map(i64::to_string).collect();
        format!("{name} {i} {other} {}\n", numbers.join(" "))
    };
    let mut text = String::new();
    a.iter().enumerate().for_each(|(i, r)| text += &row("A", i, p, r));
    b.iter().enumerate().for_each(|(k, r)| text += &row("B", k, n, r));
    let file = dir.path().join("matrices.txt");
    std::fs::write(&file, text).expect("the input can be written");
    let result = run("matmul/matmul.cpp", &[file], &["--chunk", "1"]);
    let mut cells = 0;
    for line in result.lines() {
        let (key, value) = line.split_once('\t').expect("key, tab, value");
        let (i, j) = key.split_once(',').expect("a cell");
        let (i, j): (usize, usize) = (i.parse().expect("a row"), j.parse().expect("a column"));
        let expected: i64 = (0..m).map(|k| a[i][k] * b[k][j]).sum();
        assert_eq!(value.parse::<f64>().expect("a number"), expected as f64, "cell {key}");
        cells += 1;
    }
    assert_eq!(cells, n * p);
}

#[test]
fn grep_finds_the_lines_that_hold_the_pattern() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(13);
    let words = ["an", "error", "occurred", "terror", "fine", "Error", "ok\\"];
    let text: String = (0..5000)
        .map(|_| {
            let line: Vec<&str> = (0..4).map(|_| words[random.below(words.len() as u64) as usize]).collect();
            line.join(" ") + "\n"
        })
        .collect();
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    text.lines().filter(|l| l.contains("error")).for_each(|l| *expected.entry(l).or_default() += 1);
    let expected: String = expected.iter().map(|(l, n)| format!("{}\t{n}\n", l.replace('\\', "\\\\"))).collect();
    let file = dir.path().join("log");
    std::fs::write(&file, &text).expect("the input can be written");
    assert_eq!(run("grep/grep.cpp", &[file], &["--chunk", "4KB"]), expected);
}

#[test]
fn the_inverted_index_lists_the_documents_of_each_word() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(14);
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for document in 0..40 {
        let name = format!("document {document:02}");
        let words: Vec<String> = (0..50).map(|_| corpus::word(random.below(300))).collect();
        words.iter().for_each(|w| {
            expected.entry(w.clone()).or_default().insert(name.clone());
        });
        let text = format!("{name}\n{}\n", words.join(" ").to_uppercase());
        std::fs::write(dir.path().join(document.to_string()), text).expect("the input can be written");
    }
    let expected: String = expected
        .iter()
        .map(|(word, names)| {
            let names: Vec<String> = names.iter().map(|n| format!("\"{n}\"")).collect();
            format!("{word}\t[{}]\n", names.join(","))
        })
        .collect();
    let result = run("inverted-index/inverted_index.cpp", &[dir.path().to_owned()], &["--whole-files"]);
    assert_eq!(result, expected);
}

#[test]
fn pi_needs_no_input_and_counts_the_same_hits() {
    let tasks = 5u64;
    let points = 1_000_000u64;
    let mut hits = 0u64;
    for task in 0..tasks {
        let mut random = Random::new(Random::new(task).number());
        for _ in 0..points {
            let number = random.number();
            let (x, y) = (number >> 33, number & 0x7fff_ffff);
            hits += u64::from(x * x + y * y < 1 << 62);
        }
    }
    let result = run("monte-carlo-pi/monte_carlo_pi.cpp", &[], &["--tasks", "5"]);
    let value = result.trim_end().strip_prefix("pi\t").expect("one key");
    let value: Vec<f64> = serde_json::from_str(value).expect("a struct is an array of its fields");
    assert_eq!(value[1..], [hits as f64, (tasks * points) as f64]);
    assert!((value[0] - std::f64::consts::PI).abs() < 0.01);
}
