//! Inputs as seen from outside: from files to documents, and errors that name the input.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use webmesh_protocol::manifest::Inputs;
use webmesh_protocol::pack::{Index, Layout, Pack};
use webmesh_protocol::{TaskId, codec, limits};

use super::note::Notes;
use super::{InputError, LINE_BYTES, MAX_CHUNK_BYTES, Options, Plan, Planning, Step, plan, walk};

mod sources;
mod tables;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn planned(inputs: &[&Path], options: &Options) -> Result<Plan, InputError> {
    let inputs: Vec<PathBuf> = inputs.iter().map(|p| p.to_path_buf()).collect();
    plan(&inputs, options, &|_| ())
}

/// The documents of every task, as workers get them from the index and the packs.
fn tasks(plan: &Plan) -> Vec<Vec<Vec<u8>>> {
    let Inputs::Packs { index, documents, bytes } = plan.inputs else { panic!("no packs") };
    let source = plan.source.as_ref().unwrap();
    let index = source.read(&index.hash).unwrap().unwrap();
    let layout = Layout::new(codec::decode::<Index>(&index).unwrap());
    assert_eq!(layout.tasks(), plan.tasks);
    let tasks: Vec<Vec<Vec<u8>>> = TaskId::below(layout.tasks())
        .map(|task| {
            let (pack, _) = layout.pack_of(task).unwrap();
            let bytes = source.read(&pack.blob.hash).unwrap().unwrap();
            assert_eq!(bytes.len() as u64, pack.blob.len);
            let pack = Pack::parse(bytes).unwrap();
            let documents = layout.documents_of(task).unwrap();
            documents.map(|i| pack.document(i).unwrap().to_vec()).collect()
        })
        .collect();
    assert_eq!(tasks.iter().map(Vec::len).sum::<usize>() as u64, documents);
    assert_eq!(tasks.iter().flatten().map(Vec::len).sum::<usize>() as u64, bytes);
    tasks
}

fn documents(plan: &Plan) -> Vec<Vec<u8>> {
    tasks(plan).concat()
}

fn with(chunk: u64, docs_per_task: Option<u32>) -> Options {
    let docs_per_task = docs_per_task.and_then(NonZeroU32::new);
    Options { chunk, docs_per_task, threads: 2, ..Options::default() }
}

/// A straightforward implementation of the rule for cuts.
fn cut_by_the_rule(file: &[u8], chunk: usize) -> Vec<Vec<u8>> {
    let (mut documents, mut start) = (Vec::new(), 0);
    if file.len() > chunk + chunk / 2 {
        for multiple in (chunk..).step_by(chunk).take_while(|m| file.len() - m.min(&file.len()) >= chunk.div_ceil(2)) {
            let end = (multiple - 1..file.len()).find(|&i| file[i] == b'\n').map_or(file.len(), |i| i + 1);
            if end > start && end < file.len() {
                documents.push(file[start..end].to_vec());
                start = end;
            }
        }
    }
    documents.push(file[start..].to_vec());
    documents
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn documents_are_cut_by_the_rule_and_read_back_complete(
        files in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\n\xff".to_vec()), 0..300), 1..12),
        chunk in prop::sample::select(vec![1u64, 2, 7, 50, 1000]),
        docs_per_task in prop::sample::select(vec![None, Some(1), Some(3), Some(1000)]),
    ) {
        let names: Vec<String> = (0..files.len()).map(|i| format!("{i:03}")).collect();
        let listed: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
        let dir = folder(&listed);
        let plan = planned(&[dir.path()], &with(chunk, docs_per_task)).unwrap();
        let expected: Vec<Vec<u8>> = files.iter().flat_map(|f| cut_by_the_rule(f, chunk as usize)).collect();
        prop_assert_eq!(documents(&plan), expected);
        let tasks = tasks(&plan);
        if let Some(n) = docs_per_task {
            let (last, all) = tasks.split_last().unwrap();
            prop_assert!(all.iter().all(|t| t.len() == n as usize) && last.len() <= n as usize);
        }
        // Every document has a name that locates its bytes.
        let source = plan.source.as_ref().unwrap();
        for (t, documents) in TaskId::enumerate(&tasks) {
            for (d, document) in (0..).zip(documents) {
                let name = source.name_of(t, d).unwrap();
                let (path, at) = name.split_once(", from byte ").unwrap_or((&name, "0"));
                let at: usize = at.parse().unwrap();
                prop_assert_eq!(&fs::read(path).unwrap()[at..at + document.len()], document.as_slice());
            }
            prop_assert_eq!(source.name_of(t, documents.len() as u32), None);
        }
    }
}

