// The guest SDK: the API for job authors, and the code that makes a job a WebAssembly module.
//
// The compiler service puts this header, precompiled, before every job, and webmesh/glue.hpp after it. An author
// defines `map`, `reduce` and optionally `combine` as global functions and includes nothing (docs/writing-jobs.md). The
// interface between module and host is docs/guest-abi.md.
//
// Includes the whole standard library, so that an author's macros cannot affect it, except for headers that declare
// names in the global namespace (bits/stdc++.h).
#pragma once

#include "webmesh/c_files.hpp"

#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <barrier>
#include <bit>
#include <bitset>
#include <cctype>
#include <cerrno>
#include <cfloat>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <climits>
#include <clocale>
#include <cmath>
#include <compare>
#include <complex>
#include <concepts>
#include <condition_variable>
#include <coroutine>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <cwchar>
#include <cwctype>
#include <deque>
#include <exception>
#include <execution>
#include <expected>
#include <filesystem>
#include <flat_map>
#include <flat_set>
#include <format>
#include <forward_list>
#include <fstream>
#include <functional>
#include <future>
#include <initializer_list>
#include <iomanip>
#include <ios>
#include <iosfwd>
#include <iostream>
#include <istream>
#include <iterator>
#include <latch>
#include <limits>
#include <list>
#include <locale>
#include <map>
#include <mdspan>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <new>
#include <numbers>
#include <numeric>
#include <optional>
#include <ostream>
#include <print>
#include <queue>
#include <random>
#include <ranges>
#include <ratio>
#include <regex>
#include <scoped_allocator>
#include <semaphore>
#include <set>
#include <shared_mutex>
#include <source_location>
#include <span>
#include <sstream>
#include <stack>
#include <stdexcept>
#include <stop_token>
#include <streambuf>
#include <string>
#include <string_view>
#include <syncstream>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <valarray>
#include <variant>
#include <vector>
#include <version>

extern "C" [[noreturn]] void __assert_fail(const char*, const char*, int, const char*);

#include "webmesh/api.hpp"
#include "webmesh/files.hpp"
#include "webmesh/job.hpp"
#include "webmesh/threads.hpp"

// Names that jobs commonly use, available without `std::`, so that the signatures of the vector form compile as the
// docs show them. Not all of `std`: an author's own `count`, `data` or `size` would become ambiguous. With `using
// namespace std;`, an author must write `std::map` for the container, since `map` is also the job's function.
using std::array;
using std::function;
using std::get;
using std::getline;
using std::istringstream;
using std::make_pair;
using std::make_tuple;
using std::nullopt;
using std::optional;
using std::ostringstream;
using std::pair;
using std::sort;
using std::stod;
using std::stof;
using std::stoi;
using std::stol;
using std::stoll;
using std::stoul;
using std::stoull;
using std::string;
using std::string_view;
using std::stringstream;
using std::to_string;
using std::tuple;
using std::unordered_map;
using std::unordered_set;
using std::variant;
using std::vector;
