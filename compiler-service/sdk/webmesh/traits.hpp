// Classifies the types of values at compile time, and explains why a type cannot be stored.
//
// The fields of a struct are reached with a structured-binding pack, so an author does not have to declare them.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <deque>
#include <flat_map>
#include <flat_set>
#include <initializer_list>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace webmesh::detail {

template <class T, template <class...> class Template>
inline constexpr bool kIs = false;
template <class... A, template <class...> class Template>
inline constexpr bool kIs<Template<A...>, Template> = true;

template <class T>
inline constexpr bool kIsStdArray = false;
template <class T, std::size_t n>
inline constexpr bool kIsStdArray<std::array<T, n>> = true;

template <class T>
concept Text = std::same_as<T, std::string>;
/// Integers except bool. A varint has at most 64 bits.
template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && sizeof(T) <= 8;
template <class T>
concept Float = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, long double>;
template <class T>
concept Enum = std::is_enum_v<T>;
template <class T>
concept Optional = kIs<T, std::optional>;
template <class T>
concept Variant = kIs<T, std::variant>;
template <class T>
concept FixedArray = std::is_bounded_array_v<T> || kIsStdArray<T>;

/// Containers from keys to values. Their `value_type` has a const key, so key and value are decoded separately.
template <class T>
concept Dictionary = kIs<T, std::map> || kIs<T, std::multimap> || kIs<T, std::unordered_map> ||
                     kIs<T, std::unordered_multimap> || kIs<T, std::flat_map> || kIs<T, std::flat_multimap>;
/// The standard containers that own their elements. A type that derives from one, or has its own `begin` and `end`, is
/// not among them: it may have other state, which would be lost.
template <class T>
concept Container =
    Dictionary<T> || kIs<T, std::vector> || kIs<T, std::deque> || kIs<T, std::list> || kIs<T, std::set> ||
    kIs<T, std::multiset> || kIs<T, std::unordered_set> || kIs<T, std::unordered_multiset> || kIs<T, std::flat_set> ||
    kIs<T, std::flat_multiset> || (kIs<T, std::basic_string> && !Text<T>);
/// Other types with the interface of a container.
template <class T>
concept LikeContainer = !Container<T> && !Text<T> && !FixedArray<T> && requires(T& container) {
  typename T::value_type;
  container.begin();
  container.end();
};
/// Whether a container's comparison or hash function is an object with state, such as a function pointer. The state is
/// not encoded: a decoded container has a default-constructed object.
template <class T>
consteval bool has_stateful_comparator() {
  bool stateful = false;
  if constexpr (requires { typename T::key_compare; }) stateful = stateful || !std::is_empty_v<typename T::key_compare>;
  if constexpr (requires { typename T::hasher; }) stateful = stateful || !std::is_empty_v<typename T::hasher>;
  if constexpr (requires { typename T::key_equal; }) stateful = stateful || !std::is_empty_v<typename T::key_equal>;
  return stateful;
}
template <class T>
struct ElementOf {
  using type = typename T::value_type;
};
template <class T, std::size_t n>
struct ElementOf<T[n]> {
  using type = T;
};
/// The element type of an array or a container. Loops name it instead of `auto`, because the references of a
/// std::vector<bool> are proxies.
template <class T>
using Element = typename ElementOf<T>::type;

/// Types that a structured binding can decompose: pairs, tuples, and structs whose fields are all public.
template <class T>
concept Bindable = std::is_class_v<T> && !std::is_union_v<T> &&
                   requires { std::integral_constant<std::size_t, __builtin_structured_binding_size(T)>{}; };
template <class T>
concept Struct = Bindable<T> && !Text<T> && !FixedArray<T> && !Container<T> && !Optional<T> && !Variant<T>;

/// Types that a structured binding decomposes by `get`.
template <class T>
concept TupleLike = requires { std::tuple_size<T>::value; };

/// Calls `visit(fields...)` with all fields of a struct, pair or tuple, by reference.
template <class T, class Visit>
constexpr decltype(auto) with_fields(T& object, Visit&& visit) {
  auto& [... fields] = object;
  return visit(fields...);
}

template <class... T>
struct TypeList {};

template <class T>
auto field_types(T& object) {
  auto& [... fields] = object;
  return TypeList<decltype(fields)...>{};
}
/// Whether no field is a bit-field. No reference can bind to a bit-field, so it cannot be decoded into.
template <class T>
auto has_plain_fields(T& object) {
  auto& [... fields] = object;
  return std::bool_constant<(requires { &fields; } && ...)>{};
}

/// The compiler's name of a type.
template <class T>
consteval std::string_view type_name() {
  constexpr std::string_view whole = __PRETTY_FUNCTION__;
  constexpr std::string_view before = "[T = ";
  constexpr std::size_t start = whole.find(before) + before.size();
  return whole.substr(start, whole.size() - 1 - start);
}

/// Why a type cannot be stored: the innermost type that is the cause, and what to do. Empty if it can be stored.
struct Problem {
  std::string_view type;
  std::string_view why;
  constexpr explicit operator bool() const { return !why.empty(); }
};

template <class T, class... Outer>
consteval Problem problem_of();

template <class... Outer, class... T>
consteval Problem first_problem(TypeList<T...>) {
  Problem found;
  // `||` stops at the first problem.
  (void)((found = problem_of<T, Outer...>(), static_cast<bool>(found)) || ...);
  return found;
}

template <class... A>
consteval TypeList<A...> arguments_of(const volatile std::variant<A...>*) { return {}; }

