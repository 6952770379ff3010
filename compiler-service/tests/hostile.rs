//! Hostile sources, in every sandbox that works on this machine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fmt::{Debug, Write as _};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;

use common::{
    Service, assert_end, compile, compilers, job, new_requester, plain, sandboxes, service, service_in,
    wait_for_compile,
};
use webmesh_compiler::{CompileError, SandboxKind, limits};

/// Limit on processor time in most tests, so that they are shorter than with the real limit.
const SHORT: Duration = Duration::from_secs(3);

/// Held exclusively by tests that observe this process's compilers, and shared by all other tests that start some.
static COMPILERS: RwLock<()> = RwLock::const_new(());

/// Runs `test` in each sandbox that works on this machine.
async fn in_each_sandbox(time: Duration, test: impl AsyncFn(&Service)) {
    let _others = COMPILERS.read().await;
    for kind in sandboxes() {
        eprintln!("in {kind}:");
        let service = service_in(kind, time);
        test(&service).await;
        assert_end(&compilers());
        let strays: Vec<_> = std::fs::read_dir(service.cache.path())
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .filter(|name| !name.to_string_lossy().ends_with(".module"))
            .collect();
        assert!(strays.is_empty(), "other files are left in the cache: {strays:?}");
    }
}

/// Compiles a bomb, which must be stopped by a limit other than the wall-clock timeout, and leave the compiler working.
async fn compile_bomb(service: &Service, name: &str, source: &str) -> Result<(), CompileError> {
    let start = Instant::now();
    let answer = compile(service, source).await.map(drop);
    let took = start.elapsed();
    let first_line = |why: &CompileError| plain(&why.to_string()).lines().take(2).collect::<Vec<_>>().join(" ");
    eprintln!("  {name}: {} after {took:.1?}", answer.as_ref().err().map_or("compiled".to_owned(), first_line));
    if let Err(why) = &answer {
        assert!(!why.is_transient(), "{name}: {why}");
        assert!(why.to_string().len() < limits::MAX_DIAGNOSTICS + 1000, "{name}: {} bytes", why.to_string().len());
    }
    answer
}

