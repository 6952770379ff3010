//! Which inputs are read or left out, and the notes about that.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use webmesh_protocol::TaskId;

use super::super::format::Format;
use super::super::spool::Spool;
use super::super::{Note, Topic};
use super::*;

fn contents(plan: &Plan) -> Vec<String> {
    documents(plan).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

fn note(plan: &Plan, topic: Topic) -> &Note {
    plan.notes.iter().find(|note| note.topic == topic).unwrap_or_else(|| panic!("no such note: {:?}", plan.notes))
}

fn output(path: &Path) -> Options {
    Options { output: Some(fs::canonicalize(path).unwrap()), ..Options::default() }
}

#[test]
fn files_with_a_wrong_size_are_read_to_their_end() {
    // The kernel reports a size of 0 bytes for one and of 4096 for the other.
    for path in ["/proc/self/cmdline", "/sys/class/net/lo/mtu"] {
        let path = Path::new(path);
        let bytes = fs::read(path).unwrap();
        assert_ne!(fs::metadata(path).unwrap().len(), bytes.len() as u64, "{path:?} tells the truth here");
        let plan = planned(&[path, path], &Options::default()).unwrap();
        assert_eq!(documents(&plan), [bytes.clone(), bytes], "{path:?}");
        assert_eq!(plan.source.as_ref().unwrap().name_of(TaskId(0), 0).as_deref(), path.to_str());
    }
}

#[test]
fn files_with_a_wrong_size_keep_their_place() {
    let dir = folder(&[("a", b"first"), ("c", b""), ("d", b"last")]);
    symlink("/sys/class/net/lo/mtu", dir.path().join("b")).unwrap();
    let mtu = fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
    assert_eq!(contents(&planned(&[dir.path()], &Options::default()).unwrap()), ["first", &mtu, "", "last"]);
}

#[test]
fn a_named_pipe_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let text = "a line\n".repeat(100_000);
    let writer = thread::spawn({
        let (pipe, text) = (pipe.clone(), text.clone());
        move || fs::OpenOptions::new().write(true).open(pipe).unwrap().write_all(text.as_bytes()).unwrap()
    });
    assert_eq!(contents(&planned(&[&pipe], &Options::default()).unwrap()).concat(), text);
    writer.join().unwrap();
}

#[test]
fn an_endless_input_is_refused_before_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(dir.path(), u64::MAX);
    let why = spool.copy("standard input", &mut io::repeat(b'x')).unwrap_err();
    let InputError::SpoolFull { copied, .. } = why else { panic!("{why}") };
    assert!((1..=64 << 20).contains(&copied), "{copied}");
    assert!(why.to_string().contains("endless") && why.to_string().contains("--data"), "{why}");
    // A short input is accepted however little is free.
    assert_eq!(spool.copy("standard input", &mut io::repeat(b'x').take(1000)).unwrap().1, 1000);
}

#[test]
fn a_link_to_a_folder_is_followed_and_no_folder_is_read_twice() {
    let dir = folder(&[("d/b", b"2"), ("elsewhere/in/x", b"1"), ("d/deep/er/y", b"3")]);
    let d = dir.path().join("d");
    symlink(dir.path().join("elsewhere"), d.join("a")).unwrap();
    symlink(&d, d.join("deep/er/up")).unwrap();
    symlink(&d, dir.path().join("elsewhere/in/back")).unwrap();
    symlink(d.join("deep"), d.join("z")).unwrap();
    let plan = planned(&[&d], &Options::default()).unwrap();
    assert_eq!(contents(&plan), ["1", "2", "3"]);
    let again = note(&plan, Topic::FolderAgain);
    assert_eq!(again.count, 3);
    assert!(["a/in/back", "deep/er/up", "d/z"].iter().all(|link| again.text().contains(link)), "{}", again.text());
    // Inputs named twice are read twice.
    let in_link = ["2", "3", "1"];
    let plan = planned(&[&d.join("a"), &d.join("a")], &Options::default()).unwrap();
    assert_eq!(contents(&plan), [in_link, in_link].concat());
}

