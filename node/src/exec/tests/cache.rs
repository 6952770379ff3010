//! Compiled modules on disk.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn runtime_with(dir: &Path, cache_bytes: u64) -> Runtime {
    let config = RuntimeConfig { cache_dir: Some(dir.into()), cache_bytes, ..RuntimeConfig::new(1) };
    Runtime::new(config).unwrap()
}

fn artifacts(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "compiled")).collect()
}

/// Whether a fresh runtime had to compile, and that the module works.
fn compiles(dir: &Path, wasm: &[u8]) -> bool {
    let module = load(&runtime_with(dir, u64::MAX), wasm).unwrap();
    assert_eq!(map(&module, &[b"document"]).unwrap().data, "document");
    module.compile_time().is_some()
}

#[test]
fn a_restarted_node_does_not_compile_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/when/missing");
    let wasm = ECHO.wasm();
    assert!(compiles(&dir, &wasm));
    assert!(!compiles(&dir, &wasm));
    let other = Wat { initialize: "nop", ..ECHO }.wasm();
    assert!(compiles(&dir, &other));
    assert_eq!(artifacts(&dir).len(), 2);
}

#[test]
fn changed_or_renamed_code_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = ECHO.wasm();
    compiles(dir.path(), &wasm);
    let path = artifacts(dir.path()).remove(0);
    let good = fs::read(&path).unwrap();
    for at in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(compiles(dir.path(), &wasm), "byte {at}");
    }
    for len in [0, 31, 32, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        assert!(compiles(dir.path(), &wasm), "cut to {len}");
    }
    let other = Wat { initialize: "nop", ..ECHO }.wasm();
    compiles(dir.path(), &other);
    let renamed = artifacts(dir.path()).into_iter().find(|found| *found != path).unwrap();
    fs::copy(&path, renamed).unwrap();
    assert!(compiles(dir.path(), &other));
}

#[test]
fn code_from_another_folder_is_not_loaded() {
    let (home, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wasm = ECHO.wasm();
    compiles(home.path(), &wasm);
    compiles(foreign.path(), &wasm);
    let path = artifacts(home.path()).remove(0);
    fs::copy(foreign.path().join(path.file_name().unwrap()), &path).unwrap();
    assert!(compiles(home.path(), &wasm));
}

#[test]
fn the_folder_stays_within_its_limit_by_evicting_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let modules = ["nop", "nop nop", "nop nop nop"].map(|initialize| Wat { initialize, ..ECHO }.wasm());
    compiles(dir.path(), &modules[0]);
    let one = fs::metadata(&artifacts(dir.path())[0]).unwrap().len();
    let runtime = runtime_with(dir.path(), one * 5 / 2);
    load(&runtime, &modules[1]).unwrap();
    // Used again, the first is now more recent than the second.
    let second =
        artifacts(dir.path()).into_iter().find(|path| !path.to_str().unwrap().contains(&hash(&modules[0]))).unwrap();
    fs::File::options().append(true).open(&second).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    load(&runtime, &modules[2]).unwrap();
    assert_eq!(artifacts(dir.path()).len(), 2);
    assert!(!second.exists());
}

fn hash(wasm: &[u8]) -> String {
    blake3::hash(wasm).to_hex().to_string()
}

#[cfg(unix)]
#[test]
fn other_users_are_kept_out_of_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    runtime_with(&open, 0);
    assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(open.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_unusable_folder_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = RuntimeConfig { cache_dir: Some(file.path().into()), ..RuntimeConfig::new(1) };
    let Err(error) = Runtime::new(config) else { panic!("a file is no folder") };
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}