#[tokio::test]
async fn no_file_of_the_host_can_be_read() {
    let secret_folder = tempfile::tempdir().unwrap();
    let secret = secret_folder.path().join("secret.h");
    std::fs::write(&secret, "int the_secret_of_this_host = 1;\n").unwrap();
    // Readable by everybody, so that only the sandbox protects it.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(secret_folder.path(), everyone).unwrap();
    let secret = secret.to_str().unwrap();
    // Number of ways that are tried on every file but the first, on which all are tried.
    const USUAL: usize = 2;
    let files = [
        "/etc/passwd",
        secret,
        "/etc/hostname",
        "/proc/self/environ",
        "/proc/self/maps",
        "/proc/1/cmdline",
        "/proc/cpuinfo",
        "/sys/kernel/notes",
        "/dev/zero",
        "/dev/urandom",
        "../etc/passwd",
        "../../../../../../etc/passwd",
    ];
    let ways = [
        ("#include", "#include \"FILE\"\n"),
        ("#embed", "extern const char data[] = {\n#embed \"FILE\" limit(64)\n};\n"),
        ("#include <>", "#include <FILE>\n"),
        ("#include_next", "#include_next \"FILE\"\n"),
        ("#import", "#import \"FILE\"\n"),
        (
            ".incbin",
            "__asm__(\".section .data.stolen,\\\"\\\",@\\nstolen: .incbin \\\"FILE\\\"\\n.size stolen, 64\\n\");\n",
        ),
        (".include", "__asm__(\".include \\\"FILE\\\"\\n\");\n"),
        ("#pragma dependency", "#pragma GCC dependency \"FILE\"\n"),
    ];
    in_each_sandbox(limits::MAX_PROCESSOR_TIME, async |service| {
        for (number, file) in files.into_iter().enumerate() {
            for (name, way) in ways.into_iter().take(if number == 0 { ways.len() } else { USUAL }) {
                let answer = compile(service, &job(&way.replace("FILE", file))).await;
                let Err(CompileError::Diagnostics(text)) = answer else { panic!("{name} of {file}: {answer:?}") };
                let text = plain(&text);
                for secret in ["root:", "the_secret_of_this_host", "HOME=", "processor"] {
                    assert!(!text.contains(secret), "{name} of {file} leaks: {text}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_source_cannot_tell_which_files_the_host_has() {
    let _others = COMPILERS.read().await;
    let folder = tempfile::tempdir().unwrap();
    let present = folder.path().join("present.h");
    std::fs::write(&present, "").unwrap();
    let mut paths: Vec<String> = [
        "/etc/passwd",
        "/etc/hosts",
        "/usr/bin/env",
        "/usr/lib/os-release",
        "/usr/include/stdio.h",
        "/usr/share/doc/bash/copyright",
        "/bin/sh",
        "/proc/self/exe",
        "/proc/version",
        "/sys/class",
        "/dev/tty",
        "/dev/sda",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(present.display().to_string());
    // Its path has the name of this host's user.
    paths.push(common::toolchain().folder().join("toolchain.json").display().to_string());
    let mut source = String::new();
    for path in &paths {
        for form in ["__has_include(\"FILE\")", "__has_include(<FILE>)", "__has_embed(\"FILE\")"] {
            let _ = writeln!(source, "#if {}\n#error sees {path}\n#endif", form.replace("FILE", path));
        }
    }
    for kind in sandboxes() {
        // Landlock hides what is in a file, not that it is there.
        if kind != SandboxKind::Landlock {
            let service = service_in(kind, limits::MAX_PROCESSOR_TIME);
            compile(&service, &job(&source)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn nothing_that_a_requester_gets_has_a_path_of_this_host() {
    let toolchain = common::toolchain().folder().display().to_string();
    let home = std::env::var("HOME").expect("HOME is set");
    let sources = [
        "#pragma clang __debug crash\n",
        "#pragma clang __debug parser_crash\n",
        "#pragma clang __debug llvm_fatal_error\n",
        "#pragma clang __debug overflow_stack\n",
        "#pragma clang __debug assert\n",
        "#pragma clang __debug diag_mapping\n",
        "#pragma clang __debug sloc_usage\n",
        "#pragma clang __debug dump vector\n",
        "#include <../toolchain.json>\n",
        "#include <../webmesh.pch>\n",
        "import <vector>;\n",
        "#pragma message(__FILE__)\n#include <webmesh.hpp>\nint x = webmesh::nothing;\n",
        "#include <source_location>\nconst char* volatile file = std::source_location::current().file_name();\n",
        "#include <map>\nstruct X {};\nint f(std::map<X, int> m) { return m[X{}]; }\n",
        "extern \"C\" void* malloc(unsigned long) { return 0; }\n",
    ];
    in_each_sandbox(limits::MAX_PROCESSOR_TIME, async |service| {
        for source in sources {
            let text = match compile(service, &job(source)).await {
                Ok(compiled) => compiled.diagnostics + &String::from_utf8_lossy(&compiled.wasm),
                Err(why) => plain(&why.to_string()),
            };
            for private in [toolchain.as_str(), home.as_str()] {
                assert!(!text.contains(private), "{source} tells {private}: {text}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn line_directives_do_not_make_diagnostics_quote_other_files() {
    in_each_sandbox(limits::MAX_PROCESSOR_TIME, async |service| {
        let answer = compile(service, "#line 1 \"/etc/passwd\"\nint wrong = \"text\";\n").await;
        let Err(CompileError::Diagnostics(text)) = answer else { panic!("{answer:?}") };
        assert!(!text.contains("root:"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_template_bomb_is_stopped() {
    let bomb = "template<int D, long long X> struct Bomb {\n\
                  static constexpr long long v = Bomb<D - 1, 2 * X>::v + Bomb<D - 1, 2 * X + 1>::v;\n\
                };\n\
                template<long long X> struct Bomb<0, X> { static constexpr long long v = X; };\n\
                long long boom = Bomb<40, 1>::v;\n";
    in_each_sandbox(SHORT, async |service| {
        let why = compile_bomb(service, "templates", &job(bomb)).await.unwrap_err();
        assert!(matches!(why, CompileError::TooLong { .. }), "{why}");
        // Names the author's line and the instantiation. If clang was generating code, the template has no arguments.
        let text = why.to_string();
        assert!(text.contains("job.cpp:5:") && text.contains("'Bomb"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_compile_that_gets_no_processor_time_is_not_blamed_on_its_source() {
    let _others = COMPILERS.read().await;
    for kind in sandboxes() {
        // As on a busy or suspended machine, the wall-clock limit is reached before that of processor time.
        let service = service(|config| {
            config.sandboxes = vec![kind];
            config.wall_time = Duration::from_millis(1500);
        });
        for attempts in 1..=2 {
            let why = compile(&service, BOMB).await.unwrap_err();
            assert_eq!(why, CompileError::Starved { seconds: 1 }, "in {kind}");
            assert!(why.is_transient() && !why.to_string().contains("template"), "{why}");
            assert_eq!(service.compiler.stats().failed, attempts, "the failure is not remembered");
        }
    }
}

#[tokio::test]
async fn a_macro_bomb_is_stopped() {
    let mut bomb = "#define A0 + 1\n".to_owned();
    for level in 1..=12 {
        let _ = writeln!(bomb, "#define A{level} {}", format!("A{} ", level - 1).repeat(10));
    }
    bomb.push_str("long boom = 0 A12;\n");
    in_each_sandbox(SHORT, async |service| {
        let why = compile_bomb(service, "macros", &job(&bomb)).await.unwrap_err();
        assert!(
            matches!(why, CompileError::TooLong { .. } | CompileError::TooMuchMemory { .. } | CompileError::Crashed(_)),
            "{why}"
        );
    })
    .await;
}

#[tokio::test]
async fn deep_nesting_does_not_harm_the_service() {
    const DEPTH: usize = 200_000;
    let forms = [
        ("parentheses", format!("int deep = {}1{};", "(".repeat(DEPTH), ")".repeat(DEPTH))),
        ("braces", format!("void deep() {}{}", "{".repeat(DEPTH), "}".repeat(DEPTH))),
        ("sums", format!("int deep(int x) {{ return x{}; }}", "+x".repeat(DEPTH))),
        ("negations", format!("int deep(int x) {{ return {}x; }}", "!".repeat(DEPTH))),
        ("pointers", format!("int {} deep;", "*".repeat(DEPTH))),
        ("ifs", format!("void deep(int x) {{ {} ; }}", "if (x) ".repeat(DEPTH / 2))),
    ];
    in_each_sandbox(SHORT, async |service| {
        for (name, form) in &forms {
            let _ = compile_bomb(service, name, &job(form)).await;
        }
        compile(service, &job("")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_gigabyte_of_data_is_refused() {
    in_each_sandbox(limits::MAX_PROCESSOR_TIME, async |service| {
        let why = compile_bomb(service, "array of 1 GiB", &job("char big[1 << 30] = {1};")).await.unwrap_err();
        // A slow machine may reach the limit of processor time before that of memory.
        assert!(matches!(why, CompileError::TooMuchMemory { .. } | CompileError::TooLong { .. }), "{why}");
    })
    .await;
}

#[tokio::test]
async fn an_object_or_a_module_over_its_limit_is_refused() {
    let section = "__asm__(\".section .data.big,\\\"\\\",@\\nbig: .zero 200000000\\n.size big, 200000000\\n\");";
    let array = "char big[20 << 20] = {1};\n\
                 extern \"C\" __attribute__((export_name(\"f\"))) char f(int at) { return big[at]; }";
    in_each_sandbox(limits::MAX_PROCESSOR_TIME, async |service| {
        for (name, source, limit) in
            [("object of 200 MB", section, limits::MAX_OBJECT), ("module of 20 MiB", array, limits::MAX_MODULE)]
        {
            let expected = CompileError::OutputTooLarge { mib: limit >> 20 };
            assert_eq!(compile_bomb(service, name, &job(source)).await, Err(expected), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_function_with_20000_cases_is_stopped_or_compiled_in_time() {
    let mut source = "#include <string>\nint big(int x, std::string& s) {\n  switch (x) {\n".to_owned();
    for case in 0..20_000 {
        let _ = writeln!(source, "case {case}: s += std::to_string(x * {case});");
    }
    source.push_str("  }\n  return s.size();\n}\n");
    in_each_sandbox(SHORT, async |service| {
        let _ = compile_bomb(service, "cases", &job(&source)).await;
    })
    .await;
}

#[tokio::test]
async fn endless_diagnostics_are_cut_with_a_note() {
    let long_name = "x".repeat(50_000);
    let source = format!("#define E struct {long_name}; {long_name} e = {long_name}::{long_name};\nE E E E E E E E\n");
    in_each_sandbox(SHORT, async |service| {
        let why = compile_bomb(service, "diagnostics", &source).await.unwrap_err();
        let CompileError::Diagnostics(text) = why else { panic!("{why}") };
        assert!(text.len() <= limits::MAX_DIAGNOSTICS);
        assert!(text.ends_with("more bytes of messages are left out\n"), "{}", &text[text.len() - 200..]);
    })
    .await;
}

#[tokio::test]
async fn a_message_cannot_control_the_readers_terminal() {
    in_each_sandbox(limits::MAX_PROCESSOR_TIME, async |service| {
        let source = "#error \u{1b}]0;owned\u{7}\u{1b}[2J \u{9b}31m\n";
        let answer = compile(service, source).await;
        let Err(CompileError::Diagnostics(text)) = answer else { panic!("{answer:?}") };
        let control = plain(&text).chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(control, None, "{text:?}");
    })
    .await;
}

#[tokio::test]
async fn stopping_the_service_ends_running_compiles() {
    let _alone = COMPILERS.write().await;
    for kind in sandboxes() {
        let service = service_in(kind, limits::MAX_PROCESSOR_TIME);
        let mut request = Box::pin(service.compiler.compile(new_requester(), "bomb.cpp", BOMB.as_bytes()));
        let running = until_compiling(&mut request).await;
        drop(request);
        let start = Instant::now();
        drop(service);
        assert!(start.elapsed() < Duration::from_secs(10), "stopping took {:?}", start.elapsed());
        assert_end(&running);
    }
}

#[tokio::test]
async fn a_compile_whose_requester_has_gone_is_stopped() {
    let _alone = COMPILERS.write().await;
    for kind in sandboxes() {
        let service = service_in(kind, limits::MAX_PROCESSOR_TIME);
        let mut request = Box::pin(service.compiler.compile(new_requester(), "bomb.cpp", BOMB.as_bytes()));
        let running = until_compiling(&mut request).await;
        let start = Instant::now();
        drop(request);
        assert_end(&running);
        assert!(start.elapsed() < limits::MAX_PROCESSOR_TIME / 2, "it ran on for {:?}", start.elapsed());
        // It is not remembered as a failure, since it was not finished.
        compile(&service, &job("")).await.expect("the thread is available to others");
    }
}

/// A source that takes longer than any limit.
const BOMB: &str = "template<int D, long long X> struct B { static constexpr long long v = B<D-1,2*X>::v + B<D-1,2*X+1>::v; };\n\
                    template<long long X> struct B<0, X> { static constexpr long long v = X; };\nlong long boom = B<50, 1>::v;\n";

/// Polls a request until its compile runs; returns the processes of its sandbox.
async fn until_compiling<T: Debug>(request: &mut (impl Future<Output = T> + Unpin)) -> Vec<(u32, String)> {
    let running = tokio::task::spawn_blocking(|| wait_for_compile(std::process::id()));
    tokio::select! {
        ended = request => panic!("it ended on its own: {ended:?}"),
        running = running => running.unwrap(),
    }
}
