//! What jobs may compute with: values of every type, as JSON in the result, and C++ exceptions.

use webmesh_tests::job::{assert_fails, result, run};
use webmesh_tests::process::assert_success;

/// A job that sends the value `{value}` of the type `T` from map through the shuffle to the result.
fn of_value(declarations: &str, value: &str) -> String {
    format!(
        "{declarations}
         vector<pair<string, T>> map(const string doc) {{ return {{{{\"key\", T{value}}}}}; }}
         pair<string, vector<T>> reduce(const string key, vector<T> vals) {{ return {{key, vals}}; }}"
    )
}

#[test]
fn every_type_of_value_gives_the_documented_json() {
    let declarations = r#"
        enum class Kind : uint8_t { person, place };
        struct Inner { int64_t low; uint64_t high; };
        struct Tree { string name; vector<Tree> below; };
        struct T {
          bool yes;
          char letter;
          int8_t small;
          Inner limits;
          float single;
          double twice[4];
          double not_numbers[3];
          string text;
          string bytes;
          Kind kind;
          vector<int> numbers;
          std::set<string> sorted;
          array<short, 2> fixed;
          std::map<string, vector<int>> by_name;
          std::map<int, string> by_number;
          std::multimap<string, int> many;
          unordered_map<string, bool> hashed;
          pair<int, string> two;
          tuple<int, double, string> three;
          optional<int> none;
          optional<vector<int>> some;
          variant<std::monostate, string> choice;
          variant<std::monostate, string> other;
          Tree tree;
        };"#;
    let value = r#"{
        true, 'A', -128, {INT64_MIN, UINT64_MAX}, 0.1f, {0.1, -2.5, 1e300, 3},
        {std::nan(""), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()},
        "tab\t, line\n, \"quote\", \\, \x01, na\xc3\xafve", string("caf\xe9 \xff\0!", 8), Kind::place,
        {3, -1, 2}, {"b", "a"}, {7, -7}, {{"b", {2}}, {"a", {}}}, {{10, "ten"}, {-1, "minus"}},
        {{"k", 1}, {"k", 2}}, {{"on", true}}, {5, "five"}, {1, 0.5, "x"}, std::nullopt, vector<int>{1, 2}, {}, "held",
        {"root", {{"leaf", {}}}}
    }"#;
    let expected = [
        "true",
        "65",
        "-128",
        "[-9223372036854775808,18446744073709551615]",
        "0.1",
        "[0.1,-2.5,1e+300,3]",
        r#"["NaN","Infinity","-Infinity"]"#,
        r#""tab\t, line\n, \"quote\", \\, \u0001, naïve""#,
        r#""caf\udce9 \udcff\u0000!""#,
        "1",
        "[3,-1,2]",
        r#"["a","b"]"#,
        "[7,-7]",
        r#"{"a":[],"b":[2]}"#,
        r#"[[-1,"minus"],[10,"ten"]]"#,
        r#"[["k",1],["k",2]]"#,
        r#"{"on":true}"#,
        r#"[5,"five"]"#,
        r#"[1,0.5,"x"]"#,
        "null",
        "[1,2]",
        "[0,null]",
        r#"[1,"held"]"#,
        r#"["root",[["leaf",[]]]]"#,
    ];
    let expected = format!("key\t[[{}]]\n", expected.join(","));
    assert_eq!(result(&of_value(declarations, value), "a document"), expected);
}

#[test]
fn keys_are_any_bytes_and_sorted() {
    let source = r#"
        vector<pair<string, int>> map(const string doc) {
          return {{"b", 1}, {string("\0", 1), 2}, {"\xff", 3}, {"tab\there", 4}, {"line\nhere", 5}, {"back\\slash", 6},
                  {"cr\r", 7}, {"", 8}, {"\xc3\xa9", 9}};
        }
        pair<string, int> reduce(const string key, vector<int> vals) { return {key, vals.at(0)}; }"#;
    let output = run(source, "a document");
    assert_success(&output);
    let expected =
        b"\t8\n\0\t2\nb\t1\nback\\\\slash\t6\ncr\\r\t7\nline\\nhere\t5\ntab\\there\t4\n\xc3\xa9\t9\n\xff\t3\n";
    assert_eq!(output.stdout, expected);
}

#[test]
fn caught_exceptions_do_not_fail_a_job() {
    let source = r#"
        struct Own { int code; };
        struct Guard { int& count; ~Guard() { ++count; } };
        static int unwound = 0;
        static void deep(int levels) {
          Guard guard{unwound};
          if (levels == 0) throw Own{42};
          deep(levels - 1);
        }
        vector<pair<string, string>> map(const string doc) {
          vector<pair<string, string>> out;
          try { stoi(doc); } catch (const std::invalid_argument& e) { out.push_back({"1 stoi", e.what()}); }
          try { stoi("99999999999"); } catch (const std::out_of_range&) { out.push_back({"2 stoi", "too large"}); }
          try { out.at(7); } catch (const std::exception& e) { out.push_back({"3 vector::at", e.what()}); }
          try { std::map<string, int>{}.at("x"); } catch (const std::out_of_range&) { out.push_back({"4 map::at", "caught"}); }
          try { deep(9); } catch (const Own& own) { out.push_back({"5 own", to_string(own.code)}); }
          out.push_back({"6 destructors", to_string(unwound)});
          try {
            try { throw std::runtime_error("inner"); } catch (const std::runtime_error&) { throw; }
          } catch (const std::exception& e) { out.push_back({"7 rethrown", e.what()}); }
          try { throw 7; } catch (int n) { out.push_back({"8 int", to_string(n)}); }
          try { throw string("text"); } catch (...) { out.push_back({"9 any", "caught"}); }
          return out;
        }
        pair<string, string> reduce(const string key, vector<string> vals) {
          try { vals.at(1); } catch (const std::out_of_range&) { return {key, vals.at(0)}; }
          return {key, "reduce saw too many values"};
        }"#;
    let expected = "1 stoi\t\"stoi: no conversion\"\n2 stoi\t\"too large\"\n3 vector::at\t\"vector\"\n4 map::at\t\"caught\"\n\
        5 own\t\"42\"\n6 destructors\t\"10\"\n7 rethrown\t\"inner\"\n8 int\t\"7\"\n9 any\t\"caught\"\n";
    assert_eq!(result(source, "no number"), expected);
}

#[test]
fn an_uncaught_exception_ends_the_job_with_its_text_wherever_thrown() {
    let thrower = |map: &str, reduce: &str| {
        format!(
            "struct Own : std::exception {{ const char* what() const noexcept override {{ return \"out of tea\"; }} }};
             void map(string_view doc, webmesh::Emitter<int>& out) {{ {map} out.emit(\"key\", 1); }}
             pair<string, int> reduce(const string key, vector<int> vals) {{ {reduce} return {{key, 1}}; }}"
        )
    };
    assert_fails(&thrower("throw Own{};", ""), &["input.txt", "Own", "out of tea"]);
    assert_fails(&thrower("vector<int>{}.at(3);", ""), &["input.txt", "std::out_of_range", "vector"]);
    assert_fails(&thrower("throw 7;", ""), &["input.txt", "not derived from std::exception"]);
    assert_fails(
        &thrower("", "throw std::runtime_error(\"bad \" + key);"),
        &["reduce", "std::runtime_error", "bad key"],
    );
}