/// Why values of type T cannot be stored in the shuffle and in results. `Outer` are the types that contain T, so that
/// the recursion ends at a type that contains itself, such as a tree of vectors.
template <class T, class... Outer>
consteval Problem problem_of() {
  constexpr auto because = [](std::string_view why) { return Problem{type_name<T>(), why}; };
  if constexpr ((std::same_as<T, Outer> || ...)) {
    return {};
  } else if constexpr (std::is_reference_v<T>) {
    return because("a reference is meaningless on another machine; store the value itself");
  } else if constexpr (std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T> ||
                       kIs<T, std::unique_ptr> || kIs<T, std::shared_ptr> || kIs<T, std::weak_ptr>) {
    return because("a pointer is meaningless on another machine; store what it points to (perhaps in std::optional)");
  } else if constexpr (std::is_const_v<T> || std::is_volatile_v<T>) {
    return because("a const or volatile object cannot be decoded into; remove the qualifier");
  } else if constexpr (std::ranges::view<T> && !FixedArray<T>) {
    return because("a view does not own its bytes; store std::string or std::vector");
  } else if constexpr (std::is_void_v<T>) {
    return because("it has no values; use bool or an empty struct");
  } else if constexpr (std::same_as<T, bool> || Integer<T> || Float<T> || Enum<T> || Text<T>) {
    return {};
  } else if constexpr (std::is_arithmetic_v<T> || std::integral<T>) {
    return because("numbers are stored as integers of up to 64 bits, float, double or long double; use one of these");
  } else if constexpr (std::same_as<T, std::monostate>) {
    return {};
  } else if constexpr (FixedArray<T>) {
    return problem_of<Element<T>, T, Outer...>();
  } else if constexpr (std::is_union_v<T>) {
    return because("the active member of a union is unknown; use std::variant");
  } else if constexpr (!std::is_default_constructible_v<T> || !std::is_move_constructible_v<T> ||
                       !std::is_move_assignable_v<T>) {
    return because("it must be default-constructible and movable, to be decoded");
  } else if constexpr (Optional<T>) {
    return problem_of<typename T::value_type, T, Outer...>();
  } else if constexpr (Variant<T>) {
    return first_problem<T, Outer...>(arguments_of(static_cast<T*>(nullptr)));
  } else if constexpr (Container<T> && has_stateful_comparator<T>()) {
    return because("what orders or hashes it has state, which is not stored; use an empty struct with operator()");
  } else if constexpr (Dictionary<T>) {
    return first_problem<T, Outer...>(TypeList<typename T::key_type, typename T::mapped_type>{});
  } else if constexpr (Container<T>) {
    return problem_of<Element<T>, T, Outer...>();
  } else if constexpr (!Bindable<T> && LikeContainer<T>) {
    return because(
        "it has the interface of a container but is not a standard one, so it may have state besides its elements; make "
        "it a struct whose fields are all public and not inherited, with the container as a field");
  } else if constexpr (TupleLike<T> && !kIs<T, std::pair> && !kIs<T, std::tuple>) {
    return because("its `get` may omit fields; make it a struct without a specialization of std::tuple_size");
  } else if constexpr (!Bindable<T>) {
    return because("its fields are not accessible; make it a struct whose fields are all public and not inherited");
  } else if constexpr (!decltype(has_plain_fields(std::declval<T&>()))::value) {
    return because("bit-fields cannot be decoded; use ordinary integer fields");
  } else {
    return first_problem<T, Outer...>(decltype(field_types(std::declval<T&>())){});
  }
}

template <class T>
inline constexpr bool kStorable = !problem_of<T>();

template <class T, class... Outer>
consteval bool holds_long();

template <class... Outer, class... T>
consteval bool any_holds_long(TypeList<T...>) {
  return (holds_long<T, Outer...>() || ...);
}

/// Whether a storable type is or contains `long` or `unsigned long` (which `size_t` is an alias of): they have 32 bits
/// in wasm32, and 64 on most authors' machines.
template <class T, class... Outer>
consteval bool holds_long() {
  if constexpr ((std::same_as<T, Outer> || ...)) {
    return false;
  } else if constexpr (Enum<T>) {
    return holds_long<std::underlying_type_t<T>>();
  } else if constexpr (std::is_arithmetic_v<T>) {
    return std::same_as<T, long> || std::same_as<T, unsigned long>;
  } else if constexpr (Text<T> || std::same_as<T, std::monostate>) {
    return false;
  } else if constexpr (Optional<T>) {
    return holds_long<typename T::value_type, T, Outer...>();
  } else if constexpr (Variant<T>) {
    return any_holds_long<T, Outer...>(arguments_of(static_cast<T*>(nullptr)));
  } else if constexpr (Dictionary<T>) {
    return any_holds_long<T, Outer...>(TypeList<typename T::key_type, typename T::mapped_type>{});
  } else if constexpr (FixedArray<T> || Container<T>) {
    return holds_long<Element<T>, T, Outer...>();
  } else {
    return any_holds_long<T, Outer...>(decltype(field_types(std::declval<T&>())){});
  }
}

/// Text that is concatenated at compile time, for a static_assert. Truncated to 1000 bytes.
class Message {
 public:
  constexpr Message() = default;
  constexpr Message(std::initializer_list<std::string_view> parts) {
    for (std::string_view part : parts) {
      for (char letter : part) {
        if (size_ < sizeof(text_)) text_[size_++] = letter;
      }
    }
  }
  constexpr const char* data() const { return text_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }

 private:
  char text_[1000] = {};
  std::size_t size_ = 0;
};

/// The error message about a type that cannot be stored; empty if it can be.
template <class T>
consteval Message storable_message() {
  constexpr Problem problem = problem_of<T>();
  if (!problem) return {};
  if (problem.type == type_name<T>()) return {"WebMesh: `", problem.type, "` cannot be stored: ", problem.why};
  return {"WebMesh: `", problem.type, "`, in `", type_name<T>(), "`, cannot be stored: ", problem.why};
}

}  // namespace webmesh::detail