#[test]
fn a_large_file_is_cut_alike_by_any_number_of_threads() {
    // Several spans, and a line longer than a span.
    let mut bytes = Vec::new();
    for i in 0..400_000u32 {
        bytes.extend_from_slice(format!("line {i} {}\n", "x".repeat((i % 50) as usize)).as_bytes());
        if i == 200_000 {
            bytes.extend(std::iter::repeat_n(b'y', 9 << 20));
        }
    }
    let dir = folder(&[("big", &bytes)]);
    for chunk in [1, 100, 64 * 1024, 512 * 1024] {
        let one = planned(&[dir.path()], &Options { threads: 1, ..with(chunk, None) }).unwrap();
        let four = planned(&[dir.path()], &Options { threads: 4, ..with(chunk, None) }).unwrap();
        assert_eq!(one.inputs, four.inputs);
        let documents = documents(&one);
        assert!(documents.iter().all(|d| d.ends_with(b"\n")));
        assert_eq!(documents.concat(), bytes);
        if chunk == 1 {
            assert_eq!(documents.len(), 400_000);
            assert!(documents.iter().all(|d| d.iter().filter(|b| **b == b'\n').count() == 1));
        } else {
            let expected = (bytes.len() as u64 - (9 << 20)) / (chunk + 30);
            assert!(documents.len() as u64 >= expected, "{} of about {expected}", documents.len());
        }
    }
}

