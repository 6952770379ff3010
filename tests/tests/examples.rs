//! Every example, run over its own input as its README says and over larger generated inputs, and compared with answers
//! computed independently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use webmesh_tests::corpus::{self, Random};
use webmesh_tests::process::{assert_success, example, output, root, webmesh};

/// Runs a job on an embedded mesh; returns its result.
fn run(job: &str, inputs: &[PathBuf], more: &[&str]) -> String {
    result(|command| command.arg("run").arg(example(job)).args(inputs).args(more))
}

/// Runs the command in an example's README, in the folder that its reader would use; returns the result.
fn run_as_its_readme_says(name: &str) -> String {
    let readme = std::fs::read_to_string(example(name).join("README.md")).expect("an example has a README");
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("webmesh ")).collect();
    assert_eq!(commands.len(), 1, "{name}: {commands:?}");
    result(|command| command.args(commands[0].split_whitespace()).current_dir(root()))
}

fn result(arguments: impl FnOnce(&mut Command) -> &mut Command) -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut command = webmesh(dir.path());
    arguments(&mut command).arg("--data").arg(dir.path());
    let output = output(&mut command);
    assert_success(&output);
    String::from_utf8(output.stdout).expect("these results are text")
}

/// The texts of all files in a folder.
fn texts(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the folder is there");
    let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(entry?.path());
    entries.map(|entry| read(entry).expect("a text")).collect()
}

fn corpus_in(dir: &Path) -> Vec<u8> {
    println!("corpus seed 11");
    corpus::reviews(dir, 30, 50_000, 5_000, 11).expect("the corpus can be written");
    corpus::count_words(&[dir]).expect("the corpus can be counted")
}

#[test]
fn the_word_count_counts_its_texts() {
    let expected = corpus::count_words(&[&example("wordcount/texts")]).expect("they can be counted");
    assert_eq!(run_as_its_readme_says("wordcount"), String::from_utf8(expected).expect("text"));
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
fn the_result_does_not_depend_on_peers_partitions_or_chunks() {
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

/// The product of the matrices in a text of the example's format, in the form of its result.
fn product(text: &str) -> BTreeMap<String, f64> {
    let mut rows: BTreeMap<(&str, usize), Vec<f64>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, index, _others, numbers @ ..] = &words[..] else { panic!("{line}") };
        let numbers = numbers.iter().map(|number| number.parse().expect("a number")).collect();
        rows.insert((*name, index.parse().expect("an index")), numbers);
    }
    let matrix = |name: &str| -> Vec<Vec<f64>> {
        rows.iter().filter(|((of, _), _)| *of == name).map(|(_, row)| row.clone()).collect()
    };
    let (a, b) = (matrix("A"), matrix("B"));
    let cell = |i: usize, j: usize| (0..b.len()).map(|k| a[i][k] * b[k][j]).sum::<f64>();
    (0..a.len())
        .flat_map(|i| (0..b[0].len()).map(move |j| (i, j)))
        .map(|(i, j)| (format!("{i},{j}"), cell(i, j)))
        .collect()
}

fn assert_is_product(result: &str, text: &str) {
    let pair =
        |line: &str| line.split_once('\t').map(|(key, value)| (key.to_owned(), value.parse().expect("a number")));
    let cells: BTreeMap<String, f64> = result.lines().map(|line| pair(line).expect("key, tab, value")).collect();
    assert_eq!(cells, product(text));
    assert_eq!(cells.len(), result.lines().count(), "each cell once");
}

#[test]
fn the_matrix_product_is_correct() {
    let text = std::fs::read_to_string(example("matmul/matrices.txt")).expect("the matrices are there");
    assert_eq!(product(&text)["0,0"], 58.0);
    assert_is_product(&run_as_its_readme_says("matmul"), &text);

    let dir = tempfile::tempdir().expect("a temporary folder");
    let (n, m, p) = (9, 7, 8);
    println!("matrix seed 12");
    let mut random = Random::new(12);
    let mut text = String::new();
    for (name, rows, columns, others) in [("A", n, m, p), ("B", m, p, n)] {
        for i in 0..rows {
            let numbers: Vec<String> = (0..columns).map(|_| (random.below(19) as i64 - 9).to_string()).collect();
            text += &format!("{name} {i} {others} {}\n", numbers.join(" "));
        }
    }
    let file = dir.path().join("matrices.txt");
    std::fs::write(&file, &text).expect("the input can be written");
    assert_is_product(&run("matmul/matmul.cpp", &[file], &["--chunk", "1"]), &text);
}

