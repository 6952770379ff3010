// Determines the form of an author's `map`, `reduce` and `combine`, and reports signatures that match no form.
//
// glue.hpp, after the author's source, defines a type `Author` that makes the three global names accessible to the
// templates here:
//
//   Author::map(a...)              calls `::map(a...)`, with the same overload resolution
//   Author::map_matching(pattern)  the `Signature` of the function of that name that matches a pattern (below)
//
// and the same for `reduce` and `combine`. The result type is taken from a call, which works for overloads, templates,
// lambdas and default arguments alike. A pattern deduces from the signature itself, and is used only where a type has
// to be deduced from a parameter, as in `Emitter<V>&`; overloads that do not match are ignored.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api.hpp"

/// Fallbacks for functions that an author did not define. A using-directive in glue.hpp makes them visible in the
/// global namespace, where the author's declarations hide them.
namespace webmesh::absent {
struct Nothing {};
void map(Nothing);
void reduce(Nothing);
void combine(Nothing);
}  // namespace webmesh::absent

namespace webmesh::detail {

struct Missing {};
template <class R, class... A>
struct Signature {
  using Function = R(A...);
};

// --- patterns --------------------------------------------------------------------------------------------------------
/// The function or function object, if it is not overloaded.
struct Only {};
/// The overload with two parameters, if there is exactly one.
struct OfTwo {};
/// `void (D, Emitter<V>&)`
struct EmittingMap {};
/// `void (K, Values<V>&, Emitter<R>&)`
struct EmittingReduce {};

template <class R, class... A, bool n>
Signature<R, A...> matching(R (*)(A...) noexcept(n), Only);
template <class R, class A, class B, bool n>
Signature<R, A, B> matching(R (*)(A, B) noexcept(n), OfTwo);
template <class D, class V, bool n>
Signature<void, D, Emitter<V>&> matching(void (*)(D, Emitter<V>&) noexcept(n), EmittingMap);
template <class K, class V, class R, bool n>
Signature<void, K, Values<V>&, Emitter<R>&> matching(void (*)(K, Values<V>&, Emitter<R>&) noexcept(n), EmittingReduce);

template <class C, class R, class... A, bool n>
Signature<R, A...> called(R (C::*)(A...) noexcept(n));
template <class C, class R, class... A, bool n>
Signature<R, A...> called(R (C::*)(A...) const noexcept(n));
template <class R, class... A>
auto pointer(Signature<R, A...>) -> R (*)(A...);

// A lambda or another function object has the signature of its operator(), if that is not overloaded.
template <class T, class Pattern>
  requires std::is_class_v<T> && requires { called(&T::operator()); }
auto matching(T*, Pattern pattern) -> decltype(matching(pointer(called(&T::operator())), pattern));

/// The result of `Author::x_matching`, or Missing if nothing matches. `find` is a lambda that calls it.
template <class Find, class Pattern>
auto found(Find find, Pattern pattern) {
  if constexpr (requires { find(pattern); }) {
    return decltype(find(pattern)){};
  } else {
    return Missing{};
  }
}
template <class Author, class Pattern>
using MapMatching = decltype(found([](auto p) -> decltype(Author::map_matching(p)) { return {}; }, Pattern{}));
template <class Author, class Pattern>
using ReduceMatching = decltype(found([](auto p) -> decltype(Author::reduce_matching(p)) { return {}; }, Pattern{}));
template <class Author, class Pattern>
using CombineMatching = decltype(found([](auto p) -> decltype(Author::combine_matching(p)) { return {}; }, Pattern{}));

using Unwritten = Signature<void, absent::Nothing>;

// --- arguments -------------------------------------------------------------------------------------------------------
// Ways to pass a document or key. The first that the function accepts is used. AsVariable is for functions that take a
// non-const reference.
struct AsText {
  using Owner = std::string;
  static std::string&& pass(std::string& text) { return std::move(text); }
};
struct AsView {
  using Owner = std::string_view;
  static std::string_view pass(std::string_view text) { return text; }
};
struct AsVariable {
  using Owner = std::string;
  static std::string& pass(std::string& text) { return text; }
};
template <class Way>
using Passed = decltype(Way::pass(std::declval<typename Way::Owner&>()));

/// Whether the first parameter of a signature is a string_view, which needs no copy of the text.
template <class S>
inline constexpr bool kTakesView = false;
template <class R, class First, class... A>
inline constexpr bool kTakesView<Signature<R, First, A...>> =
    std::same_as<std::remove_cvref_t<First>, std::string_view> && !std::is_same_v<First, std::string_view&>;

template <class T>
inline constexpr bool kIsText =
    std::same_as<std::remove_cvref_t<T>, std::string> || std::same_as<std::remove_cvref_t<T>, std::string_view>;

// --- map -------------------------------------------------------------------------------------------------------------
struct NotThisForm {
  static constexpr bool fits = false;
};

template <class T>
struct PairsOf : NotThisForm {};
template <class V>
struct PairsOf<std::vector<std::pair<std::string, V>>> {
  static constexpr bool fits = true;
  using Value = V;
};

template <class Author, class Way>
concept MapTakes = requires(Passed<Way> document) { Author::map(static_cast<Passed<Way>>(document)); };
template <class Author, class Way>
struct PairsMap : PairsOf<std::remove_cvref_t<decltype(Author::map(std::declval<Passed<Way>>()))>> {
  using Document = Way;
};

/// `vector<pair<string, V>> map(const string doc)`
template <class Author>
consteval auto thesis_map() {
  if constexpr (kTakesView<MapMatching<Author, Only>>) {
    if constexpr (MapTakes<Author, AsView>) {
      return PairsMap<Author, AsView>{};
    } else {
      return NotThisForm{};
    }
  } else if constexpr (MapTakes<Author, AsText>) {
    return PairsMap<Author, AsText>{};
  } else if constexpr (MapTakes<Author, AsVariable>) {
    return PairsMap<Author, AsVariable>{};
  } else if constexpr (MapTakes<Author, AsView>) {
    return PairsMap<Author, AsView>{};
  } else {
    return NotThisForm{};
  }
}

/// `void map(string_view doc, webmesh::Emitter<V>& out)`
template <class S>
struct FastMap : NotThisForm {};
template <class D, class V>
struct FastMap<Signature<void, D, Emitter<V>&>> {
  static constexpr bool fits = kIsText<D>;
  using Value = V;
  using Document = std::conditional_t<std::is_same_v<D, std::string&>, AsVariable,
                                      std::conditional_t<kTakesView<Signature<void, D>>, AsView, AsText>>;
};

template <class Author>
struct MapForm {
  using Thesis = decltype(thesis_map<Author>());
  using Fast = FastMap<MapMatching<Author, EmittingMap>>;
  static constexpr bool thesis = Thesis::fits;
  static constexpr bool both = Thesis::fits && Fast::fits;
  using Form = std::conditional_t<thesis, Thesis, Fast>;
  static constexpr bool fits = Form::fits;
};

// --- reduce ----------------------------------------------------------------------------------------------------------
template <class T>
struct PairOf : NotThisForm {};
template <class R>
struct PairOf<std::pair<std::string, R>> {
  static constexpr bool fits = true;
  using Result = R;
};

template <class Author, class Way, class Vals>
concept ReduceTakes = requires(Passed<Way> key, Vals vals) {
  Author::reduce(static_cast<Passed<Way>>(key), static_cast<Vals>(vals));
};
template <class Author, class Way, class Vals>
struct PairReduce
    : PairOf<std::remove_cvref_t<decltype(Author::reduce(std::declval<Passed<Way>>(), std::declval<Vals>()))>> {
  using KeyText = Way;
  using Values = Vals;
};

template <class Author, class Vals>
consteval auto thesis_reduce_of() {
  if constexpr (kTakesView<ReduceMatching<Author, Only>>) {
    if constexpr (ReduceTakes<Author, AsView, Vals>) {
      return PairReduce<Author, AsView, Vals>{};
    } else {
      return NotThisForm{};
    }
  } else if constexpr (ReduceTakes<Author, AsText, Vals>) {
    return PairReduce<Author, AsText, Vals>{};
  } else if constexpr (ReduceTakes<Author, AsVariable, Vals>) {
    return PairReduce<Author, AsVariable, Vals>{};
  } else if constexpr (ReduceTakes<Author, AsView, Vals>) {
    return PairReduce<Author, AsView, Vals>{};
  } else {
    return NotThisForm{};
  }
}

/// `pair<string, R> reduce(const string key, vector<V> vals)`
template <class Author, class V>
consteval auto thesis_reduce() {
  if constexpr (decltype(thesis_reduce_of<Author, std::vector<V>&&>())::fits) {
    return thesis_reduce_of<Author, std::vector<V>&&>();
  } else {
    return thesis_reduce_of<Author, std::vector<V>&>();
  }
}

/// `void reduce(string_view key, webmesh::Values<V>& values, webmesh::Emitter<R>& out)`
template <class S>
struct FastReduce : NotThisForm {};
template <class K, class V, class R>
struct FastReduce<Signature<void, K, Values<V>&, Emitter<R>&>> {
  static constexpr bool fits = kIsText<K>;
  using Value = V;
  using Result = R;
  using KeyText = std::conditional_t<std::is_same_v<K, std::string&>, AsVariable,
                                     std::conditional_t<kTakesView<Signature<void, K>>, AsView, AsText>>;
};

/// The value type that a reduce takes, if its signature is in one of the two forms; otherwise Missing.
template <class S>
struct ValueTaken {
  using type = Missing;
};
template <class R, class K, class Vals>
struct ValueTaken<Signature<std::pair<std::string, R>, K, Vals>> {
  template <class V>
  static V element(const std::vector<V>*);
  static Missing element(const volatile void*);
  using type = decltype(element(static_cast<std::remove_cvref_t<Vals>*>(nullptr)));
};
template <class K, class V, class R>
struct ValueTaken<Signature<void, K, Values<V>&, Emitter<R>&>> {
  using type = V;
};

template <class Author, class V>
struct ReduceForm {
  using Thesis = decltype(thesis_reduce<Author, V>());
  using Fast = FastReduce<ReduceMatching<Author, EmittingReduce>>;
  static constexpr bool thesis = Thesis::fits;
  static constexpr bool both = Thesis::fits && Fast::fits;
  using Form = std::conditional_t<thesis, Thesis, Fast>;
  static constexpr bool fits = Form::fits;
};

// --- combine ---------------------------------------------------------------------------------------------------------
template <class P, class V>
concept CombineParameter = std::same_as<std::remove_cvref_t<P>, V> && !std::is_same_v<P, V&>;
template <class S, class V>
inline constexpr bool kCombines = false;
template <class R, class A, class B, class V>
inline constexpr bool kCombines<Signature<R, A, B>, V> =
    std::same_as<std::remove_cvref_t<R>, V> && CombineParameter<A, V> && CombineParameter<B, V>;

/// `V combine(V a, V b)`. A single function with two parameters must have this signature; among overloads and
/// templates, the one that overload resolution selects for two values is used.
template <class Author, class V>
struct CombineForm {
  using OfTwoArguments = CombineMatching<Author, OfTwo>;
  static constexpr bool alone = !std::same_as<OfTwoArguments, Missing>;
  static consteval bool callable() {
    if constexpr (requires(V a, V b) { Author::combine(std::move(a), std::move(b)); }) {
      return std::same_as<std::remove_cvref_t<decltype(Author::combine(std::declval<V>(), std::declval<V>()))>, V>;
    } else {
      return false;
    }
  }
  static constexpr bool combines = alone ? kCombines<OfTwoArguments, V> : callable();
  static constexpr bool mismatch = alone && !combines;
};

// --- errors ----------------------------------------------------------------------------------------------------------
/// The end of a message: the signature that was found.
template <class S>
consteval Message written() {
  if constexpr (std::same_as<S, Missing>) {
    return {"; yours is overloaded, a template, or not a function"};
  } else if constexpr (std::same_as<S, Unwritten>) {
    return {"; there is none"};
  } else {
    return {"; yours is `", type_name<typename S::Function>(), "`"};
  }
}
consteval std::string_view view(const Message& message) { return {message.data(), message.size()}; }

/// The error message about an author's map; empty if it is valid.
template <class Author>
consteval Message map_mistake() {
  using M = MapForm<Author>;
  if constexpr (!M::fits) {
    constexpr Message found = written<MapMatching<Author, Only>>();
    return {"WebMesh: a job needs one global function `vector<pair<string, V>> map(const string doc)` or "
            "`void map(string_view doc, webmesh::Emitter<V>& out)`", view(found)};
  } else if constexpr (M::both) {
    return {"WebMesh: `map` is defined in both forms; keep one"};
  } else {
    return storable_message<typename M::Form::Value>();
  }
}

/// The error message about an author's reduce; empty if it is valid, or if map is not.
template <class Author>
consteval Message reduce_mistake() {
  if constexpr (!map_mistake<Author>().empty()) {
    return {};
  } else {
    using V = typename MapForm<Author>::Form::Value;
    using F = ReduceForm<Author, V>;
    using Taken = typename ValueTaken<ReduceMatching<Author, Only>>::type;
    constexpr auto other = []<class T>(std::type_identity<T>) -> Message {
      return {"WebMesh: map yields values of type `", type_name<V>(), "`, but reduce takes `", type_name<T>(),
              "`; they must be the same"};
    };
    if constexpr (!F::fits) {
      if constexpr (!std::same_as<Taken, Missing> && !std::same_as<Taken, V>) {
        return other(std::type_identity<Taken>{});
      } else {
        constexpr Message found = written<ReduceMatching<Author, Only>>();
        return {"WebMesh: a job needs one global function `pair<string, R> reduce(const string key, vector<V> vals)` or "
                "`void reduce(string_view key, webmesh::Values<V>& values, webmesh::Emitter<R>& out)`, where map yields "
                "values of type V = `", type_name<V>(), "`", view(found)};
      }
    } else if constexpr (F::both) {
      return {"WebMesh: `reduce` is defined in both forms; keep one"};
    } else if constexpr (!F::thesis) {
      using W = typename F::Fast::Value;
      if constexpr (!std::same_as<W, V>) {
        return other(std::type_identity<W>{});
      } else {
        return storable_message<typename F::Form::Result>();
      }
    } else {
      return storable_message<typename F::Form::Result>();
    }
  }
}

/// The alignment of the table's arena (table.hpp), in bytes.
inline constexpr std::size_t kMaxAlignment = alignof(Arena::Chunk);

/// The error message about an author's combine; empty if it is valid, or if map or reduce is not.
template <class Author>
consteval Message combine_mistake() {
  if constexpr (!map_mistake<Author>().empty() || !reduce_mistake<Author>().empty()) {
    return {};
  } else {
    using V = typename MapForm<Author>::Form::Value;
    using F = CombineForm<Author, V>;
    if constexpr (F::mismatch) {
      constexpr Message found = written<typename F::OfTwoArguments>();
      return {"WebMesh: combine must be `V combine(V a, V b)` for the value type `", type_name<V>(), "`", view(found)};
    } else if constexpr (F::combines && alignof(V) > kMaxAlignment) {
      return {"WebMesh: combined values may have an alignment of at most 16 bytes, but `", type_name<V>(),
              "` has a larger one"};
    } else {
      return {};
    }
  }
}

template <class Author>
inline constexpr bool kValid = map_mistake<Author>().empty() && reduce_mistake<Author>().empty() &&
                               combine_mistake<Author>().empty();

/// The forms of an author's functions, which must be valid.
template <class Author>
struct Forms {
  using Map = MapForm<Author>;
  using V = typename Map::Form::Value;
  using Reduce = ReduceForm<Author, V>;
  using R = typename Reduce::Form::Result;
  static constexpr bool combines = CombineForm<Author, V>::combines;
};

// --- warnings --------------------------------------------------------------------------------------------------------
/// glue.hpp uses `type` for the values of map and of reduce, so that clang warns if it is deprecated.
template <bool holds_long>
struct CheckedWidth {
  using type = void;
};
template <>
struct CheckedWidth<true> {
  using type [[deprecated("WebMesh: the type of the values contains `long` or `size_t`, which have 32 bits in a job and "
                          "may overflow; use int64_t or uint64_t")]] = void;
};
template <class Author, bool valid = kValid<Author>>
struct Widths {
  static constexpr bool map = holds_long<typename Forms<Author>::V>();
  static constexpr bool reduce = holds_long<typename Forms<Author>::R>();
};
template <class Author>
struct Widths<Author, false> {
  static constexpr bool map = false;
  static constexpr bool reduce = false;
};

}  // namespace webmesh::detail
