//! Mistakes in a source are reported as one message, at the author's line, that says what to do.

mod common;

use std::collections::BTreeSet;

use common::{Service, compile, plain, project, service};
use webmesh_compiler::CompileError;

const MAP: &str = "vector<pair<string, int>> map(const string doc) { return {{doc, 1}}; }\n";
const REDUCE: &str = "pair<string, int> reduce(const string key, vector<int> vals) { return {key, vals[0]}; }\n";

/// The messages about an invalid source, without colours.
async fn refused(service: &Service, source: &str) -> String {
    match compile(service, source).await {
        Err(CompileError::Diagnostics(text)) => plain(&text),
        Ok(_) => panic!("it compiles:\n{source}"),
        Err(why) => panic!("{why}\n{source}"),
    }
}

/// Asserts that a source is refused with a single error at `line`, which begins with `WebMesh:` and contains `parts`.
async fn assert_refused(service: &Service, source: &str, line: usize, parts: &[&str]) {
    let text = refused(service, source).await;
    let place = format!("job.cpp:{line}:");
    assert!(text.starts_with(&place) && text.contains(": error: WebMesh: "), "not at line {line}:\n{text}\n{source}");
    assert_eq!(text.matches("error:").count(), 1, "more than one error:\n{text}\n{source}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing:\n{text}\n{source}");
    }
    let shown = source.lines().nth(line - 1).unwrap_or_default();
    assert!(text.contains(shown), "the line is not shown:\n{text}");
    for ours in ["webmesh:map", "webmesh:reduce", "webmesh:combine", "webmesh:job", "include/"] {
        assert!(!text.contains(ours), "a line of the SDK is shown:\n{text}");
    }
}

#[tokio::test]
async fn a_function_with_a_wrong_signature_is_reported_at_its_line() {
    let service = service(|_| {});
    let cases: &[(String, usize, &[&str])] = &[
        (
            format!("// a job\n{REDUCE}int map(int x) {{ return x; }}"),
            3,
            &["one global function `vector<", "`int (int)`"],
        ),
        (format!("\nvoid map(string_view doc, auto& out) {{ out.emit(doc, 1); }}\n{REDUCE}"), 2, &["a template"]),
        (format!("int map;\n{REDUCE}"), 1, &["map"]),
        (format!("class map {{}};\n{REDUCE}"), 1, &["map"]),
        (REDUCE.to_owned(), 1, &["map", "there is none"]),
        (format!("{REDUCE}using namespace std;\n"), 1, &["map"]),
        (format!("{REDUCE}using std::map;\n"), 1, &["map"]),
        (MAP.to_owned(), 1, &["reduce", "there is none"]),
        (format!("{MAP}using namespace std;\n"), 1, &["reduce"]),
        (format!("namespace mine {{\n{MAP}{REDUCE}}}"), 2, &["global function"]),
        (
            format!("{MAP}\npair<string, int> reduce(const string key, vector<double> vals) {{ return {{key, 1}}; }}"),
            3,
            &["map yields values of type `int`, but reduce takes `double`"],
        ),
        (
            format!("{MAP}int reduce(const string key, vector<int> vals) {{ return 1; }}"),
            2,
            &["`pair<string, R> reduce(", "yours is `int ("],
        ),
        (format!("{MAP}{REDUCE}int combine(int a, double b) {{ return a; }}"), 3, &["`V combine(V a, V b)`", "`int`"]),
    ];
    for (source, line, parts) in cases {
        assert_refused(&service, source, *line, parts).await;
    }
}

