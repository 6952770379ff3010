//! The compile service as its requesters see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{WORD_COUNT, compile, job, new_requester, plain, project, service, toolchain};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use webmesh_compiler::{
    BusyReason, CompileError, Compiler, CompilerConfig, StartError, Toolchain, ToolchainError, limits,
};
use webmesh_protocol::message::Response;

#[tokio::test]
async fn a_word_count_becomes_a_module() {
    let service = service(|_| {});
    let compiled = compile(&service, WORD_COUNT).await.unwrap();
    assert!(compiled.wasm.starts_with(b"\0asm"));
    assert_eq!(compiled.hash, blake3::hash(&compiled.wasm));
    assert_eq!(plain(&compiled.diagnostics), "");
    assert!(!compiled.cached);
    assert!(compiled.wasm.len() < 200_000, "{} bytes: unused code is linked", compiled.wasm.len());
}

#[tokio::test]
async fn an_error_carries_the_authors_file_name_line_and_colours() {
    let service = service(|_| {});
    let source = format!("{WORD_COUNT}\nint wrong = \"text\";\n");
    let line = source.lines().count();
    let answer = service.compiler.compile(new_requester(), "/home/author/count_words.cpp", source.as_bytes()).await;
    let Err(CompileError::Diagnostics(text)) = answer else { panic!("{answer:?}") };
    assert!(text.contains("\u{1b}[0;1;31m"), "no colours in {text:?}");
    let shown = plain(&text);
    assert!(shown.starts_with(&format!("count_words.cpp:{line}:5: error: ")), "{shown}");
    assert!(shown.contains("int wrong = \"text\";"), "the line itself is not shown: {shown}");
    assert!(!shown.contains(&*toolchain().folder().to_string_lossy()), "a path of this host is shown: {shown}");
}

#[tokio::test]
async fn a_missing_function_is_an_error_of_the_source() {
    let service = service(|_| {});
    let answer = compile(&service, "int nothing_here;").await;
    let Err(CompileError::Diagnostics(text)) = answer else { panic!("{answer:?}") };
    assert!(plain(&text).contains("map"), "{text}");
}

#[tokio::test]
async fn an_undefined_function_is_reported_by_the_linker() {
    let service = service(|_| {});
    let calls = "int absent(int);\n\
                 extern \"C\" __attribute__((export_name(\"f\"))) int f(int x) { return absent(x); }";
    let answer = compile(&service, &job(calls)).await;
    let Err(CompileError::Diagnostics(text)) = answer else { panic!("{answer:?}") };
    let shown = plain(&text);
    assert!(shown.contains("job.cpp: undefined symbol: absent(int)"), "{shown}");
}

