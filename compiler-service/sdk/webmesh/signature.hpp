// Finds out in which form an author wrote `map`, `reduce` and `combine`, and what is wrong with them.
//
// glue.hpp stands behind the author's source and describes it as a type `Author`, which only makes the three global
// names reachable from here:
//
//   Author::map(a...)              a call, which takes part in overload resolution as `::map(a...)` would
//   Author::map_matching(pattern)  what a pattern (below) finds among the functions of that name
//
// and the same for `reduce` and `combine`. A call tells what a function gives back, whatever it is: an overload, a
// template, a lambda, a function with default arguments. Only where a type must be taken from a parameter, as in
// `Emitter<V>&`, does a pattern look at the signature itself; patterns skip overloads that do not fit.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api.hpp"

/// What is found for a function that an author did not write. glue.hpp makes these names visible in the global
/// namespace, where a declaration of the author's own hides them.
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

// --- patterns ---------------------------------------------------------------------------------------------------------
/// The one function, or object, of a name.
struct Only {};
/// The one overload with two parameters.
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

// A lambda, or another object that can be called: its signature is that of its only operator().
template <class T, class Pattern>
  requires std::is_class_v<T> && requires { called(&T::operator()); }
auto matching(T*, Pattern pattern) -> decltype(matching(pointer(called(&T::operator())), pattern));

/// What `Author::x_matching` gave, or Missing. `find` is a lambda that calls it.
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

// --- what is passed ---------------------------------------------------------------------------------------------------
// Text is passed as the first of these that a function takes. Its own variable comes last, as nobody but a function that
// changes its argument needs it.
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

/// Whether the first parameter of a signature is a view, which costs no copy.
template <class S>
inline constexpr bool kTakesView = false;
template <class R, class First, class... A>
inline constexpr bool kTakesView<Signature<R, First, A...>> =
    std::same_as<std::remove_cvref_t<First>, std::string_view> && !std::is_same_v<First, std::string_view&>;

template <class T>
inline constexpr bool kIsText =
    std::same_as<std::remove_cvref_t<T>, std::string> || std::same_as<std::remove_cvref_t<T>, std::string_view>;

// --- map --------------------------------------------------------------------------------------------------------------
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

// --- reduce -----------------------------------------------------------------------------------------------------------
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

/// The type of the values that a reduce takes, where its only signature tells it; else Missing.
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

// --- combine ----------------------------------------------------------------------------------------------------------
template <class P, class V>
concept CombineParameter = std::same_as<std::remove_cvref_t<P>, V> && !std::is_same_v<P, V&>;
template <class S, class V>
inline constexpr bool kCombines = false;
template <class R, class A, class B, class V>
inline constexpr bool kCombines<Signature<R, A, B>, V> =
    std::same_as<std::remove_cvref_t<R>, V> && CombineParameter<A, V> && CombineParameter<B, V>;

/// `V combine(V a, V b)`. A lone function of two arguments must be this one; of overloads and templates, that is taken
/// which a call with two values finds.
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
  static constexpr bool wrong = alone && !combines;
};

// --- what is wrong ----------------------------------------------------------------------------------------------------
/// How the only signature of a name reads in a message.
template <class S>
consteval Message written() {
  if constexpr (std::same_as<S, Missing>) {
    return {"; yours is overloaded, a template, or no function"};
  } else if constexpr (std::same_as<S, Unwritten>) {
    return {"; there is none"};
  } else {
    return {"; yours is `", type_name<typename S::Function>(), "`"};
  }
}
consteval std::string_view view(const Message& message) { return {message.data(), message.size()}; }

/// What is wrong with an author's map, as one text; empty where nothing is.
template <class Author>
consteval Message map_mistake() {
  using M = MapForm<Author>;
  if constexpr (!M::fits) {
    constexpr Message found = written<MapMatching<Author, Only>>();
    return {"WebMesh: a job needs one global function `vector<pair<string, V>> map(const string doc)` or "
            "`void map(string_view doc, webmesh::Emitter<V>& out)`", view(found)};
  } else if constexpr (M::both) {
    return {"WebMesh: `map` is there in both forms; keep one"};
  } else {
    return storable_message<typename M::Form::Value>();
  }
}

/// What is wrong with an author's reduce, where nothing is wrong with map.
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
      return {"WebMesh: `reduce` is there in both forms; keep one"};
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

/// What the memory of the table (table.hpp) keeps to.
inline constexpr std::size_t kMostAligned = alignof(Arena::Chunk);

/// What is wrong with an author's combine, where nothing is wrong with the others.
template <class Author>
consteval Message combine_mistake() {
  if constexpr (!map_mistake<Author>().empty() || !reduce_mistake<Author>().empty()) {
    return {};
  } else {
    using V = typename MapForm<Author>::Form::Value;
    using F = CombineForm<Author, V>;
    if constexpr (F::wrong) {
      constexpr Message found = written<typename F::OfTwoArguments>();
      return {"WebMesh: combine must be `V combine(V a, V b)` for the value type `", type_name<V>(), "`", view(found)};
    } else if constexpr (F::combines && alignof(V) > kMostAligned) {
      return {"WebMesh: a value that is combined must not ask for an alignment of over 16 bytes, as `", type_name<V>(),
              "` does"};
    } else {
      return {};
    }
  }
}

template <class Author>
inline constexpr bool kSound = map_mistake<Author>().empty() && reduce_mistake<Author>().empty() &&
                               combine_mistake<Author>().empty();

/// The forms of one author's functions, where nothing is wrong with them.
template <class Author>
struct Forms {
  using Map = MapForm<Author>;
  using V = typename Map::Form::Value;
  using Reduce = ReduceForm<Author, V>;
  using R = typename Reduce::Form::Result;
  static constexpr bool combines = CombineForm<Author, V>::combines;
};

// --- what is doubtful -------------------------------------------------------------------------------------------------
/// Glue.hpp names `type` for what map yields and what reduce gives: clang warns where it is deprecated.
template <bool holds_long>
struct CheckedWidth {
  using type = void;
};
template <>
struct CheckedWidth<true> {
  using type [[deprecated("WebMesh: the type of the values holds `long` or `size_t`, which have 32 bits in a job and "
                          "wrap beyond; say int64_t or uint64_t")]] = void;
};
template <class Author, bool sound = kSound<Author>>
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