#[test]
fn small_files_stay_whole_and_share_tasks() {
    let bytes = vec![b'a'; 5000];
    let names: Vec<String> = (0..2000).map(|i| format!("{i:04}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), bytes.as_slice())).collect();
    let dir = folder(&files);
    let plan = planned(&[dir.path()], &Options::default()).unwrap();
    assert_eq!((plan.files, plan.documents, plan.bytes), (2000, 2000, 10_000_000));
    assert!((18..=22).contains(&plan.tasks), "{} tasks of half a mebibyte", plan.tasks);
    // A few small files are still work for more than one worker.
    let few: Vec<PathBuf> = names[..32].iter().map(|n| dir.path().join(n)).collect();
    assert!(super::plan(&few, &Options::default(), &|_| ()).unwrap().tasks >= 8);
}

#[test]
fn tasks_of_one_document_share_packs() {
    let lines = b"a line of some length\n".repeat(100_000);
    let dir = folder(&[("lines", &lines)]);
    let plan = planned(&[dir.path()], &with(1, Some(1))).unwrap();
    assert_eq!((plan.tasks, plan.documents), (100_000, 100_000));
    let Inputs::Packs { index, .. } = plan.inputs else { panic!("no packs") };
    let index = plan.source.unwrap().read(&index.hash).unwrap().unwrap();
    assert!(codec::decode::<Index>(&index).unwrap().packs.len() <= 4);
}

#[test]
fn arguments_keep_their_order_and_folders_are_walked_in_order_of_names() {
    let dir = folder(&[
        ("d/b", b"3"),
        ("d/a/z", b"1"),
        ("d/a.txt", b"2"),
        ("d/.hidden/x", b"no"),
        ("d/.x", b"no"),
        ("e", b"4"),
    ]);
    let d = dir.path().join("d");
    symlink(dir.path().join("e"), d.join("link")).unwrap();
    let strange = d.join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::write(&strange, b"5").unwrap();
    let inputs = [dir.path().join("e"), d.clone(), d.join(".x")];
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let plan = planned(&inputs, &Options::default()).unwrap();
    let expected: Vec<&[u8]> = vec![b"4", b"1", b"2", b"3", b"4", b"5", b"no"];
    assert_eq!(documents(&plan), expected);
}

#[test]
fn an_empty_file_is_an_empty_document() {
    let dir = folder(&[("a", b""), ("b", b"text"), ("c", b"")]);
    for n in [None, Some(1), Some(2)] {
        let plan = planned(&[dir.path()], &with(10, n)).unwrap();
        assert_eq!(documents(&plan), [b"".to_vec(), b"text".to_vec(), b"".to_vec()]);
    }
    let only = planned(&[&dir.path().join("a")], &Options::default()).unwrap();
    assert_eq!((only.tasks, only.documents, only.bytes), (1, 1, 0));
}

#[test]
fn a_job_without_input_gets_numbers() {
    let plan = planned(&[], &Options { numbers: 10, ..Options::default() }).unwrap();
    assert_eq!((plan.inputs, plan.tasks), (Inputs::Numbers, 10));
    assert!(planned(&[], &Options { numbers: 0, ..Options::default() }).is_err());
}

#[test]
fn a_plan_made_step_by_step_is_the_one_that_threads_make() {
    let lines: Vec<u8> = (0..100_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    let dir = folder(&[("a", &lines), ("b/empty", b""), ("b/short", b"one line"), ("c", &lines[..300_000])]);
    let inputs = [dir.path().to_path_buf()];
    let whole = Options { whole_files: true, ..with(1, None) };
    for options in [with(1_000, None), with(1_000, Some(7)), with(512 * 1024, None), whole] {
        let fast = plan(&inputs, &options, &|_| ()).unwrap();
        let mut planning =
            Planning::new(walk::list(&inputs, &options, &mut Notes::default()).unwrap(), &options).unwrap();
        let mut read = 0;
        let slow = loop {
            match planning.step().unwrap() {
                Step::Further(rest, done) => {
                    assert!((read..=done.of).contains(&done.bytes), "{done:?} after {read}");
                    (planning, read) = (rest, done.bytes);
                }
                Step::Done(plan) => break plan,
            }
        };
        assert_eq!((read, slow.bytes), (fast.bytes, fast.bytes));
        assert_eq!(slow.inputs, fast.inputs);
        assert_eq!(tasks(&slow), tasks(&fast));
    }
}

#[test]
fn whole_files_are_never_cut() {
    let bytes = b"line\n".repeat(1000);
    let dir = folder(&[("f", &bytes)]);
    let options = Options { whole_files: true, ..with(1, None) };
    assert_eq!(documents(&planned(&[dir.path()], &options).unwrap()), [bytes]);
}

#[test]
fn a_file_that_can_be_neither_cut_nor_whole_is_refused_with_both_limits() {
    let dir = folder(&[]);
    // Sparse, and a single line: only the size counts.
    let huge = fs::File::create(dir.path().join("huge.json")).unwrap();
    let error = |bytes: u64, whole_files: bool| {
        huge.set_len(bytes).unwrap();
        planned(&[dir.path()], &Options { whole_files, ..Options::default() }).map_err(|why| why.to_string())
    };
    let fits = limits::PACK_BYTES as u64 - 8;
    assert_eq!(error(fits, true).map(|plan| plan.documents), Ok(1));
    let whole = error(fits + 1, true).unwrap_err();
    assert!(
        ["huge.json", "67108856", "lines of at most 16 MiB", "split the file"].iter().all(|it| whole.contains(it)),
        "{whole}"
    );
    let cut = error(fits + 1, false).unwrap_err();
    assert!(["line 1 of", "16 MiB", "67108856", "jq -c"].iter().all(|it| cut.contains(it)), "{cut}");
    assert!(!cut.contains("--whole-files"), "what it would refuse is no advice: {cut}");
    let short = error(fits, false).unwrap_err();
    assert!(short.contains("--whole-files"), "{short}");
}

#[test]
fn a_line_that_is_too_long_is_named_and_one_that_just_fits_is_not() {
    let long = |extra: u64| {
        let mut bytes = b"one\ntwo\n".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', (LINE_BYTES + extra) as usize));
        bytes.extend_from_slice(b"\nfour\n");
        bytes
    };
    // The last chunk is so large that the file stays whole.
    for chunk in [1, 512 * 1024, 8 << 20, MAX_CHUNK_BYTES] {
        let dir = folder(&[("fits", &long(0))]);
        assert!(planned(&[dir.path()], &with(chunk, None)).is_ok());
        fs::write(dir.path().join("long"), long(1)).unwrap();
        let error = planned(&[dir.path()], &with(chunk, None)).unwrap_err();
        assert!(matches!(&error, InputError::LineTooLong { line: 3, name, .. } if name.ends_with("long")), "{error}");
        let whole = Options { whole_files: true, ..with(chunk, None) };
        assert!(planned(&[dir.path()], &whole).is_ok(), "a file that nobody cuts may have any line");
    }
}

#[test]
fn a_missing_input_is_named() {
    let dir = folder(&[("full/a", b"a")]);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let error = |name: &str| planned(&[&dir.path().join(name)], &Options::default()).unwrap_err().to_string();
    assert!(error("missing").contains("missing"));
    assert!(error("empty").contains("no files to read in") && error("empty").contains("empty"));
    let twice = planned(&[Path::new("/dev/null")], &Options::default()).unwrap();
    assert_eq!(documents(&twice), [b"".to_vec()], "what is no file is read to its end and kept");
}

#[test]
fn a_file_that_changed_or_vanished_after_it_was_planned_is_named() {
    let dir = folder(&[("a", b"some text"), ("b", b"other text")]);
    let options = with(100, Some(1));
    let plan = planned(&[dir.path()], &options).unwrap();
    let Inputs::Packs { index, .. } = &plan.inputs else { panic!("no packs") };
    let source = plan.source.as_ref().unwrap();
    let index = codec::decode::<Index>(&source.read(&index.hash).unwrap().unwrap()).unwrap();
    let error = || source.read(&index.packs[0].blob.hash).unwrap_err();
    fs::write(dir.path().join("b"), b"OTHER text").unwrap();
    assert!(matches!(error(), InputError::Changed { .. }));
    fs::write(dir.path().join("b"), b"short").unwrap();
    assert!(matches!(error(), InputError::Changed { name } if name.ends_with("/b")));
    fs::remove_file(dir.path().join("b")).unwrap();
    assert!(matches!(error(), InputError::Lost { name, .. } if name.ends_with("/b")));
    fs::write(dir.path().join("b"), b"other text").unwrap();
    assert!(source.read(&index.packs[0].blob.hash).is_ok());
}

#[test]
fn invalid_sizes_are_refused_with_the_option_to_change() {
    let dir = folder(&[("a", &b"line\n".repeat(20 << 20))]);
    let error = |options: &Options| planned(&[dir.path()], options).unwrap_err().to_string();
    assert!(error(&with(0, None)).contains("--chunk 0"));
    assert!(error(&with(64 << 20, None)).contains("--chunk"));
    assert!(error(&with(1 << 20, Some(1000))).contains("--docs-per-task 1000"));
    let numbers = plan(&[], &Options { numbers: 0, ..Options::default() }, &|_| ()).unwrap_err();
    assert!(numbers.to_string().contains("--tasks 0") && numbers.is_usage(), "{numbers}");
}

#[test]
fn progress_ends_at_all_bytes() {
    let dir = folder(&[("a", &[b'a'; 3000]), ("b", &[b'b'; 5000])]);
    let last = std::sync::Mutex::new(0);
    plan(&[dir.path().to_owned()], &with(10_000, Some(1)), &|p| {
        assert_eq!(p.of, 8000);
        let mut last = last.lock().unwrap();
        *last = p.bytes.max(*last);
    })
    .unwrap();
    assert_eq!(*last.lock().unwrap(), 8000);
}
