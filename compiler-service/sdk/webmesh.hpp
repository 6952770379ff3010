// WebMesh's side of a job: what an author writes against, and what turns it into a module for the mesh.
//
// The compiler service puts this header, precompiled, before every job, and webmesh/glue.hpp after it. An author writes
// `map`, `reduce` and perhaps `combine` as global functions and includes nothing; docs/writing-jobs.md tells how. The
// interface between module and host is docs/guest-abi.md.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cmath>
#include <compare>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <expected>
#include <format>
#include <functional>
#include <initializer_list>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <numbers>
#include <numeric>
#include <optional>
#include <queue>
#include <random>
#include <ranges>
#include <regex>
#include <set>
#include <span>
#include <sstream>
#include <stack>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "webmesh/api.hpp"
#include "webmesh/job.hpp"

// The names that a job's signatures are made of, without `std::`: the thesis's declarations compile as they stand.
// All of `std` would be too much: an author's own `count`, `data` or `size` would become ambiguous. An author who wants
// it writes `using namespace std;` and then says `std::map` for the container, since `map` is the job's own function.
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