#[test]
fn a_dead_link_is_reported_and_can_be_left_out() {
    let dir = folder(&[("d/a", b"1")]);
    let link = dir.path().join("d/link");
    symlink("gone", &link).unwrap();
    for inputs in [vec![dir.path().join("d")], vec![link.clone()]] {
        let why = plan(&inputs, &Options::default(), &|_| ()).unwrap_err().to_string();
        assert!(["d/link is a dead link", "gone", "--skip-unreadable"].iter().all(|it| why.contains(it)), "{why}");
    }
    let skipping = Options { skip_unreadable: true, ..Options::default() };
    let plan = planned(&[&dir.path().join("d")], &skipping).unwrap();
    assert_eq!(contents(&plan), ["1"]);
    assert!(note(&plan, Topic::Unreadable).text().contains("d/link"));
    fs::remove_file(&link).unwrap();
    symlink("link", &link).unwrap();
    let circle = planned(&[&link], &Options::default()).unwrap_err().to_string();
    assert!(circle.contains("d/link") && circle.contains("symbolic links"), "{circle}");
}

#[test]
fn an_unreadable_file_is_reported_as_never_readable() {
    // Root can read everything, except a kernel file that is write-only.
    let denied = folder(&[("d/a", b"1"), ("d/b", b"2")]);
    let locked = denied.path().join("d/b");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&locked).is_ok() {
        fs::remove_file(&locked).unwrap();
        symlink("/proc/self/mem", &locked).unwrap();
    }
    let folder = denied.path().join("d");
    let why = planned(&[&folder], &Options::default()).unwrap_err();
    assert!(matches!(why, InputError::Unreadable { .. }), "{why}");
    let why = why.to_string();
    assert!(["cannot read", "d/b", "--skip-unreadable"].iter().all(|it| why.contains(it)), "{why}");
    let plan = planned(&[&folder], &Options { skip_unreadable: true, ..Options::default() }).unwrap();
    assert_eq!(contents(&plan), ["1"], "the other files are read");
    assert!(note(&plan, Topic::Unreadable).text().contains("d/b"));
}

#[test]
fn the_jobs_own_output_and_keys_are_left_out() {
    let dir = folder(&[("d/in", b"text"), ("d/out.tsv", b"old result"), ("d/data/owner", b"secret"), ("e/x", b"x")]);
    let d = dir.path().join("d");
    let data_dir = Some(d.join("data"));
    // By whatever path.
    symlink(&d, dir.path().join("way")).unwrap();
    symlink("d/out.tsv", dir.path().join("link")).unwrap();
    symlink(d.join("out.tsv"), d.join("own link")).unwrap();
    for name in ["d/out.tsv", "way/out.tsv", "link"] {
        let options = Options { data_dir: data_dir.clone(), ..output(&dir.path().join(name)) };
        let plan = planned(&[&dir.path().join("way")], &options).unwrap();
        assert_eq!(contents(&plan), ["text"], "{name}");
        let (result, data) = (note(&plan, Topic::Output), note(&plan, Topic::Data));
        assert!(result.text().contains("way/out.tsv") && result.text().contains("way/own link"), "{}", result.text());
        assert!(data.text().contains("way/data"), "{}", data.text());
    }
    // As an explicit input, it would be overwritten: then nothing is done.
    let why = planned(&[&d.join("in"), &d.join("out.tsv")], &output(&d.join("out.tsv"))).unwrap_err();
    assert!(why.is_usage() && why.to_string().contains("out.tsv"), "{why}");
    // Another name of the same file becomes another file once the result is written.
    fs::hard_link(d.join("in"), dir.path().join("e/in")).unwrap();
    let plan = planned(&[&dir.path().join("e")], &output(&d.join("in"))).unwrap();
    assert_eq!(contents(&plan), ["text", "x"]);
}

