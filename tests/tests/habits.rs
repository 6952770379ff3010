//! Jobs written as authors would write them for another compiler or machine: they work, or are refused with an
//! explanation.

use webmesh_tests::job::{assert_fails, result, run};
use webmesh_tests::process::{assert_success, stderr};

const REDUCE: &str = "pair<string, int> reduce(const string key, vector<int> vals) {
    int sum = 0; for (int v : vals) sum += v; return {key, sum}; }\n";

#[test]
fn textbook_macros_do_not_clash_with_the_sdk() {
    let source = r#"
        #define V 9
        #define N 100
        #define T int
        #define int long long
        #define all(x) begin(x), end(x)
        #define min(a, b) ((a) < (b) ? (a) : (b))
        #include <bits/stdc++.h>
        using namespace std;
        static int degree[V];
        vector<pair<string, int>> map(const string doc) {
          vector<pair<string, int>> out;
          istringstream in(doc);
          for (int a, b; in >> a >> b;) { assert(a < V); out.push_back({to_string(min(a, b)), 3000000000}); }
          sort(all(out));
          return out;
        }
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, accumulate(all(vals), 0LL)}; }
        #define key 1
        #define value 2
        #define length 3
        #define bytes 4
        #define A 5
        #define U 6
        #define std 7"#;
    assert_eq!(result(source, "0 1\n1 2\n2 1\n"), "0\t3000000000\n1\t6000000000\n");
}

#[test]
fn functions_may_be_noexcept_templates_lambdas_overloads_or_take_more_by_default() {
    let pairs = "vector<pair<string, int>>{{\"k\", 1}, {\"k\", 2}}";
    let maps = [
        format!("vector<pair<string, int>> map(const string doc) noexcept {{ return {pairs}; }}"),
        format!("vector<pair<string, int>> map(string& doc, int n = 1) {{ return {pairs}; }}"),
        format!("auto map = [](const string& doc) noexcept {{ return {pairs}; }};"),
        format!("auto map(const auto& doc) {{ return {pairs}; }}"),
        "int map(int x); void map(string_view doc, webmesh::Emitter<int>& out) noexcept { out.emit(\"k\", 1); out.emit(\"k\", 2); }"
            .to_owned(),
    ];
    let reduces = [
        format!("static int reduce(int a, int b) {{ return a * b; }} {REDUCE}"),
        "template <class T> T reduce(T a, T b); pair<string, int> reduce(string& key, vector<int>& vals) noexcept {
            sort(vals.begin(), vals.end()); return {key, accumulate(vals.begin(), vals.end(), 0)}; }"
            .replace("accumulate", "std::accumulate"),
        "const auto reduce = [](string_view key, std::span<const int> vals) {
            return pair<string, int>{key, std::accumulate(vals.begin(), vals.end(), 0)}; };"
            .to_owned(),
        "int combine(const int& a, int b) noexcept { return a + b; }
         void reduce(const string& key, webmesh::Values<int>& values, webmesh::Emitter<int>& out) noexcept {
            for (int v : values) out.emit(key, v); }"
            .to_owned(),
        "template <class T> T combine(T a, T b) { return a + b; }
         pair<string, int> reduce(const string key, const vector<int> vals) { return {key, vals.at(0)}; }"
            .to_owned(),
    ];
    for (map, reduce) in maps.iter().zip(&reduces) {
        assert_eq!(result(&format!("{map}\n{reduce}"), "x"), "k\t3\n", "{map}\n{reduce}");
    }
}

#[test]
fn a_long_double_is_read_written_computed_with_and_stored() {
    let source = r#"
        #include <bits/stdc++.h>
        using namespace std;
        vector<pair<string, pair<string, long double>>> map(const string doc) {
          istringstream in(doc);
          long double sum = 0, x = 0;
          while (in >> x) sum += x;
          ostringstream text;
          text << fixed << setprecision(2) << sum << ' ' << setprecision(20) << 1.0L / 3;
          char printed[64];
          snprintf(printed, sizeof printed, "%.3Lf %Lg", 1.5L, 1e4000L);
          long double a = 0, b = 0;
          sscanf("0.25 2e3", "%Lf %Lg", &a, &b);
          return {{"1 stream", {text.str(), sum}}, {"2 to_string", {to_string(1.5L), 1.5L}}, {"3 printf", {printed, 0}},
                  {"4 scanf", {"", a + b}}, {"5 stold", {"", stold("0.1")}}, {"6 strtold", {"", strtold("1e-3000", nullptr)}},
                  {"7 sqrt", {"", sqrt(2.0L)}}, {"8 limit", {"", numeric_limits<long double>::max()}},
                  {"9 infinite", {"", numeric_limits<long double>::infinity()}}};
        }
        pair<string, pair<string, long double>> reduce(const string key, vector<pair<string, long double>> vals) {
          return {key, vals[0]};
        }"#;
    let expected = "1 stream\t[\"3.75 0.33333333333333333333\",3.75]\n2 to_string\t[\"1.500000\",1.5]\n\
        3 printf\t[\"1.500 1e+4000\",0]\n4 scanf\t[\"\",2000.25]\n5 stold\t[\"\",0.1]\n6 strtold\t[\"\",1e-3000]\n\
        7 sqrt\t[\"\",1.414213562373095048801688724209698]\n8 limit\t[\"\",1.189731495357231765085759326628007e+4932]\n\
        9 infinite\t[\"\",\"Infinity\"]\n";
    assert_eq!(result(source, "1.25 2.5"), expected);
}