#[tokio::test]
async fn warnings_come_with_the_module() {
    let service = service(|_| {});
    let source = job("#warning mind the gap");
    for cached in [false, true] {
        let compiled = compile(&service, &source).await.unwrap();
        assert_eq!(compiled.cached, cached);
        assert!(
            plain(&compiled.diagnostics).contains("job.cpp:1:2: warning: mind the gap"),
            "{}",
            compiled.diagnostics
        );
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_from_the_cache_at_once() {
    let service = service(|_| {});
    let first = compile(&service, WORD_COUNT).await.unwrap();
    let mut fastest = u64::MAX;
    for _ in 0..5 {
        let again = compile(&service, WORD_COUNT).await.unwrap();
        assert!(again.cached);
        assert_eq!((again.hash, &again.wasm), (first.hash, &first.wasm));
        fastest = fastest.min(again.millis);
    }
    assert!(fastest < 20, "{fastest} ms from the cache");
    assert_eq!(service.compiler.stats().compiled, 1);
}

#[tokio::test]
async fn a_restarted_compiler_has_its_modules() {
    let first = service(|_| {});
    let compiled = compile(&first, WORD_COUNT).await.unwrap();
    let (folder, compiler) = (first.cache, first.compiler);
    drop(compiler);
    let again = Compiler::new(toolchain(), CompilerConfig::new(folder.path().to_path_buf())).unwrap();
    let again = again.compile(new_requester(), "job.cpp", WORD_COUNT.as_bytes()).await.unwrap();
    assert!(again.cached);
    assert_eq!(again.hash, compiled.hash);
}

#[tokio::test]
async fn separate_compilers_make_the_same_module() {
    let source = job(r#"const char* when = __DATE__ " " __TIME__ " " __TIMESTAMP__;"#);
    let (one, other) = (service(|_| {}), service(|_| {}));
    let one = compile(&one, &source).await.unwrap();
    let other = compile(&other, &source).await.unwrap();
    assert!(!one.cached && !other.cached);
    assert_eq!(one.hash, other.hash);
}

#[tokio::test]
async fn concurrent_requests_for_one_source_cost_one_compile() {
    let service = service(|_| {});
    let mut answers: FuturesUnordered<_> = (0..20).map(|_| compile(&service, WORD_COUNT)).collect();
    while let Some(answer) = answers.next().await {
        answer.unwrap();
    }
    assert_eq!(service.compiler.stats().compiled, 1);
}

#[tokio::test]
async fn on_a_busy_machine_a_compile_gets_its_full_processor_time() {
    /// Uses all of a core.
    struct Loop(std::process::Child);
    impl Drop for Loop {
        fn drop(&mut self) {
            // It has no other end.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let service = service(|config| config.processor_time = Duration::from_secs(4));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Each in a session of its own: Linux divides the processor between sessions first, and the compiler has its own.
    let endless = || std::process::Command::new("setsid").args(["sh", "-c", "while :; do :; done"]).spawn().unwrap();
    let _loops: Vec<_> = (0..6 * cores).map(|_| Loop(endless())).collect();
    // About one second of processor time: a quarter of the limit, so that a slower machine stays below it, and here more
    // than four seconds of wall-clock time.
    let mut slow = "template<int N> constexpr int spin() { int x = N; for (int i = 0; i < 140'000; ++i) x = (x + i) & 7; return x; }\n"
        .to_owned();
    for number in 0..5 {
        slow.push_str(&format!("constexpr int spun{number} = spin<{number}>();\n"));
    }
    let compiled = compile(&service, &job(&slow)).await.unwrap();
    eprintln!("it took {} ms of wall-clock time", compiled.millis);
}

#[tokio::test]
async fn a_failure_is_not_compiled_again_at_once() {
    let service = service(|_| {});
    let first = compile(&service, "#error no").await.unwrap_err();
    let second = compile(&service, "#error no").await.unwrap_err();
    assert_eq!(first, second);
    assert_eq!(service.compiler.stats().failed, 1);
}

#[tokio::test]
async fn a_flood_of_one_requester_does_not_delay_another() {
    let service = service(|config| config.parallel = 1);
    let (flood, modest) = (new_requester(), new_requester());
    let mut requests: FuturesUnordered<_> = (0..6)
        .map(|number| (flood, number))
        .chain([(modest, 6)])
        .map(|(who, number)| {
            let source = job(&format!("int number = {number};"));
            let compiler = &service.compiler;
            async move {
                compiler.compile(who, "job.cpp", source.as_bytes()).await.unwrap();
                who
            }
        })
        .collect();
    let mut order = Vec::new();
    while let Some(who) = requests.next().await {
        order.push(who);
    }
    let place = order.iter().position(|who| *who == modest);
    // One other compile may be running, and one may be next.
    assert!(place <= Some(2), "its compile was number {place:?} of 7");
}

#[tokio::test]
async fn a_full_queue_is_reported() {
    let service = service(|config| {
        config.parallel = 1;
        config.queue_per_requester = 2;
    });
    let flood = new_requester();
    let mut requests: FuturesUnordered<_> = (0..10)
        .map(|number| {
            let source = job(&format!("int number = {number};"));
            let compiler = &service.compiler;
            async move { compiler.compile(flood, "job.cpp", source.as_bytes()).await }
        })
        .collect();
    let mut refused = 0;
    while let Some(answer) = requests.next().await {
        match answer {
            Ok(_) => {}
            Err(CompileError::Busy(BusyReason::Requester(2))) => refused += 1,
            Err(why) => panic!("{why}"),
        }
    }
    assert!(refused > 0);
    assert_eq!(service.compiler.stats().refused, refused);
}

#[tokio::test]
async fn a_source_over_the_limit_is_refused_with_the_limit() {
    let service = service(|_| {});
    let answer = compile(&service, &" ".repeat(limits::MAX_SOURCE + 1)).await;
    assert_eq!(answer, Err(CompileError::SourceTooLarge { bytes: (1 << 20) + 1, limit: 1 << 20 }));
}

#[tokio::test]
async fn a_source_with_unusual_bytes_is_compiled_unchanged() {
    let service = service(|_| {});
    let mut source = b"\xef\xbb\xbf// a byte order mark, and \xff in a comment\r\n".to_vec();
    source.extend_from_slice(WORD_COUNT.replace('\n', "\r\n").as_bytes());
    service.compiler.compile(new_requester(), "wörter zählen.cpp", &source).await.unwrap();
}

#[tokio::test]
async fn a_module_that_workers_would_refuse_is_an_error_of_the_source() {
    let service = service(|_| {});
    let relaxed = "#include <wasm_simd128.h>\n\
        __attribute__((target(\"relaxed-simd\"), used)) v128_t madd(v128_t a, v128_t b, v128_t c) {\n\
        return __builtin_wasm_relaxed_madd_f32x4((__f32x4)a, (__f32x4)b, (__f32x4)c); }\n";
    let import = "extern \"C\" __attribute__((import_module(\"env\"), import_name(\"phone_home\"))) int phone_home();\n\
        __attribute__((used)) int call() { return phone_home(); }\n";
    let file = "#include <utime.h>\n__attribute__((used)) int look() { return utime(\"/etc/passwd\", nullptr); }\n";
    for (extra, named) in [(relaxed, "relaxed SIMD"), (import, "env::phone_home"), (file, "path_filestat_set_times")] {
        let source = job(extra);
        let Err(CompileError::Unsupported(why)) = compile(&service, &source).await else {
            panic!("{named} is accepted")
        };
        assert!(why.contains(named), "{why}");
        let (response, _) =
            webmesh_compiler::answer(&service.compiler, new_requester(), "job.cpp", source.as_bytes()).await;
        let Response::CompileFailed { diagnostics } = response else { panic!("{response:?}") };
        assert!(diagnostics.contains(named), "{diagnostics}");
    }
}

#[test]
fn a_missing_toolchain_is_reported_with_a_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let why = Toolchain::find(Some(empty.path())).unwrap_err();
    assert!(matches!(why, ToolchainError::Missing { .. }));
    let text = why.to_string();
    assert!(text.contains("make setup") && text.contains(&*empty.path().to_string_lossy()), "{text}");
}

#[test]
fn a_toolchain_with_another_sdk_is_refused() {
    let ours = toolchain();
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(ours.folder().join("toolchain.json"), other.path().join("toolchain.json")).unwrap();
    std::fs::create_dir(other.path().join("include")).unwrap();
    std::fs::write(other.path().join("include/webmesh.hpp"), "// another version").unwrap();
    let why = Toolchain::find(Some(other.path())).unwrap_err();
    assert!(matches!(why, ToolchainError::OtherVersion { .. }), "{why}");
    assert!(why.to_string().contains("make setup"), "{why}");
}

#[test]
fn without_a_sandbox_the_service_does_not_start() {
    let cache = tempfile::tempdir().unwrap();
    let mut config = CompilerConfig::new(cache.path().to_path_buf());
    config.sandboxes = Vec::new();
    let refused = Compiler::new(toolchain(), config);
    assert!(matches!(refused, Err(StartError::NoSandbox(_))), "{refused:?}");
}

#[tokio::test]
async fn every_example_compiles() {
    let service = service(|_| {});
    let mut sources = Vec::new();
    for folder in std::fs::read_dir(project().join("examples")).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() {
            sources.extend(std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
        }
    }
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "cpp"));
    assert!(!sources.is_empty(), "no example has a source");
    for path in sources {
        let compiled =
            service.compiler.compile(new_requester(), &path.to_string_lossy(), &std::fs::read(&path).unwrap()).await;
        let compiled = compiled.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        assert_eq!(compiled.diagnostics, "", "{} has warnings", path.display());
    }
}

#[tokio::test]
async fn every_example_in_the_guide_compiles() {
    let service = service(|_| {});
    let path = project().join("docs/writing-jobs.md");
    let guide = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut pieces = 0;
    let mut block: Option<(usize, String)> = None;
    for (number, line) in guide.lines().enumerate() {
        match (&mut block, line.trim_end()) {
            (None, "```cpp") => block = Some((number + 1, String::new())),
            (Some((start, source)), "```") => {
                let answer = compile(&service, source).await;
                answer.unwrap_or_else(|why| panic!("{}, from line {start}: {why}", path.display()));
                pieces += 1;
                block = None;
            }
            (Some((_, source)), line) => {
                source.push_str(line);
                source.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(pieces > 0, "{} shows no C++", path.display());
}