/// The lines that contain `error`, in the form of the example's result.
fn lines_with_errors(texts: &[String]) -> String {
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.contains("error")).for_each(|line| *found.entry(line).or_default() += 1);
    found.iter().map(|(line, n)| format!("{}\t{n}\n", line.replace('\\', "\\\\"))).collect()
}

#[test]
fn grep_finds_the_lines_that_contain_the_pattern() {
    let expected = lines_with_errors(&texts(&example("grep/logs")));
    assert_eq!(expected.lines().count(), 4, "{expected}");
    assert_eq!(run_as_its_readme_says("grep"), expected);

    let dir = tempfile::tempdir().expect("a temporary folder");
    println!("text seed 13");
    let mut random = Random::new(13);
    let words = ["an", "error", "occurred", "terror", "fine", "Error", "ok\\"];
    let text: String = (0..5000)
        .map(|_| {
            let line: Vec<&str> = (0..4).map(|_| words[random.below(words.len() as u64) as usize]).collect();
            line.join(" ") + "\n"
        })
        .collect();
    let file = dir.path().join("log");
    std::fs::write(&file, &text).expect("the input can be written");
    assert_eq!(run("grep/grep.cpp", &[file], &["--chunk", "4KB"]), lines_with_errors(&[text]));
}

/// The documents of each word, in the form of the example's result.
fn index(documents: &[String]) -> String {
    let mut index: BTreeMap<Vec<u8>, BTreeSet<&str>> = BTreeMap::new();
    for document in documents {
        let (name, text) = document.split_once('\n').expect("a document has a name");
        for word in corpus::words(text.to_ascii_lowercase().as_bytes()) {
            index.entry(word.to_vec()).or_default().insert(name);
        }
    }
    let line = |(word, names): (&Vec<u8>, &BTreeSet<&str>)| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("{}\t[{}]\n", String::from_utf8_lossy(word), names.join(","))
    };
    index.iter().map(line).collect()
}

#[test]
fn the_inverted_index_lists_the_documents_of_each_word() {
    let expected = index(&texts(&example("inverted-index/poems")));
    assert!(expected.contains("moon\t[\"kettle\",\"street\",\"tide\"]\n"), "{expected}");
    assert_eq!(run_as_its_readme_says("inverted-index"), expected);

    let dir = tempfile::tempdir().expect("a temporary folder");
    println!("text seed 14");
    let mut random = Random::new(14);
    for document in 0..40 {
        let words: Vec<String> = (0..50).map(|_| corpus::word(random.below(300))).collect();
        let text = format!("document {document:02}\n{}\n", words.join(" ").to_uppercase());
        std::fs::write(dir.path().join(document.to_string()), text).expect("the input can be written");
    }
    let result = run("inverted-index/inverted_index.cpp", &[dir.path().to_owned()], &["--whole-files"]);
    assert_eq!(result, index(&texts(dir.path())));
}

#[test]
fn pi_needs_no_input_and_counts_the_same_hits() {
    const POINTS: u64 = 1_000_000;
    let hits = |task: u64| {
        let mut random = Random::new(Random::new(task).number());
        let is_hit = |number: u64| {
            let (x, y) = (number >> 33, number & 0x7fff_ffff);
            x * x + y * y < 1 << 62
        };
        (0..POINTS).filter(|_| is_hit(random.number())).count() as u64
    };
    let results = [
        (64, run_as_its_readme_says("monte-carlo-pi")),
        (5, run("monte-carlo-pi/monte_carlo_pi.cpp", &[], &["--tasks", "5"])),
    ];
    for (tasks, result) in results {
        let value = result.trim_end().strip_prefix("pi\t").expect("one key");
        let value: Vec<f64> = serde_json::from_str(value).expect("a struct is an array of its fields");
        assert_eq!(value[1..], [(0..tasks).map(hits).sum::<u64>() as f64, (tasks * POINTS) as f64]);
        assert!((value[0] - std::f64::consts::PI).abs() < 0.01);
    }
}