#[test]
fn the_values_of_a_key_are_walked_like_a_vector() {
    let source = r#"
        void map(string_view doc, webmesh::Emitter<string>& out) {
          for (const char* text : {"bb", "a", "a text that is not kept in place", "dd"}) out.emit("k", text);
        }
        void reduce(string_view key, webmesh::Values<string>& values, webmesh::Emitter<vector<string>>& out) {
          const string* longest = nullptr;
          const string& first = *values.begin();
          for (const string& value : values) if (!longest || value.size() > longest->size()) longest = &value;
          int pairs = 0;
          for (const string& a : values) for (const string& b : values) pairs += a < b;
          vector<string> copy(values.begin(), values.end());
          auto second = std::find(values.begin(), values.end(), "a");
          auto last = std::max_element(values.begin(), values.end());
          out.emit(key, {*longest, first, to_string(pairs), copy[3], to_string(second - values.begin()), *last,
                         std::accumulate(values.begin(), values.end(), string()), values[1]});
        }"#;
    let expected = "k\t[\"a text that is not kept in place\",\"bb\",\"6\",\"dd\",\"1\",\"dd\",\
        \"bbaa text that is not kept in placedd\",\"a\"]\n";
    assert_eq!(result(source, "x"), expected);
}

#[test]
fn a_struct_that_looks_like_a_container_is_stored_by_its_fields() {
    let source = r#"
        struct Matrix {
          using value_type = double;
          int rows = 0, columns = 0;
          vector<double> cells;
          auto begin() { return cells.begin(); }
          auto end() { return cells.end(); }
          size_t size() const { return cells.size(); }
          void clear() { cells.clear(); }
        };
        vector<pair<string, Matrix>> map(const string doc) { return {{"m", {2, 1, {0.5, 1}}}}; }
        pair<string, Matrix> reduce(const string key, vector<Matrix> vals) { return {key, vals[0]}; }"#;
    assert_eq!(result(source, "x"), "m\t[2,1,[0.5,1]]\n");
}

#[test]
fn clocks_signals_and_locks_work_as_far_as_they_mean_something() {
    let source = r#"
        #include <bits/stdc++.h>
        #include <unistd.h>
        static std::mutex lock;
        static std::once_flag once;
        static std::atomic<int> count{0};
        vector<pair<string, int>> map(const string doc) {
          signal(SIGINT, SIG_DFL);
          const clock_t start = clock();
          const auto now = std::chrono::steady_clock::now();
          std::lock_guard<std::mutex> guard(lock);
          std::call_once(once, [] { ++count; });
          std::shared_mutex shared;
          { std::shared_lock a(shared), b(shared); }
          std::scoped_lock both(shared);
          srand(time(nullptr));
          const double seconds = double(clock() - start) / CLOCKS_PER_SEC;
          const bool still = seconds == 0 && std::chrono::steady_clock::now() == now && getenv("HOME") == nullptr;
          return {{"still", still}, {"count", count}, {"held", lock.try_lock()}};
        }
        "#;
    assert_eq!(result(&format!("{source}{REDUCE}"), "x"), "count\t1\nheld\t0\nstill\t1\n");
}

#[test]
fn an_exception_in_the_initialiser_of_a_global_is_reported_like_any_other() {
    let map = "vector<pair<string, int>> map(const string doc) { return {{\"k\", 1}}; }";
    let throws = format!("static const int limit = stoi(\"ten\");\n{map}\n{REDUCE}");
    assert_fails(&throws, &["initialiser of a global variable", "std::invalid_argument", "stoi: no conversion"]);
    let regex = format!("static const std::regex word(\"[a-z\");\n{map}\n{REDUCE}");
    assert_fails(&regex, &["initialiser of a global variable", "std::regex_error", "mismatched [ and ]"]);
    let text = format!("static const int limit = [] {{ throw \"no limit\"; return 1; }}();\n{map}\n{REDUCE}");
    assert_fails(&text, &["initialiser of a global variable", "no limit"]);
}

#[test]
fn a_stack_overflow_is_reported() {
    let job = |body: &str| {
        format!(
            "#pragma GCC diagnostic ignored \"-Wvla-cxx-extension\"
             int deep(int n) {{ volatile char a[5000]; a[n % 5000] = 1; return n == 0 ? 0 : deep(n - 1) + a[5]; }}
             vector<pair<string, int>> map(const string doc) {{ {body} }}\n{REDUCE}"
        )
    };
    assert_fails(
        &job("int large[1000000]; for (int& x : large) x = doc.size(); return {{doc, large[stoi(doc)]}};"),
        &["job.cpp:3:", "WebMesh: ", "bytes of the stack, which has 1 MiB"],
    );
    assert_fails(
        &job(
            "const int n = 1000000 * stoi(doc); int large[n]; for (int i = 0; i < n; ++i) large[i] = i; return {{doc, large[n / 2]}};",
        ),
        &["stack overflow"],
    );
    assert_fails(&job("return {{doc, deep(100000)}};"), &["stack"]);
}

#[test]
fn a_stored_long_causes_a_warning() {
    let source = "vector<pair<string, long>> map(const string doc) { return {{doc, 1}}; }
        pair<string, long> reduce(const string key, vector<long> vals) { return {key, vals[0]}; }";
    let output = run(source, "x");
    assert_success(&output);
    let text = stderr(&output);
    assert!(text.contains("job.cpp:1:") && text.contains("32 bits"), "{text}");
}