#[tokio::test]
async fn an_unterminated_source_is_reported_at_the_authors_line() {
    let service = service(|_| {});
    let open_reduce = "pair<string, int> reduce(const string key, vector<int> vals) {\n  return {key, vals[0]};\n";
    assert_refused(&service, &format!("{MAP}{open_reduce}"), 2, &["a `}` is missing"]).await;
    let open_map = "vector<pair<string, int>> map(const string doc) {\n  return {{doc, 1}};\n";
    assert_refused(&service, &format!("{open_map}{REDUCE}"), 1, &["a `}` is missing"]).await;
    assert_refused(&service, &format!("namespace mine {{\n{MAP}{REDUCE}"), 1, &["a `}` is missing"]).await;

    let own_words = [
        (format!("{MAP}{REDUCE}}}"), "job.cpp:3:1: error: extraneous closing brace"),
        (format!("{MAP}{REDUCE}struct Point {{ int x; }}"), "job.cpp:3:24: error: expected ';' after struct"),
        (format!("{MAP}{REDUCE}int x = 3"), "job.cpp:3:10: error: expected ';' after top level declarator"),
        (format!("{MAP}{REDUCE}/* a comment"), "job.cpp:3:1: error: unterminated /* comment"),
        (format!("{MAP}{REDUCE}#if 1\n"), "job.cpp:3:2: error: unterminated conditional directive"),
    ];
    for (source, expected) in own_words {
        let text = refused(&service, &source).await;
        assert!(text.starts_with(expected), "{text}\n{source}");
        assert_eq!(text.matches("error:").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn a_type_that_cannot_be_stored_completely_is_refused_by_name() {
    let service = service(|_| {});
    let of = |declarations: &str| {
        format!(
            "{declarations}\nvector<pair<string, T>> map(const string doc) {{ return {{{{doc, T()}}}}; }}\n\
             pair<string, int> reduce(const string key, vector<T> vals) {{ return {{key, 1}}; }}"
        )
    };
    let cases = [
        ("struct Counter : std::map<string, int> { int bytes; }; using T = Counter;", "`Counter` cannot be stored"),
        ("struct Bag : vector<int> {}; using T = std::map<string, Bag>;", "`Bag`, in `std::map<"),
        ("struct Name : string { int length; }; using T = Name;", "`Name` cannot be stored"),
        ("struct Pair : pair<int, int> { int third; }; using T = Pair;", "`Pair` cannot be stored"),
        ("struct Maybe : optional<int> { int sure; }; using T = Maybe;", "`Maybe` cannot be stored"),
        ("struct Base { int a; }; struct Derived : Base { int b; }; using T = Derived;", "`Derived` cannot be stored"),
        (
            "class Matrix { vector<double> d; int rows; public: using value_type = double; auto begin() { return d.begin(); } \
             auto end() { return d.end(); } auto size() const { return d.size(); } void clear() { d.clear(); } }; \
             using T = Matrix;",
            "`Matrix` cannot be stored",
        ),
        ("using T = std::set<int, bool (*)(int, int)>;", "orders or hashes it"),
        ("using T = int*;", "`int *` cannot be stored: a pointer"),
        ("using T = std::complex<double>;", "`std::complex<double>` cannot be stored"),
    ];
    for (declarations, part) in cases {
        assert_refused(&service, &of(declarations), 2, &[part]).await;
    }
}

#[tokio::test]
async fn an_unavailable_function_is_reported_at_the_line_that_uses_it() {
    let service = service(|_| {});
    let cases = [
        ("#include <thread>", "std::thread t([] {}); t.join();", "no threads"),
        ("#include <thread>", "std::vector<std::thread> all; all.emplace_back([] {});", "no threads"),
        ("#include <future>", "auto f = std::async([] { return 1; }); f.get();", "no threads"),
        ("#include <future>", "std::promise<int> p; p.set_value(1);", "no threads"),
        ("#include <condition_variable>", "std::condition_variable c; c.notify_all();", "no threads"),
        ("#include <execution>", "string s = doc; std::sort(std::execution::par, s.begin(), s.end());", "no threads"),
        ("#include <pthread.h>", "pthread_t t; pthread_create(&t, nullptr, nullptr, nullptr);", "no threads"),
        ("#include <thread>", "std::this_thread::sleep_for(std::chrono::seconds(1));", "cannot sleep"),
        ("#include <unistd.h>", "sleep(1);", "cannot sleep"),
        ("#include <unistd.h>", "usleep(1);", "cannot sleep"),
        ("#include <time.h>", "timespec t{}; nanosleep(&t, nullptr);", "cannot sleep"),
        ("#include <fstream>", "std::ifstream in(\"words.txt\"); string word; in >> word;", "no files"),
        ("#include <fstream>", "std::ofstream out; out.open(\"words.txt\");", "no files"),
        ("#include <cstdio>", "std::FILE* f = std::fopen(\"words.txt\", \"r\"); fclose(f);", "no files"),
        ("#include <cstdio>", "freopen(\"words.txt\", \"r\", stdin);", "no files"),
        ("#include <filesystem>", "if (std::filesystem::exists(\"/etc\")) return {};", "no files"),
        ("#include <filesystem>", "for (auto& e : std::filesystem::directory_iterator(\".\")) return {};", "no files"),
        ("#include <fcntl.h>", "int f = open(\"words.txt\", O_RDONLY); (void)f;", "no files"),
        ("#include <sys/stat.h>", "struct stat s; stat(\"words.txt\", &s);", "no files"),
        ("#include <cstdlib>", "std::system(\"ls\");", "no processes"),
        ("#include <cstdio>", "pclose(popen(\"ls\", \"r\"));", "no processes"),
        ("#include <unistd.h>", "if (fork() == 0) return {};", "no processes"),
        ("#include <csetjmp>", "std::jmp_buf b; if (setjmp(b) == 0) std::longjmp(b, 1);", "use throw and catch"),
        ("#include <sys/socket.h>", "int s = socket(AF_INET, SOCK_STREAM, 0); (void)s;", "no network"),
        (
            "",
            "int large[1000000]; for (auto& x : large) x = doc.size(); return {{doc, large[doc.size() * 7]}};",
            "the stack",
        ),
    ];
    for (header, use_of, part) in cases {
        let source = format!(
            "{header}\nvector<pair<string, int>> map(const string doc) {{\n{use_of}\nreturn {{{{doc, 1}}}};\n}}\n{REDUCE}"
        );
        let line = if part == "the stack" { 2 } else { 3 };
        assert_refused(&service, &source, line, &[part]).await;
    }
}

#[tokio::test]
async fn an_error_within_a_library_template_is_reported_at_the_authors_line() {
    let service = service(|_| {});
    let source = format!(
        "struct Point {{ int x; }};\n{MAP}{REDUCE}\nvoid f(vector<Point>& points) {{ sort(points.begin(), points.end()); }}"
    );
    let text = refused(&service, &source).await;
    assert!(text.starts_with("job.cpp:5:"), "{text}");
}

#[tokio::test]
async fn a_stored_long_causes_a_warning_at_its_functions_line() {
    let service = service(|_| {});
    let warned = [
        ("long", "long"),
        ("size_t", "unsigned long"),
        ("optional<std::map<string, vector<size_t>>>", "unsigned long"),
        ("variant<int, pair<int, ptrdiff_t>>", "long"),
    ];
    for (value, name) in warned {
        let source = format!(
            "using T = {value};\nvector<pair<string, T>> map(const string doc) {{ return {{}}; }}\n\
             pair<string, T> reduce(const string key, vector<T> vals) {{ return {{key, vals[0]}}; }}"
        );
        let compiled = compile(&service, &source).await.unwrap_or_else(|why| panic!("{why}"));
        let text = plain(&compiled.diagnostics);
        assert!(text.starts_with("job.cpp:2:25: warning: WebMesh: "), "{name}: {text}");
        assert!(text.contains("32 bits") && text.matches("warning:").count() == 1, "{text}");
    }
    let wide = MAP.replace("int>", "int64_t>") + &REDUCE.replace("int", "int64_t");
    let compiled = compile(&service, &wide).await.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(compiled.diagnostics, "");
}

/// An author's macros must not affect the glue after the author's text: here every word of the glue is a macro.
#[tokio::test]
async fn a_jobs_macros_do_not_affect_the_glue_after_it() {
    let service = service(|_| {});
    let path = project().join("compiler-service/sdk/webmesh/glue.hpp");
    let glue = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let words: BTreeSet<&str> = glue
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .collect();
    assert!(words.contains("template") && words.contains("reduce"), "{words:?}");
    let macros: String = words.iter().map(|word| format!("#define {word} 9\n")).collect();
    compile(&service, &format!("{MAP}{REDUCE}{macros}")).await.unwrap_or_else(|why| panic!("{why}"));
    // A backslash at the end joins the next line to the last one.
    compile(&service, &format!("{MAP}{REDUCE}// the end \\")).await.unwrap_or_else(|why| panic!("{why}"));
}

#[tokio::test]
async fn macros_before_the_standard_headers_do_not_affect_them() {
    let service = service(|_| {});
    let macros = "#define int long long\n#define private public\n#define V 9\n#define T 3\n#define N 4\n#define K 5\n\
                  #define begin first\n#define size length\n";
    let headers =
        "#include <bits/stdc++.h>\n#include <mutex>\n#include <fstream>\n#include <filesystem>\n#include <bitset>\n";
    let source = format!("{macros}{headers}using namespace std;\n{MAP}{REDUCE}");
    compile(&service, &source).await.unwrap_or_else(|why| panic!("{why}"));
}