#[test]
fn formats_are_recognised_by_their_first_bytes_with_a_command_to_unpack() {
    let heads: &[(&str, &[u8], Format, &str)] = &[
        ("a.log", b"\x1f\x8b\x08\x00\x00\x00", Format::Gzip, "zcat "),
        ("a.tar.gz", b"\x1f\x8b\x08\x00\x00\x00", Format::Gzip, "tar -xOf "),
        ("a.Z", b"\x1f\x9d\x90", Format::Compress, "zcat "),
        ("a.bz2", b"BZh91AY&SY....", Format::Bzip2, "bzcat "),
        ("empty.bz2", b"BZh9\x17\x72\x45\x38\x50\x90", Format::Bzip2, "bzcat "),
        ("a.xz", b"\xfd7zXZ\x00\x00", Format::Xz, "xzcat "),
        ("a.zst", b"\x28\xb5\x2f\xfd\x24", Format::Zstd, "zstdcat "),
        ("a.lz4", b"\x04\x22\x4d\x18", Format::Lz4, "lz4cat "),
        ("it's a.zip", b"PK\x03\x04", Format::Zip, "unzip -p "),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", Format::SevenZip, "7z x -so "),
        ("le.txt", b"\xff\xfea\x00", Format::Utf16, "iconv -f UTF-16 -t UTF-8 "),
        ("be.txt", b"\xfe\xff\x00a", Format::Utf16, "iconv -f UTF-16 -t UTF-8 "),
        ("le32.txt", b"\xff\xfe\x00\x00a", Format::Utf32, "iconv -f UTF-32 -t UTF-8 "),
        ("be32.txt", b"\x00\x00\xfe\xff\x00", Format::Utf32, "iconv -f UTF-32 -t UTF-8 "),
    ];
    for &(name, head, format, command) in heads {
        let dir = folder(&[(name, head), ("z", b"text")]);
        let plan = planned(&[dir.path()], &Options::default()).unwrap();
        assert_eq!(plan.notes.len(), 1, "{name}: {:?}", plan.notes);
        let note = note(&plan, Topic::Format(format));
        assert!(note.text().contains(name) && note.text().contains(format.name()), "{}", note.text());
        let unpacked = note.unpacked_by().unwrap();
        assert!(unpacked.starts_with(command), "{unpacked}");
        assert!(unpacked.ends_with(&name.replace('\'', r"'\''")) || unpacked.ends_with('\''), "{unpacked}");
    }
    // Beginnings of texts that match no format.
    let texts: &[&[u8]] = &[b"BZh9 is a word", b"PK", b"7z", b"(", b"", b"\x1f", b"\xef\xbb\xbftext", b"\xff"];
    for &text in texts {
        assert_eq!(Format::of(text), None, "{text:?}");
    }
}

#[test]
fn many_files_of_a_format_make_one_note() {
    let names: Vec<String> = (0..40).map(|i| format!("{i:02}.gz")).collect();
    // Files that begin anywhere within a read.
    let bytes = [b"\x1f\x8b\x08".to_vec(), vec![b'x'; 7001]].concat();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), bytes.as_slice())).collect();
    let dir = folder(&files);
    for docs_per_task in [None, Some(40)] {
        let plan = planned(&[dir.path()], &with(512 * 1024, docs_per_task)).unwrap();
        assert_eq!(plan.notes.len(), 1);
        assert_eq!(plan.notes[0].count, 40);
        assert!(plan.notes[0].text().contains("and 37 more are compressed"), "{}", plan.notes[0].text());
    }
}

#[test]
fn a_compressed_file_without_lines_is_reported_as_compressed() {
    let bytes = [b"\x1f\x8b\x08".to_vec(), vec![0; 17 << 20]].concat();
    let dir = folder(&[("log.gz", &bytes)]);
    let why = planned(&[dir.path()], &Options::default()).unwrap_err();
    assert!(why.to_string().contains("log.gz is compressed (gzip)"), "{why}");
    assert!(why.unpacked_by().unwrap().starts_with("zcat "), "{:?}", why.unpacked_by());
}
