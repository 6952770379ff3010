// The values of results as JSON text, without line breaks.
//
//   bool, integers, enums         true or false, digits, the underlying integer
//   float, double, long double    the shortest text that parses to the same value; "NaN", "Infinity", "-Infinity"
//   string                        escaped; a byte that is not UTF-8 becomes \udc80 to \udcff (Python: surrogateescape)
//   optional                      null or the value
//   variant                       [index, value]; std::monostate is null
//   pair, tuple, struct           array of the fields
//   arrays, vectors, sets ...     array of the elements
//   maps                          an object if keys are unique strings, otherwise an array of [key, value]
#pragma once

#include <cmath>

#include "bytes.hpp"
#include "traits.hpp"

namespace webmesh::detail {

void write_json_string(Buffer& out, std::string_view text);
void write_json_number(Buffer& out, std::int64_t value);
void write_json_number(Buffer& out, u64 value);
void write_json_number(Buffer& out, float value);
void write_json_number(Buffer& out, double value);
void write_json_number(Buffer& out, long double value);

template <class T>
void write_json(Buffer& out, const T& value);

/// Writes `[a,b,c]`.
template <class... T>
void write_json_array(Buffer& out, const T&... parts) {
  out.push('[');
  [[maybe_unused]] bool first = true;
  (((first ? void() : out.push(',')), first = false, write_json(out, parts)), ...);
  out.push(']');
}

template <class T>
void write_json(Buffer& out, const T& value) {
  if constexpr (std::same_as<T, bool>) {
    out.append(value ? "true" : "false");
  } else if constexpr (Integer<T>) {
    // Widened to 64 bits, so that a char is written as a number.
    write_json_number(out, static_cast<std::conditional_t<std::is_signed_v<T>, std::int64_t, u64>>(value));
  } else if constexpr (Float<T>) {
    if (std::isfinite(value)) return write_json_number(out, value);
    out.append(std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
  } else if constexpr (Enum<T>) {
    write_json(out, static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (Text<T>) {
    write_json_string(out, value);
  } else if constexpr (std::same_as<T, std::monostate>) {
    out.append("null");
  } else if constexpr (Optional<T>) {
    value ? write_json(out, *value) : out.append("null");
  } else if constexpr (Variant<T>) {
    std::visit([&](const auto& held) { write_json_array(out, static_cast<u32>(value.index()), held); }, value);
  } else if constexpr (Dictionary<T>) {
    // A multimap has no operator[]. It may have a key twice, which a JSON object must not.
    constexpr bool object = Text<typename T::key_type> && requires(T & map, T::key_type key) { map[key]; };
    char between = object ? '{' : '[';
    if (value.size() == 0) out.push(between);
    for (const auto& [key, mapped] : value) {
      out.push(std::exchange(between, ','));
      if constexpr (object) {
        write_json_string(out, key);
        out.push(':');
        write_json(out, mapped);
      } else {
        write_json_array(out, key, mapped);
      }
    }
    out.push(object ? '}' : ']');
  } else if constexpr (FixedArray<T> || Container<T>) {
    char between = '[';
    for (const Element<T>& element : value) {
      out.push(std::exchange(between, ','));
      write_json(out, element);
    }
    if (between == '[') out.push('[');
    out.push(']');
  } else {
    with_fields(value, [&out](const auto&... fields) { write_json_array(out, fields...); });
  }
}

}  // namespace webmesh::detail
