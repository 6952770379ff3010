// Results as JSON text, one line each.
//
//   bool, integers, enums         true or false, digits, the enum's integer
//   float, double                 the shortest text that reads back the same; "NaN", "Infinity", "-Infinity"
//   string                        escaped; a byte that is not UTF-8 becomes \udc80 to \udcff, which lose nothing
//   optional                      null or the value
//   variant                       [index, value]; std::monostate is null
//   pair, tuple, struct           array of the fields
//   arrays, vectors, sets ...     array of the elements
//   maps                          an object where keys are strings, otherwise an array of [key, value]
#pragma once

#include <charconv>
#include <cmath>

#include "bytes.hpp"
#include "traits.hpp"

namespace webmesh::detail {

/// The length of the UTF-8 character at `at`, or 0 where there is none (RFC 3629: no overlong forms, no surrogates,
/// nothing above U+10FFFF).
inline u32 utf8_length(const u8* at, const u8* end) {
  const u8 lead = *at;
  if (lead < 0x80) return 1;
  u32 length;
  u8 lowest = 0x80, highest = 0xbf;  // what the second byte may be
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if ((lead & 0xf0) == 0xe0) {
    length = 3;
    if (lead == 0xe0) lowest = 0xa0;
    if (lead == 0xed) highest = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) lowest = 0x90;
    if (lead == 0xf4) highest = 0x8f;
  } else {
    return 0;
  }
  if (static_cast<u32>(end - at) < length || at[1] < lowest || at[1] > highest) return 0;
  for (u32 i = 2; i < length; ++i) {
    if ((at[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

inline void write_json_escape(Buffer& out, u32 unit) {
  constexpr char kDigits[] = "0123456789abcdef";
  const char text[] = {'\\', 'u', kDigits[unit >> 12], kDigits[unit >> 8 & 15], kDigits[unit >> 4 & 15],
                       kDigits[unit & 15]};
  out.append({text, sizeof text});
}

inline void write_json_string(Buffer& out, std::string_view text) {
  const auto* at = reinterpret_cast<const u8*>(text.data());
  const u8* const end = at + text.size();
  out.push('"');
  while (at != end) {
    // What needs no escape goes over in one piece.
    const u8* plain = at;
    u32 length = 0;
    while (at != end && *at >= 0x20 && *at != '"' && *at != '\\' && (length = utf8_length(at, end)) != 0) at += length;
    out.append({reinterpret_cast<const char*>(plain), static_cast<std::size_t>(at - plain)});
    if (at == end) break;
    const u8 byte = *at++;
    switch (byte) {
      case '"': out.append("\\\""); break;
      case '\\': out.append("\\\\"); break;
      case '\n': out.append("\\n"); break;
      case '\r': out.append("\\r"); break;
      case '\t': out.append("\\t"); break;
      default: write_json_escape(out, byte < 0x20 ? byte : 0xdc00u + byte);
    }
  }
  out.push('"');
}

template <class T>
void write_json_number(Buffer& out, T value) {
  constexpr u32 kLongest = 32;  // of a shortest double: 24
  char* room = reinterpret_cast<char*>(out.reserve(kLongest));
  out.commit(reinterpret_cast<u8*>(std::to_chars(room, room + kLongest, value).ptr));
}

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
    // As 32 or 64 bits: a char is a number here.
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
    // A multimap may hold a key twice, which an object may not.
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
