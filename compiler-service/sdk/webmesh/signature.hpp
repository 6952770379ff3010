// Finds out in which form an author wrote `map`, `reduce` and `combine`, and what is wrong with them.
//
// glue.hpp stands behind the author's source and describes it as a type `Author`: the signatures of its global
// functions where they exist, and calls to them. Everything here is about that type.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api.hpp"

namespace webmesh::detail {

/// glue.hpp declares `map`, `reduce` and `combine` once more with six of these, so that their names exist whatever the
/// author wrote. Six, because no form has so many.
struct Blank {};
using BlankFunction = void(Blank, Blank, Blank, Blank, Blank, Blank);

struct Missing {};
template <class R, class... A>
struct Signature {
  using Function = R(A...);
};

// The signature of the one function with so many arguments in an overload set; Missing where there is none or more than
// one. The author's is preferred (int fits 0 better than long) over the blank one, which always fits.
template <class R, class A>
Signature<R, A> with_one_argument(R (*)(A), int);
Missing with_one_argument(BlankFunction*, long);
template <class R, class A, class B>
Signature<R, A, B> with_two_arguments(R (*)(A, B), int);
Missing with_two_arguments(BlankFunction*, long);
template <class R, class A, class B, class C>
Signature<R, A, B, C> with_three_arguments(R (*)(A, B, C), int);
Missing with_three_arguments(BlankFunction*, long);

template <class T>
inline constexpr bool kMutableReference = std::is_lvalue_reference_v<T> && !std::is_const_v<std::remove_reference_t<T>>;

/// A parameter that a document or key can be handed to as.
template <class T>
concept TextParameter = !kMutableReference<T> && (std::same_as<std::remove_cvref_t<T>, std::string> ||
                                                  std::same_as<std::remove_cvref_t<T>, std::string_view>);
/// A parameter that a T made on the spot can be handed to as.
template <class P, class T>
concept ParameterOf = !kMutableReference<P> && std::same_as<std::remove_cvref_t<P>, T>;

struct NotThisForm {
  static constexpr bool fits = false;
};

/// `vector<pair<string, V>> map(const string doc)`
template <class S>
struct ThesisMap : NotThisForm {};
template <class V, TextParameter Doc>
struct ThesisMap<Signature<std::vector<std::pair<std::string, V>>, Doc>> {
  static constexpr bool fits = true;
  using Document = std::remove_cvref_t<Doc>;
  using Value = V;
};

/// `void map(string_view doc, webmesh::Emitter<V>& out)`
template <class S>
struct FastMap : NotThisForm {};
template <class V, TextParameter Doc>
struct FastMap<Signature<void, Doc, Emitter<V>&>> {
  static constexpr bool fits = true;
  using Document = std::remove_cvref_t<Doc>;
  using Value = V;
};

/// `pair<string, R> reduce(const string key, vector<V> vals)`
template <class S>
struct ThesisReduce : NotThisForm {};
template <class R, TextParameter K, class V>
struct ThesisReduceOf {
  static constexpr bool fits = true;
  using KeyText = std::remove_cvref_t<K>;
  using Value = V;
  using Result = R;
};
template <class R, TextParameter K, class V>
struct ThesisReduce<Signature<std::pair<std::string, R>, K, std::vector<V>>> : ThesisReduceOf<R, K, V> {};
template <class R, TextParameter K, class V>
struct ThesisReduce<Signature<std::pair<std::string, R>, K, const std::vector<V>&>> : ThesisReduceOf<R, K, V> {};
template <class R, TextParameter K, class V>
struct ThesisReduce<Signature<std::pair<std::string, R>, K, std::vector<V>&&>> : ThesisReduceOf<R, K, V> {};

/// `void reduce(string_view key, webmesh::Values<V>& values, webmesh::Emitter<R>& out)`
template <class S>
struct StreamingReduce : NotThisForm {};
template <TextParameter K, class V, class R>
struct StreamingReduce<Signature<void, K, Values<V>&, Emitter<R>&>> {
  static constexpr bool fits = true;
  using KeyText = std::remove_cvref_t<K>;
  using Value = V;
  using Result = R;
};

/// `V combine(V a, V b)`
template <class S, class V>
inline constexpr bool kCombines = false;
template <class R, class A, class B, class V>
inline constexpr bool kCombines<Signature<R, A, B>, V> =
    std::same_as<std::remove_cvref_t<R>, V> && ParameterOf<A, V> && ParameterOf<B, V>;

/// The forms of one author's functions.
template <class Author>
struct Forms {
  using Map = std::conditional_t<ThesisMap<typename Author::MapOfOne>::fits, ThesisMap<typename Author::MapOfOne>,
                                 FastMap<typename Author::MapOfTwo>>;
  using Reduce =
      std::conditional_t<ThesisReduce<typename Author::ReduceOfTwo>::fits, ThesisReduce<typename Author::ReduceOfTwo>,
                         StreamingReduce<typename Author::ReduceOfThree>>;
  static constexpr bool thesis_map = ThesisMap<typename Author::MapOfOne>::fits;
  static constexpr bool thesis_reduce = ThesisReduce<typename Author::ReduceOfTwo>::fits;
  static constexpr bool combines = !std::same_as<typename Author::CombineOfTwo, Missing>;
};

/// How a signature reads in a message.
template <class S>
consteval Message written() {
  if constexpr (std::same_as<S, Missing>) {
    return {};
  } else {
    return {"; yours is `", type_name<typename S::Function>(), "`"};
  }
}
consteval std::string_view view(const Message& message) { return {message.data(), message.size()}; }

/// What is wrong with an author's functions, as one text; empty where nothing is.
template <class Author>
consteval Message mistake() {
  using F = Forms<Author>;
  constexpr bool two_maps = F::thesis_map && FastMap<typename Author::MapOfTwo>::fits;
  constexpr bool two_reduces = F::thesis_reduce && StreamingReduce<typename Author::ReduceOfThree>::fits;
  if constexpr (!F::Map::fits) {
    constexpr Message one = written<typename Author::MapOfOne>(), two = written<typename Author::MapOfTwo>();
    return {"WebMesh: a job needs one global function `vector<pair<string, V>> map(const string doc)` or "
            "`void map(string_view doc, webmesh::Emitter<V>& out)`", view(one), view(two)};
  } else if constexpr (!F::Reduce::fits) {
    constexpr Message two = written<typename Author::ReduceOfTwo>(), three = written<typename Author::ReduceOfThree>();
    return {"WebMesh: a job needs one global function `pair<string, R> reduce(const string key, vector<V> vals)` or "
            "`void reduce(string_view key, webmesh::Values<V>& values, webmesh::Emitter<R>& out)`",
            view(two), view(three)};
  } else if constexpr (two_maps || two_reduces) {
    return {"WebMesh: `", two_maps ? "map" : "reduce", "` is there in both forms; keep one"};
  } else if constexpr (!std::same_as<typename F::Map::Value, typename F::Reduce::Value>) {
    return {"WebMesh: map yields values of type `", type_name<typename F::Map::Value>(), "`, but reduce takes `",
            type_name<typename F::Reduce::Value>(), "`; they must be the same"};
  } else if constexpr (!kStorable<typename F::Map::Value>) {
    return storable_message<typename F::Map::Value>();
  } else if constexpr (!kStorable<typename F::Reduce::Result>) {
    return storable_message<typename F::Reduce::Result>();
  } else if constexpr (F::combines && !kCombines<typename Author::CombineOfTwo, typename F::Map::Value>) {
    constexpr Message found = written<typename Author::CombineOfTwo>();
    return {"WebMesh: combine must be `V combine(V a, V b)` for the value type `", type_name<typename F::Map::Value>(),
            "`", view(found)};
  } else {
    return {};
  }
}

}  // namespace webmesh::detail
